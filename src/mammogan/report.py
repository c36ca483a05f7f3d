"""One page on what was run, what came out and what nobody has checked: Markdown, figures, HTML.

Pure: frames and images in, text and bytes out. The page states the data first, says what was not measured,
and keeps to its own numbers: FIDs of other images, sizes or scales are not comparable and do not appear.
"""

import base64
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from numpy.typing import NDArray

from mammogan import design_figures, figures
from mammogan.assessment import Assessment
from mammogan.config import MODEL_NAMES
from mammogan.errors import DesignError

FIGURES_FOLDER = "figures"  # Markdown refers to figures/<name>

_TITLES = {"dcgan": "DCGAN", "stylegan": "StyleGAN"}
_SIDES = {"L": "left", "R": "right", "both": "left and right"}
_ARRAYS = {
    "l9": "the true L9 orthogonal array",
    "paper": "the nine rows as published (batch size and epochs move together in all of them)",
}
_REJECTED_SHOWN = 20


@dataclass(frozen=True)
class Data:
    """What the models were trained on.

    manifest: columns image_id, patient_id, patient_known (true or false), laterality, view, split (train or holdout),
    one row an image.
    rejected: columns image_id, reason.
    near_duplicates: holdout images that nearly equal a training image.
    resolution: side of the square tiles, px. bits: their grey depth, 8 or 16. laterality: L, R or both, as asked for.
    source: where the images come from, one or two sentences of plain text.
    phantoms: the images were drawn by a program. sha256: content hash or DVC hash of the data.
    """

    manifest: pd.DataFrame
    rejected: pd.DataFrame
    near_duplicates: int
    resolution: int
    bits: int
    laterality: str
    source: str
    phantoms: bool
    sha256: str


@dataclass(frozen=True)
class ModelResults:
    """What the study of one model left behind.

    trials: one row a trial: row, the factors, fid, state, kid, floor, fid_at_floor_n, floor_n, ratio, n_real,
    n_fake, spread, spread_real, collapsed, images_per_s, elapsed_s, peak_memory_mb, gflop_per_image, retries,
    run_id, seed, number_format, best_fid, best_n_images (of the best checkpoint); only row, the factors and fid must be
    there.
    effects, anova: the frames of `design.analysis.analyse`. best: best.json, of which "row" is read.
    audit: remarks on the array; conclusion: what the effects say and cannot say; both plain text.
    real, synthetic: uint8 (N, H, W), training images and images by the best generator.
    losses: n_images, loss/G, loss/D, logits/real, logits/fake of the best row.
    progress: FID during training: row, n_images, fid; None if it was not kept.
    assessment: the whole suite on the champion; None if it was not run. confirmation: what the runs of the favoured
    levels said, sentences; none if there were none.
    provenance: further lines of the last table, such as the registered version.
    """

    trials: pd.DataFrame
    effects: pd.DataFrame
    anova: pd.DataFrame
    best: Mapping[str, Any]
    audit: Sequence[str]
    conclusion: str
    real: NDArray[np.uint8]
    synthetic: NDArray[np.uint8]
    losses: pd.DataFrame
    progress: pd.DataFrame | None = None
    assessment: Assessment | None = None
    confirmation: Sequence[str] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)


