"""The published study analysed by its own method: docs/replay.md, made from its tables and nothing else."""

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd

from mammogan import atomic, design, design_figures
from mammogan.design.analysis import Analysis, analyse, interaction_effects, lenth
from mammogan.design.arrays import ARRAYS, audit, read_table
from mammogan.design.audit import better_rows, effects_table
from mammogan.design.csv_file import TableFile
from mammogan.figures import factor_name

PAGE = Path("docs") / "replay.md"
IMAGES = Path("docs") / "images"

_FACTORS = ["lr", "batch_size", "epochs"]
_TITLES = {"dcgan": "DCGAN", "stylegan": "StyleGAN"}


@dataclass(frozen=True)
class _Claim:
    """What the paper says of one model: its best row, the FID of that row in its text and its levels."""

    row: int
    fid_in_text: float
    seconds: str


# Section Results and section Conclusions of the paper.
_CLAIMS = {"dcgan": _Claim(2, 0.0017, "8,735.06"), "stylegan": _Claim(5, 0.0031, "4,662.08")}
_CHOSEN = "batch size 32, 500 epochs, a learning rate of 0.0001 to 0.0002"


def published() -> TableFile:
    """The paper's Tables 3 and 4: columns row, lr, batch_size, epochs, and the FIDs dcgan and stylegan."""
    with resources.as_file(resources.files(design) / "tables" / "reyes_hernandez_2025.csv") as path:
        return read_table(path, _FACTORS)


def write(root: Path) -> list[Path]:
    """Write the page and its pictures below `root`; returns their paths."""
    text, pngs = replay()
    for name, png in pngs.items():
        with atomic.new_file(root / IMAGES / name) as partial:
            partial.write_bytes(png)
    atomic.write_text(root / PAGE, text)
    return [PAGE, *(IMAGES / name for name in pngs)]


def replay() -> tuple[str, dict[str, bytes]]:
    """The page, Markdown, and its pictures by file name."""
    table = published()
    trials = pd.DataFrame(table.columns)
    found = {model: analyse(trials, table.factors, response=model) for model in _TITLES}
    parts = [_head(table), _published_table(trials), _audit(table)]
    pngs = {}
    for model, analysis in found.items():
        parts.append(_model(model, analysis))
        cells = interaction_effects(trials, table.factors, ("lr", "batch_size"), model)
        epochs = dict(zip(trials["batch_size"], trials["epochs"], strict=True))  # the two are one column
        cells["b"] = [f"{batch} with {epochs[batch]}" for batch in cells["b"]]
        margin = lenth(analysis.contrasts["contrast"].to_numpy(float)).simultaneous
        pngs[f"replay-{model}-effects.png"] = design_figures.effects(analysis.effects)
        pngs[f"replay-{model}-interaction.png"] = design_figures.interactions(cells, "lr", "batch size with epochs")
        pngs[f"replay-{model}-half-normal.png"] = design_figures.half_normal(analysis.contrasts, margin)
    parts += [_side_by_side(trials, table, found), _limits()]
    return "\n\n".join(parts) + "\n", pngs


def _head(table: TableFile) -> str:
    return f"""# The paper, analysed by its own method

`mammogan replay` makes this page from the numbers that the paper prints, and from no others. They are shipped as
`src/mammogan/design/tables/reyes_hernandez_2025.csv`:

> {table.array.source}

The paper chooses its settings by Taguchi's method: nine runs for each of two networks, the FID as the response, smaller
is better. Here the printed numbers go through the steps of that method as far as they allow: what the table of runs can
tell, signal-to-noise ratios, an analysis of variance, and a prediction. To confirm it takes new runs."""


def _published_table(trials: pd.DataFrame) -> str:
    rows = [
        f"| {line.row} | {line.lr:g} | {line.batch_size} | {line.epochs} | {line.dcgan:g} | {line.stylegan:g} |"
        for line in trials.itertuples()
    ]
    head = ["| row | learning rate | batch size | epochs | FID, DCGAN | FID, StyleGAN |", "|---|---|---|---|---|---|"]
    scale = (
        "These FIDs are not on the scale of the Inception network, on which two halves of one real set of mammograms "
        "are tens apart at a few hundred images ([how FID is measured here](metrics-protocol.md)): they can be held "
        "against each other, never against a FID of ours."
    )
    return "\n".join(["## The printed runs", "", *head, *rows, "", scale])


def _audit(table: TableFile) -> str:
    findings = audit(table.array, table.factors)
    effects = effects_table(table.array, table.factors)
    lines = ["## What nine such runs can tell", "", *[f"- {_words(finding)}" for finding in findings[:-1]], ""]
    lines += ["| effect | degrees of freedom | share free of other main effects | mixed with |", "|---|---|---|---|"]
    for line in effects.itertuples():
        mixed = _words(str(line.mixed_with)) or "-"
        lines.append(f"| {_words(str(line.effect))} | {line.df:.0f} | {line.efficiency:.0%} | {mixed} |")
    rows = better_rows(table.array, table.factors) or []
    lines += [
        "",
        f"In {ARRAYS['l9'].title}, of as many rows, no main effect is mixed with another. Its first three columns:",
        "",
        "| row | learning rate | batch size | epochs |",
        "|---|---|---|---|",
        *[f"| {row.number} | {' | '.join(f'{value:g}' for value in row.levels.values())} |" for row in rows],
        "",
        "It has a limit too: each main effect is mixed with the interaction of the two other factors.",
    ]
    return "\n".join(lines)