def report(
    models: Mapping[str, ModelResults],
    data: Data,
    *,
    array: str,
    protocol: str,
    git_commit: str,
    columns: int,
    provenance: Mapping[str, str] | None = None,
) -> tuple[str, dict[str, bytes]]:
    """The report as Markdown, and its figures: file name -> PNG.

    Args:
        models: results by model name; a model that is not there is named as not run.
        data: what the models were trained on.
        array: name of the table of the design, l9 or paper.
        protocol: name of the FID's protocol.
        git_commit: revision of the code.
        columns: tiles a row in the sample grids.
        provenance: further lines of the last table, such as versions.

    Raises:
        DesignError: there is no model at all, or a best row that its trials do not have.
    """
    if not models:
        raise DesignError("no study to report on; run `mammogan study dcgan` or `dvc repro` first")
    best = {name: _best_row(name, results) for name, results in models.items()}
    names = [*[name for name in MODEL_NAMES if name in models], *[n for n in models if n not in MODEL_NAMES]]
    missing = [name for name in MODEL_NAMES if name not in models]

    parts = [
        "# Synthetic mammograms: report of the study",
        _summary(names, missing, models, best, data, array),
    ]
    pngs: dict[str, bytes] = {}
    for name in names:
        text, drawn = _model_section(name, models[name], best[name], data, columns)
        parts.append(text)
        pngs.update(drawn)
    for name in missing:
        parts.append(
            f"## {_title(name)}\n\n**Not run.** There is no study of {_title(name)} to report on; "
            f"`mammogan study {name}` makes it."
        )
    parts += [
        _measured(data, protocol, models, best),
        _not_measured(data, models),
        _provenance(names, models, best, data, array, protocol, git_commit, provenance or {}),
    ]
    return "\n\n".join(parts) + "\n", pngs


def to_html(markdown: str, pngs: Mapping[str, bytes]) -> str:
    """One self-contained page: style and figures are inside it, and it asks nothing of any other place.

    Raw HTML in `markdown` is shown as text. An image that is not among `pngs` leaves its description.
    """
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Page).enable("table")
    tokens = parser.parse(markdown)
    title = next(
        (after.content for token, after in itertools.pairwise(tokens) if token.tag == "h1"),
        "Report",
    )
    body = parser.renderer.render(tokens, parser.options, {"pngs": pngs})
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


class _Page(RendererHTML):
    """Markdown to HTML with inlined figures and tables that scroll on narrow screens."""

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        token = tokens[idx]
        alt = escape(self.renderInlineAsText(token.children or [], options, env))
        png = env["pngs"].get(str(token.attrs["src"]).removeprefix(f"{FIGURES_FOLDER}/"))
        if png is None:
            return alt
        return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return '<div class="table">\n<table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Any) -> str:
        return "</table>\n</div>\n"


# Sections


def _summary(
    names: Sequence[str],
    missing: Sequence[str],
    models: Mapping[str, ModelResults],
    best: Mapping[str, "pd.Series[Any]"],
    data: Data,
    array: str,
) -> str:
    train = data.manifest[data.manifest["split"] == "train"]
    kind = "phantoms (pictures drawn by a program)" if data.phantoms else "mammograms"
    patients = "simulated patients" if data.phantoms else "patients"
    trials = _and(f"{len(models[name].trials)} trials of {_title(name)}" for name in names)
    results = "; ".join(
        f"{_title(name)} row {int(best[name]['row'])} with FID {_number(best[name]['fid'])}"
        + (f" ({_number(best[name]['ratio'])} times the real-vs-real floor)" if _has(best[name], "ratio") else "")
        + (", **collapsed**" if _true(best[name].get("collapsed")) else "")
        for name in names
    )
    lines = [
        f"**What was run:** {trials}, laid out by {_text(_ARRAYS.get(array, array))}, "
        f"on {len(train):,} {_SIDES.get(data.laterality, data.laterality)}-sided {kind} "
        f"of {train['patient_id'].nunique():,} {patients} at {data.resolution} × {data.resolution} px.",
        f"**What came out:** best by FID, smaller is better: {results}."
        + ("".join(f" {_title(name)} was not run." for name in missing)),
    ]
    if data.phantoms:
        lines.append(
            "**Phantoms are not mammograms.** They show that the pipeline works; no number on this page "
            "says how it does on patients' images. What the page calls real is a phantom of the training set."
        )
    lines.append("**Not for clinical use.** No expert has looked at the images.")
    return "\n\n".join(lines)


def _model_section(
    name: str, results: ModelResults, best: "pd.Series[Any]", data: Data, columns: int
) -> tuple[str, dict[str, bytes]]:
    trials, effects = results.trials.sort_values("row"), results.effects
    factors = _factors(results)
    title = _title(name)
    kind = "phantoms" if data.phantoms else "mammograms"
    pngs = {
        f"{name}-samples.png": figures.side_by_side(
            results.real, results.synthetic, columns, "phantoms" if data.phantoms else "real"
        )
    }
    parts = [
        f"## {title}",
        _figure(
            f"{name}-samples.png",
            f"Training images (left) and images by the best {title} (right)",
            f"Left: {len(results.real)} {kind} of the training set. "
            f"Right: {len(results.synthetic)} synthetic images, taken as they came, none picked. "
            f"Tiles of {data.resolution} × {data.resolution} px.",
        ),
        f"**Best row: {int(best['row'])}**, with "
        + _and(f"{figures.factor_name(factor)} {_level(best[factor])}" for factor in factors)
        + ".",
        _fid_line(best),
    ]
    if _true(best.get("collapsed")):
        parts.append("**The best row has collapsed**: its images hardly differ from each other. Its FID is no success.")

    parts.append("### Training of the best row")
    if len(results.losses):
        pngs[f"{name}-losses.png"] = figures.loss_curves(results.losses)
        parts.append(
            _figure(
                f"{name}-losses.png",
                f"Loss curves of the best {title}",
                "Losses of G and D, and D's mean output for real and synthetic images. "
                "The curves do not rank generators: they tell whether the two stayed in balance.",
            )
        )
    else:
        parts.append("No losses were logged.")

    pngs[f"{name}-trials.png"] = figures.trial_bars(trials)
    parts += [
        "### All trials",
        _trials_table(trials, factors, int(best["row"])),
        _trials_note(trials),
        _figure(
            f"{name}-trials.png",
            f"FID of the trials of {title}",
            "The best row is dark. FID falls as N grows, "
            "so only the diamonds, taken at the N of the dashed line, can be held against it.",
        ),
    ]
    if results.progress is not None and len(results.progress):
        pngs[f"{name}-progress.png"] = figures.fid_progress(results.progress)
        parts.append(
            _figure(
                f"{name}-progress.png",
                f"FID of {title} during training",
                "FID of each row at its evaluations, log scale; the row that ends lowest is dark.",
            )
        )

    parts.append("### Main effects")
    if len(effects):
        pngs[f"{name}-effects.png"] = design_figures.effects(effects)
        parts += [
            _effects_table(effects),
            _figure(
                f"{name}-effects.png",
                f"Main effects of the factors of {title}",
                "Each point is the mean signal-to-noise ratio of the rows at that level (S/N, smaller is better: "
                "−10 log₁₀ of the mean squared FID), with its 95 % interval where there is an estimate of error. The "
                "filled marker has the best mean, which need not be shown to be better.",
            ),
            _anova_table(results.anova),
        ]
    if results.audit:
        parts.append("The array:\n\n" + "\n".join(f"- {_text(remark)}" for remark in results.audit))
    parts += ["### In plain words", _text(results.conclusion)]
    if results.confirmation:
        parts += ["### Confirmation", "\n\n".join(_text(sentence) for sentence in results.confirmation)]
    if results.assessment is not None:
        text, drawn = _assessment(name, results.assessment)
        parts.append(text)
        pngs.update(drawn)
    return "\n\n".join(parts), pngs