def _model(model: str, found: Analysis) -> str:
    title = _TITLES[model]
    lines = [f"## {title}", "", *_response_table(found.effects), "", *_anova(found.anova), ""]
    lines += [
        f"![S/N ratio of each level of {title} with 95 % intervals](images/replay-{model}-effects.png)",
        "",
        f"![S/N ratio of each combination of {title}](images/replay-{model}-interaction.png)",
        "",
        f"![Half-normal plot of the contrasts of {title}](images/replay-{model}-half-normal.png)",
        "",
        *[f"- {_words(line).replace(model, 'FID')}" for line in found.conclusion.splitlines()],
    ]
    return "\n".join(lines)


def _response_table(effects: pd.DataFrame) -> list[str]:
    lines = [
        "| factor | level | mean FID | mean S/N, dB | 95 % interval | largest less smallest | shown to differ from |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in effects.itertuples():
        ratio = f"**{line.sn_db:.2f}**" if line.best else f"{line.sn_db:.2f}"
        lines.append(
            f"| {factor_name(str(line.factor))} | {line.value:g} | {line.mean:.4f} | {ratio} | "
            f"{line.low:.1f} to {line.high:.1f} | {line.delta:.2f} | {str(line.apart_from) or 'none'} |"
        )
    return lines


def _anova(table: pd.DataFrame) -> list[str]:
    lines = [
        "| source | degrees of freedom | sum of squares | mean square | F | p | percent of the total |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in table[table["source"] != "error"].to_dict("records"):
        tested = "- | -" if math.isnan(line["f"]) else f"{line['f']:.2f} | {line['p']:.2f}"
        numbers = f"{line['df']} | {line['ss']:.1f} | {line['ms']:.1f} | {tested} | {line['share']:.1f}"
        lines.append(f"| {_words(line['source'])} | {numbers} |")
    return lines


def _side_by_side(trials: pd.DataFrame, table: TableFile, found: dict[str, Analysis]) -> str:
    best, p = {}, {}
    for model, analysis in found.items():
        best[model] = analysis.effects[analysis.effects["best"]].set_index("factor")["value"]
        p[model] = analysis.anova.set_index("source")["p"]
    rates = {model: f"{values['lr']:g}" for model, values in best.items()}
    pairs = {model: f"{values['batch_size']} with {values['epochs']}" for model, values in best.items()}
    p_lr, p_pair = (" and ".join(f"{p[m].loc[name]:.2f}" for m in found) for name in ("lr", "batch_size = epochs"))
    rows = [
        (
            "batch size and epochs",
            "32 and 500",
            f"highest mean S/N for {_both(pairs)}; no difference from the other two pairs is shown (p = {p_pair}), and "
            f"what the pair shows belongs to batch size, to epochs or to both",
        ),
        (
            "learning rate",
            "0.0001 to 0.0002",
            f"highest mean S/N for {_both(rates)}, which the paper's range leaves out; no difference between the three "
            f"is shown (p = {p_lr})",
        ),
        *[
            (
                f"best {_TITLES[model]}",
                f"row {claim.row}, {claim.seconds} s",
                f"the lowest printed FID of nine, each run once; the levels with the highest means together are row "
                f"{found[model].best.row}, with an FID of {_fid(trials, model, found[model].best.row):g}",
            )
            for model, claim in _CLAIMS.items()
        ],
        ("confirmation", "none", "none is possible from printed numbers"),
    ]
    lines = ["## Two conclusions", "", f"The paper's: {_CHOSEN}.", ""]
    lines += ["| | the paper | its own numbers |", "|---|---|---|"]
    lines += [f"| {what} | {theirs} | {ours} |" for what, theirs, ours in rows]
    return "\n".join([*lines, "", *_robust(trials, table, found)])


def _both(values: dict[str, str]) -> str:
    """One value for both models, or one each."""
    if len(set(values.values())) == 1:
        return f"{next(iter(values.values()))} in both models"
    return " and ".join(f"{value} ({_TITLES[model]})" for model, value in values.items())


def _robust(trials: pd.DataFrame, table: TableFile, found: dict[str, Analysis]) -> list[str]:
    """What else might be read off the table, and whether it would change the answer."""
    claim = _CLAIMS["dcgan"]
    exact = trials.assign(dcgan=trials["dcgan"].where(trials["row"] != claim.row, claim.fid_in_text))
    same = analyse(exact, table.factors, response="dcgan").effects["best"].equals(found["dcgan"].effects["best"])
    by_mean, of_sum = [], []
    for model, analysis in found.items():
        rates = analysis.effects[analysis.effects["factor"] == "lr"]
        by_mean.append(f"{rates['value'].iloc[int(rates['mean'].argmin())]:g} for the {_TITLES[model]}")
        share = trials[model].max() / trials[model].sum()
        of_sum.append(f"{share:.0%} (row {trials['row'].iloc[int(trials[model].argmax())]} of the {_TITLES[model]})")
    return [
        f"The table prints {_fid(trials, 'dcgan', claim.row):g} for row {claim.row} of the DCGAN and the text "
        f"{claim.fid_in_text:g}; with that number {'the same' if same else 'other'} levels have the highest means.",
        "",
        f"By mean FID in place of S/N the best learning rate is {' and '.join(by_mean)}. One row makes much of these "
        f"means: the highest FID is {' and '.join(of_sum)} of the sum of nine.",
    ]


def _limits() -> str:
    return """## What this page does not say

It does not say that the paper's settings are bad, nor that 0.0003 is better. It says that nine single runs, in which
batch size and epochs move together, show neither. To tell an effect from seed noise, rows have to be run more than
once; to tell batch size from epochs, in another table. `mammogan use paper-l9` and `mammogan study` do the second: see
[the designed experiment](design.md)."""


def _fid(trials: pd.DataFrame, model: str, row: int | None) -> float:
    return float(trials.loc[trials["row"] == row, model].iloc[0])


def _words(text: str) -> str:
    for name in _FACTORS:
        text = text.replace(name, factor_name(name))
    return text