def _assessment(name: str, found: Assessment) -> tuple[str, dict[str, bytes]]:
    rows = [
        [
            _text(measure["name"].replace("_", " ")),
            _number(measure["value"]) + _interval(measure["low"], measure["high"]),
            _number(measure["at_floor_n"]),
            _number(measure["floor"]),
            _number(measure["ratio"]),
        ]
        for measure in found.measures.to_dict("records")
    ]
    facts = found.facts
    pngs = {
        f"{name}-measures.png": figures.measures(found.measures),
        f"{name}-spectra.png": figures.spectra(found.spectra),
        f"{name}-closest-pairs.png": figures.to_png(found.pairs),
    }
    floor_n = int(found.measures["floor_n"].iloc[0])
    parts = [
        "### Assessment of the best generator",
        f"{facts['draws']} fresh draws of {facts['n_images']:,} images each.",
        "\n".join(f"- {_text(line)}" for line in facts["lines"]),
        _table(["measure", "value [95 %]", f"at N = {floor_n:,}", "real v real", "ratio"], rows, left=0),
        "Intervals are over fresh draws of this one generator (KID: over patients too); another training would add its "
        "own spread. Real v real: halves of the training images that share no patient, or their own mean.",
        _figure(
            f"{name}-measures.png",
            "Each measure over its floor",
            "Orange: lower is better; green: higher is "
            "better; blue: should be that of the real images. 1 is like real images.",
        ),
        _figure(
            f"{name}-spectra.png",
            "Power spectra",
            "Mean radial power spectrum, up to the corner frequencies: "
            "a bend upwards at the end is a checkerboard, downwards is blur.",
        ),
        _figure(
            f"{name}-closest-pairs.png",
            "Closest pairs of synthetic and training images",
            "The synthetic images that are nearest to a training image, with that image laid over them and as it "
            "is, and their correlation. Whether one is a copy is for a person to judge. **The training images are "
            "patients'.**",
        ),
    ]
    return "\n\n".join(parts), pngs


def _interval(low: float, high: float) -> str:
    return f" [{_number(low)}, {_number(high)}]" if pd.notna(low) and pd.notna(high) else ""


def _fid_line(best: "pd.Series[Any]") -> str:
    line = f"**FID {_number(best['fid'])}**"
    if _has(best, "n_real") and _has(best, "n_fake"):
        line += f" ({int(best['n_fake']):,} synthetic against {int(best['n_real']):,} real images)"
    if _has(best, "kid"):
        line += f", KID {_number(best['kid'] * 1000)} × 10⁻³"
    line += "."
    if _has(best, "floor") and _has(best, "fid_at_floor_n"):
        line += (
            f" At N = {int(best['floor_n']):,} on both sides: FID {_number(best['fid_at_floor_n'])}, while "
            f"real images against other real images score **{_number(best['floor'])}**, the floor. "
            f"Ratio to the floor: **{_number(best['ratio'])}** (1 would be as good as real)."
        )
    if _has(best, "best_fid") and _has(best, "best_n_images"):
        line += (
            "\n\nAll of these are scores at the end of training. The best checkpoint on the way, after "
            f"{int(best['best_n_images']):,} images shown, had FID {_number(best['best_fid'])}: optimistic, since it "
            "was chosen by this very score, so rows are not compared by it."
        )
    return line


def _trials_table(trials: pd.DataFrame, factors: Sequence[str], best: int) -> str:
    cells: dict[str, list[str]] = {
        "row": [f"**{row}**\u00a0(best)" if row == best else str(row) for row in trials["row"].astype(int)]
    }
    for factor in factors:
        cells[figures.factor_name(factor)] = [_level(value) for value in trials[factor]]
    cells["FID"] = [
        _number(fid) if math.isfinite(fid) else _text(str(state).lower())
        for fid, state in zip(trials["fid"], trials.get("state", trials["fid"]), strict=True)
    ]
    _add(cells, "KID ×\u00a010³", trials, "kid", lambda kid: _number(1000 * kid))
    _add(cells, "ratio to floor", trials, "ratio", _number)
    _add(cells, "spread", trials, "spread", _number)
    if "collapsed" in trials and "spread" in cells:
        cells["spread"] = [
            f"{cell} **collapsed**" if _true(flag) else cell
            for cell, flag in zip(cells["spread"], trials["collapsed"], strict=True)
        ]
    elif "collapsed" in trials:
        cells["collapsed"] = ["**collapsed**" if _true(flag) else "no" for flag in trials["collapsed"]]
    _add(cells, "images/s", trials, "images_per_s", _number)
    _add(cells, "GFLOP/image", trials, "gflop_per_image", _number)
    _add(cells, "peak MB", trials, "peak_memory_mb", lambda value: f"{value:,.0f}")
    _add(cells, "time", trials, "elapsed_s", _duration)
    _add(cells, "retries", trials, "retries", lambda value: str(int(value)))
    return _table(list(cells), zip(*cells.values(), strict=True), left=0)


def _trials_note(trials: pd.DataFrame) -> str:
    sentences = []
    if "spread" in trials:
        real = _first(trials, "spread_real")
        sentences.append(
            "Spread: how much the images of a generator differ from each other, in grey levels "
            "(mean over pixels of the standard deviation over images)"
            + (f"; {_number(real)} for real images" if real is not None else "")
            + "."
        )
    if "collapsed" in trials:
        n = sum(_true(flag) for flag in trials["collapsed"])
        sentences.append(
            f"**{n} of {len(trials)} rows collapsed**: their images hardly vary with z, whatever their FID."
            if n
            else "No row collapsed."
        )
    if "elapsed_s" in trials:
        sentences.append(f"Training of all rows: {_duration(float(trials['elapsed_s'].sum()))} in sum.")
    if "images_per_s" in trials:
        sentences.append("images/s: real images shown a second, beside whatever else the machine did.")
    return " ".join(sentences)


def _effects_table(effects: pd.DataFrame) -> str:
    rows = []
    for factor, levels in effects.groupby("factor", sort=False):
        for first, level in zip([True] + [False] * len(levels), levels.to_dict("records"), strict=False):
            mark = "**" if _true(level["best"]) else ""
            rows.append(
                [
                    _text(figures.factor_name(str(factor))) if first else "",
                    f"{mark}{_level(level['value'])}{mark}",
                    f"{int(level['n'])}",
                    f"{mark}{_number(level['mean'])}{mark}",
                    f"{mark}{_decibel(level['sn_db'])}{mark}",
                    _decibel(level["delta"]) if first else "",
                    f"{int(level['rank'])}" if first else "",
                ]
            )
    return _table(["factor", "level", "rows", "mean FID", "S/N, dB", "range of S/N, dB", "rank"], rows, left=0)


def _anova_table(anova: pd.DataFrame) -> str:
    rows = [
        [
            _text(" = ".join(figures.factor_name(part) for part in str(line["source"]).split(" = "))),
            f"{int(line['df'])}",
            _number(line["ss"]),
            _number(line["f"]),
            _number(line["p"]),
            _number(line["contribution"]),
        ]
        for line in anova.to_dict("records")
    ]
    return _table(["variance of the S/N", "df", "sum of squares", "F", "p", "contribution, %"], rows, left=0)


def _measured(
    data: Data, protocol: str, models: Mapping[str, ModelResults], best: Mapping[str, "pd.Series[Any]"]
) -> str:
    row = next(iter(best.values()))
    kind = (
        "**Phantoms**: mammogram-like pictures drawn by a program. No patient's image was used."
        if data.phantoms
        else "**Mammograms**, as supplied:"
    )
    per_split = [
        [
            str(split),
            f"{len(part):,}",
            f"{part['patient_id'].nunique():,}",
            _counts(part, "laterality"),
            _counts(part, "view"),
        ]
        for split, part in sorted(data.manifest.groupby("split"), reverse=True)
    ]
    parts = [
        "## What was measured, and on what data",
        f"{kind} {_text(data.source)}",
        f"Every image was cropped to the breast, padded to a square without distortion and resized to "
        f"{data.resolution} × {data.resolution} px, {data.bits} bit"
        f"{' (scored and shown here in 8)' if data.bits > 8 else ''}; "
        f"{_SIDES.get(data.laterality, data.laterality)} breasts, chest wall at the left edge. "
        f"{_split(data)} Training and all scores here use the train part alone.",
        _table(["split", "images", "patients", "sides", "views"], per_split, left=0),
        _rejected(data.rejected),
        f"**FID** (`{_code(protocol)}`): distance between Inception features of synthetic and real images. "
        "It depends on N, on the images and on how they are resized, so it can be compared within this page, "
        "not with FIDs printed elsewhere.",
    ]
    if _has(row, "floor"):
        parts.append(
            "**Floor**: the FID between two halves of the real training images with no patient in both, "
            f"N = {int(row['floor_n']):,} each, here {_number(row['floor'])}. It is about what a perfect "
            "generator would score, most of it the bias of a small N. "
            "The ratio compares FID and floor at that same N."
        )
    if any("kid" in results.trials for results in models.values()):
        parts.append(
            "**KID**: kernel distance on the same features, without that bias: near 0 is good, "
            "and a little below 0 is possible."
        )
    return "\n\n".join(parts)


def _split(data: Data) -> str:
    n_unknown = int((data.manifest["patient_known"] == "false").sum())
    if n_unknown:
        text = (
            f"The split is by patient, but the patients of {n_unknown:,} images are not known; each counts as a "
            "patient of her own, so images of one woman may be in both parts."
        )
    else:
        text = "The split is by patient: nobody is in both parts."
    if data.near_duplicates:
        text += f" **{data.near_duplicates:,} holdout images nearly equal a training image.**"
    return text


def _rejected(rejected: pd.DataFrame) -> str:
    if rejected.empty:
        return "No file was rejected."
    shown = rejected.head(_REJECTED_SHOWN)
    kinds = rejected["reason"].str.partition(":")[0].value_counts()
    reasons = _and(f"{count:,} × {_text(str(kind))}" for kind, count in kinds.items())
    lines = [
        f"**Rejected: {len(rejected):,}** ({reasons}).",
        _table(
            ["image", "reason"],
            (
                [_text(image), _text(reason)]
                for image, reason in shown[["image_id", "reason"]].fillna("").astype(str).to_numpy()
            ),
        ),
    ]
    if len(rejected) > len(shown):
        lines.append(f"… and {len(rejected) - len(shown):,} more in `prepared/rejected.csv`.")
    return "\n\n".join(lines)


def _not_measured(data: Data, models: Mapping[str, ModelResults]) -> str:
    repeated = any(results.trials["row"].duplicated().any() for results in models.values())
    items = [
        "**No expert has looked at the images.** Whether anatomy and lesions are plausible is not known.",
        "**Utility**: whether the synthetic images help a detector or a classifier was not tested.",
    ]
    not_assessed = [_title(name) for name, results in models.items() if results.assessment is None]
    if not_assessed:
        items.insert(
            1,
            f"**Privacy**: whether a generator gives back images of its training set was not tested "
            f"({_and(not_assessed)}); FID against the training images would even reward it.",
        )
    if not repeated:
        items.append(
            "**Error**: each row was trained once, with one seed. There is no error estimate, so small "
            "differences between rows, and effects of their size, cannot be told from the luck of the seed."
        )
    if not all(results.confirmation for results in models.values()):
        items.append(
            "**Confirmation**: the levels that the effects favour were not trained again to confirm them, "
            "and choosing the best of several rows favours lucky ones."
        )
    if data.phantoms:
        items.append("**Mammograms**: everything here was measured on phantoms.")
    bullets = "\n".join(f"- {item}" for item in items)
    verdict = "Therefore **not for clinical use**, nor for training clinical products."
    return f"## What was not measured\n\n{bullets}\n\n{verdict}"


def _provenance(
    names: Sequence[str],
    models: Mapping[str, ModelResults],
    best: Mapping[str, "pd.Series[Any]"],
    data: Data,
    array: str,
    protocol: str,
    git_commit: str,
    further: Mapping[str, str],
) -> str:
    rows = [
        ["code, git commit", f"`{_code(git_commit)}`"],
        ["data, hash", f"`{_code(data.sha256)}`"],
        ["array", f"`{_code(array)}`"],
        ["FID protocol", f"`{_code(protocol)}`"],
    ]
    for name in names:
        row = best[name]
        for label, column in (("MLflow run", "run_id"), ("seed", "seed"), ("number format", "number_format")):
            if _has(row, column):
                rows.append([f"best {_title(name)}, {label}", f"`{_code(str(row[column]))}`"])
        rows += [
            [f"{_title(name)}, {_text(key)}", f"`{_code(value)}`"] for key, value in models[name].provenance.items()
        ]
    rows += [[_text(key), f"`{_code(value)}`"] for key, value in further.items()]
    return "## Provenance\n\n" + _table(["what", "value"], rows)


# Pieces


def _best_row(name: str, results: ModelResults) -> "pd.Series[Any]":
    found = np.flatnonzero(results.trials["row"] == results.best["row"])
    if not len(found):
        raise DesignError(
            f"best.json of {name} names row {results.best['row']}, which is not among the rows "
            f"{sorted(results.trials['row'])} of trials.csv; run `mammogan study {name}` again"
        )
    best: pd.Series[Any] = results.trials.iloc[int(found[0])]
    return best


def _factors(results: ModelResults) -> list[str]:
    factors = list(results.effects["factor"].unique()) if len(results.effects) else list(figures.FACTOR_NAMES)
    return [factor for factor in factors if factor in results.trials]


def _title(name: str) -> str:
    return _TITLES.get(name, _text(name))


def _figure(file: str, alt: str, caption: str) -> str:
    return f"![{alt}]({FIGURES_FOLDER}/{file})\n*{caption}*"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int | None = None) -> str:
    """A Markdown table; the columns after `left` are aligned to the right, none of them without it."""
    rule = ["--:" if left is not None and index > left else ":--" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def _add(cells: dict[str, list[str]], header: str, trials: pd.DataFrame, column: str, show: Any) -> None:
    if column in trials:
        cells[header] = [show(float(value)) if pd.notna(value) else "–" for value in trials[column]]


def _number(value: float) -> str:
    """Three significant digits, thousands apart."""
    value = float(value)
    if not math.isfinite(value):
        return "–"
    if value == 0 or abs(value) < 1e-9:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}".replace("-", "−")


def _level(value: Any) -> str:
    return _text(figures.level_name(value))


def _decibel(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s"


def _counts(frame: pd.DataFrame, column: str) -> str:
    if column not in frame:
        return "–"
    counts = frame[column].fillna("").astype(str).replace("", "not given").value_counts()
    return ", ".join(f"{_text(str(value))} {count:,}" for value, count in sorted(counts.items()))


def _first(frame: pd.DataFrame, column: str) -> float | None:
    if column not in frame or frame[column].isna().all():
        return None
    return float(frame[column].dropna().iloc[0])


def _has(row: "pd.Series[Any]", column: str) -> bool:
    return column in row and pd.notna(row[column])


def _true(value: Any) -> bool:
    """True or false of a cell; a gap is false."""
    return bool(pd.notna(value) and value)


def _and(items: Iterable[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def _text(text: str) -> str:
    """`text` so that Markdown shows it as it is, in one line, also inside a table."""
    line = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>|#&~!" else char for char in line)


def _code(text: str) -> str:
    """`text` fit to stand between backticks, also inside a table."""
    return " ".join(text.replace("`", "'").replace("|", "¦").split()) or "not known"


_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1c1c1c; font: 1rem/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; overflow-wrap: break-word; }
p, ul { max-width: 46rem; margin: 0 0 .9rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.2rem; }
h2 { font-size: 1.4rem; margin: 2.8rem 0 1rem; padding-top: .8rem; border-top: 2px solid #1c1c1c; }
h3 { font-size: 1.08rem; margin: 2rem 0 .7rem; }
img { display: block; max-width: min(100%, 52rem); height: auto; margin: 1.2rem 0 .4rem; }
img + em { display: block; font-style: normal; font-size: .88rem; color: #555; max-width: 46rem; }
p:has(img) { max-width: none; }
.table { overflow-x: auto; margin: .6rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td[style*="right"] { white-space: nowrap; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
code { font: .86em/1.4 ui-monospace, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
@media print {
  main { max-width: none; padding: 0; }
  body { font-size: 10pt; }
  table { font-size: 7pt; }
  th, td { padding: .15rem .3rem; }
  img, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""
