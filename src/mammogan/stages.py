"""The bodies of the commands in which areas meet: train, evaluate, study, register, generate, report."""

import json
import logging
import os
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from mammogan import atomic, config, figures
from mammogan import report as page
from mammogan.config import Config, EvaluateConfig, ModelName, TrainConfig
from mammogan.data import phantom
from mammogan.data.prepare import ABOUT_FILE
from mammogan.data.tiles import Tiles, read_tiles
from mammogan.design import analysis
from mammogan.design.arrays import Array, audit, find_array
from mammogan.design.sampler import TaguchiSampler
from mammogan.design.study import Report, Response, Row
from mammogan.design.study import study as run_study
from mammogan.errors import DataError, TrainingError
from mammogan.evaluation.evaluate import Scores
from mammogan.evaluation.features import PROTOCOL
from mammogan.models import store
from mammogan.provenance import Provenance, fingerprint, provenance
from mammogan.run import Judge, Label, RunResult, run
from mammogan.serving.generate import generate as draw_set
from mammogan.serving.images import Stamp
from mammogan.serving.sample import sample
from mammogan.tracking import registry
from mammogan.tracking.model import Origin
from mammogan.tracking.runs import log_study, row_name, row_tags
from mammogan.tracking.store import experiment
from mammogan.training.cost import gflop_per_image
from mammogan.training.precision import choose_device, choose_precision

_log = logging.getLogger(__name__)

_BY_HAND = ("train", "Runs by `mammogan train`, one for each set of settings.")
_BAR = "{desc}: {percentage:3.0f}% {bar} {elapsed} gone, {remaining} left"


def train(root: Path, settings: Config) -> RunResult:
    """One tracked run with the settings of params.yaml."""
    tiles = _training_tiles(root)
    origin = provenance(root)
    identity = _identity(settings, _what_decides(settings.train), tiles, origin)
    folder = root / "checkpoints" / f"train-{settings.train.model}-{identity}"
    chosen = _with_precision(settings.train, folder)
    _check_batch(chosen.batch_size, tiles, "train.batch_size")
    name = f"{chosen.model}: lr {chosen.lr:g}, batch {chosen.batch_size}, epochs {chosen.epochs}, seed {chosen.seed}"
    label = Label(*_BY_HAND, name, "train", {"mammogan.identity": identity})
    judge = _judge(root, settings.evaluate, choose_device(chosen).type)
    with tqdm(desc=f"train {chosen.model}", total=100, bar_format=_BAR, mininterval=1) as bar:

        def progress(share: float) -> None:
            bar.update(100 * share - bar.n)

        return run(root, chosen, judge, folder=folder, label=label, provenance=origin, progress=progress)


def evaluate(root: Path, settings: Config, generator: str) -> Scores:
    """Scores of a saved generator, or of the champion of a model, against the training images."""
    if generator in config.MODEL_NAMES:
        path = registry.champion(root, f"{settings.register_.prefix}-{generator}").weights
    else:
        path = Path(generator)
    G = store.load(path)
    judge = _judge(root, settings.evaluate, "cpu")
    if G.resolution != judge.tiles.resolution:
        raise DataError(
            f"{generator} draws {G.resolution} px and prepared/ holds {judge.tiles.resolution} px; "
            f"set prepare.resolution to {G.resolution} and run `mammogan prepare`"
        )
    return judge.score(sample(G, judge.n_fake, settings.evaluate.seed)[:, 0].numpy())


def plan_train(root: Path, settings: Config) -> str:
    """The settings of `train` and what it would cost, as text."""
    tiles = _training_tiles(root)
    section = settings.train
    _check_batch(section.batch_size, tiles, "train.batch_size")
    return f"{section.model_dump_json(indent=2)}\n{_cost(section, tiles)}"


def plan_study(root: Path, settings: Config, model: ModelName) -> str:
    """The rows of the study of `model` and what each would cost, as text."""
    tiles = _training_tiles(root)
    array, factors = _design(settings, model)
    lines = [f"study {_study_name(settings, model, tiles, provenance(root))}", *audit(array, factors)]
    for row in TaguchiSampler(array, factors).rows.values():
        section = config.with_row(settings.train, model=model, **row.levels)
        lines.append(f"{row_name(model, array.name, row.number, row.levels)}: {_cost(section, tiles)}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Objective:
    """One row of the array: train, score and track; travels to the worker processes."""

    root: Path
    train: TrainConfig
    evaluate: EvaluateConfig
    array: str
    study: str
    about: str
    origin: Provenance
    threads: int

    def __call__(self, row: Row, report: Report) -> Response:
        torch.set_num_threads(self.threads)
        section = config.with_row(self.train, **row.levels)
        result = run(
            self.root,
            section,
            _judge(self.root, self.evaluate, choose_device(section).type),
            folder=self.root / "checkpoints" / self.study / f"row-{row.number}",
            label=Label(
                _experiment(section.model),
                self.about,
                row_name(section.model, self.array, row.number, row.levels),
                "trial",
                row_tags(self.study, self.array, row.number, row.levels),
            ),
            provenance=self.origin,
            progress=report,
        )
        return Response(result.scores.fid, _columns(section, result))


def study(root: Path, settings: Config, model: ModelName) -> str:
    """The designed study of `model`; writes studies/<model>/ and returns what to tell the user.

    Raises:
        MammoganError: prepared/ or the FID network is missing, a level does not fit the data, or rows failed for good.
    """
    tiles = _training_tiles(root)
    array, factors = _design(settings, model)
    _check_batch(max(factors["batch_size"]), tiles, f"study.factors.{model}.batch_size")
    origin = provenance(root)
    name = _study_name(settings, model, tiles, origin)
    work = root / "checkpoints" / name
    _say_if_afresh(work, model)
    section = _with_precision(config.with_row(settings.train, model=model), work)
    # Before any worker starts: the features of the real images are cached, and what is missing is told at once.
    judge = _judge(root, settings.evaluate, choose_device(section).type)
    findings = audit(array, factors)
    about = _about(model, array, findings, judge)
    workers = settings.study.workers
    frame = run_study(
        name,
        f"sqlite:///{(root / 'optuna.db').as_posix()}",
        array,
        factors,
        _Objective(
            root,
            section,
            settings.evaluate,
            array.name,
            name,
            about,
            origin,
            threads=max(1, (os.cpu_count() or 1) // workers),
        ),
        workers=workers,
        max_retries=settings.study.max_retries,
        lock=root / ".locks" / f"{name}.lock",
    )
    effects = analysis.main_effects(frame, factors)
    sentences = [*findings, analysis.conclusion(frame, factors)]
    best = _best(frame)
    out = root / "studies" / model
    with atomic.new_folder(out) as folder:
        _write_study(folder, work, frame, effects, best)
        facts = _best_facts(model, name, best, list(factors), origin, work)
        (folder / "best.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8", newline="\n")
        (folder / "conclusion.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8", newline="\n")
    log_study(
        experiment(root, _experiment(model), about),
        name,
        model_name=model,
        git_commit=origin.git_commit,
        trials=frame,
        effects=effects,
        plots=sorted((out / "plots").glob("*.png")),
        audit="\n\n".join(sentences),
    )
    return "\n".join([facts["line"], f"best: row {best['row']} ({_levels(best, factors)})", *sentences])


def register(root: Path, settings: Config, model: ModelName) -> str:
    """The best generator of the study of `model` becomes champion; writes registry/<model>.json."""
    folder = root / "studies" / model
    best = _read_best(folder)
    origin = Origin(model, best["resolution"], best["git_commit"], best["data_md5"])
    receipt = registry.register(root, settings.register_.prefix, folder / "generator.safetensors", origin, best["fid"])
    receipt.write(root / "registry" / f"{model}.json")
    version = registry.champion(root, receipt.name).version
    return f"{receipt.name} version {version} is {receipt.alias} (FID {receipt.fid:.1f})"


def generate(root: Path, settings: Config, model: ModelName) -> str:
    """A synthetic set from the champion of `model`; writes synthetic/<model>/."""
    champion = registry.champion(root, f"{settings.register_.prefix}-{model}")
    stamp = Stamp(
        model=champion.model,
        model_version=champion.version,
        run_id=champion.run_id,
        git_commit=champion.git_commit,
        data_hash=champion.data_hash,
        weights_sha256=champion.weights_sha256,
    )
    out = root / "synthetic" / model
    draw_set(settings.generate, store.load(champion.weights), stamp, out)
    n = settings.generate.n_images
    return f"{n} synthetic images by {champion.name} version {champion.version} in synthetic/{model}"


def report(root: Path, settings: Config) -> str:
    """One page on all studies there are; writes reports/."""
    tiles = read_tiles(root / "prepared")
    origin = provenance(root)
    models: dict[str, page.ModelResults] = {
        model: _results(root, model, tiles, settings.report.grid_side)
        for model in config.MODEL_NAMES
        if (root / "studies" / model / "best.json").exists()
    }
    about = _about_data(root / "prepared" / ABOUT_FILE)
    data = page.Data(
        manifest=tiles.manifest,
        rejected=pd.read_csv(root / "prepared" / "rejected.csv", dtype=str, keep_default_na=False),
        resolution=tiles.resolution,
        laterality=settings.prepare.laterality,
        source=about.partition("\n")[0].lstrip("# ") + ".",
        phantoms=about == phantom.ABOUT,
        sha256=origin.data_md5,
    )
    text, pngs = page.report(
        models,
        data,
        array=settings.study.array,
        protocol=PROTOCOL,
        git_commit=origin.git_commit,
        columns=settings.report.grid_side,
    )
    with atomic.new_folder(root / "reports") as folder:
        (folder / page.FIGURES_FOLDER).mkdir()
        for name, png in pngs.items():
            (folder / page.FIGURES_FOLDER / name).write_bytes(png)
        (folder / "report.md").write_text(text, encoding="utf-8", newline="\n")
        (folder / "report.html").write_text(page.to_html(text, pngs), encoding="utf-8", newline="\n")
    return "reports/report.html and reports/report.md"


@lru_cache(maxsize=1)
def _judge(root: Path, section: EvaluateConfig, device: str) -> Judge:
    """One judge a process: a worker scores all its rows with it."""
    return Judge(root, section, torch.device(device))


def _about_data(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else "Source not recorded: data/ has no SOURCE.md"


def _training_tiles(root: Path) -> Tiles:
    return read_tiles(root / "prepared").split("train")


def _design(settings: Config, model: ModelName) -> tuple[Array, dict[str, list[Any]]]:
    factors = settings.study.factors.dcgan if model == "dcgan" else settings.study.factors.stylegan
    return find_array(settings.study.array), factors.model_dump()


def _study_name(settings: Config, model: ModelName, tiles: Tiles, origin: Provenance) -> str:
    array, factors = _design(settings, model)
    section = settings.train.model_copy(update={"model": model})
    design = (_what_decides(section, *factors), factors, array.levels)
    return f"{model}-{array.name}-{_identity(settings, design, tiles, origin)}"


def _identity(settings: Config, design: object, tiles: Tiles, origin: Provenance) -> str:
    """What decides a result: settings, pixels, code (docs/adr/0006)."""
    scoring = settings.evaluate.model_dump(exclude={"batch_size", "weights"})
    return fingerprint(design, scoring, tiles.sha256, origin.code_sha256)


def _what_decides(section: TrainConfig, *set_elsewhere: str) -> dict[str, Any]:
    """The training section without the other model's widths and without what is set elsewhere."""
    others = {name for name in config.MODEL_NAMES if name != section.model}
    return section.model_dump(exclude={*others, *set_elsewhere})


def _with_precision(section: TrainConfig, work: Path) -> TrainConfig:
    """The section with `precision: auto` decided, once for all runs and resumes that share the folder `work`."""
    if section.precision != "auto":
        return section
    kept = work / "precision.txt"
    if not kept.exists():
        atomic.write_text(kept, choose_precision(section))
    return section.model_copy(update={"precision": kept.read_text(encoding="utf-8")})


def _check_batch(batch_size: int, tiles: Tiles, key: str) -> None:
    if batch_size > len(tiles):
        raise TrainingError(
            f"{key} {batch_size} is larger than the {len(tiles)} training images; set it to at most {len(tiles)} "
            f"in params.yaml, or bring more images"
        )


def _cost(section: TrainConfig, tiles: Tiles) -> str:
    steps = len(tiles) // section.batch_size * section.epochs
    per_image = gflop_per_image(section, tiles.resolution)
    total = steps * section.batch_size * per_image / 1000
    return f"{steps:,} steps, {per_image:.2f} GFLOP an image, {total:,.1f} TFLOP"


def _say_if_afresh(work: Path, model: ModelName) -> None:
    earlier = [path for path in work.parent.glob(f"{model}-*") if path != work]
    if earlier and not work.exists():
        _log.warning(
            "settings, data or code differ from the earlier study of %s: this one starts afresh (docs/adr/0006)",
            model,
        )


def _experiment(model: str) -> str:
    return f"{model}-study"


def _about(model: ModelName, array: Array, findings: list[str], judge: Judge) -> str:
    lines = [
        f"Studies of {model}, one run a row of the array, plus one run a study with its design and effects.",
        f"Array `{array.name}`: {array.source}",
        *[f"- {finding}" for finding in findings],
        f"FID is `{PROTOCOL}` against {len(judge.tiles)} real training images; the real-vs-real floor at N = "
        f"{judge.floor.n} is {judge.floor.fid:.1f}.",
        "To compare: choose the runs of one study (tag `mammogan.study`), Compare, then `fid_final`.",
    ]
    return "\n\n".join(lines)


def _columns(section: TrainConfig, result: RunResult) -> dict[str, Any]:
    """What trials.csv holds of a row beside its levels and its FID."""
    scores = {name: value for name, value in vars(result.scores).items() if name != "fid"}
    cost = ("n_images", "images_per_s", "elapsed_s", "peak_memory_mb", "gflop_per_image", "precision")
    return {
        **scores,
        "spread": result.spread,
        "spread_real": result.spread_real,
        "collapsed": result.collapsed,
        **{name: getattr(result, name) for name in cost},
        "seed": section.seed,
        "run_id": result.run_id,
    }


def _best(frame: pd.DataFrame) -> "pd.Series[Any]":
    """The row with the lowest FID among those that have not collapsed, if there are such."""
    sound = frame[~frame["collapsed"].astype(bool)]
    if sound.empty:
        _log.warning("every row has collapsed: the samples hardly vary with z; the best row is no success")
        sound = frame
    return sound.sort_values("fid", kind="stable").iloc[0]


def _levels(row: "pd.Series[Any]", factors: dict[str, list[Any]]) -> str:
    return ", ".join(f"{factor} {row[factor]:g}" for factor in factors)


def _best_facts(
    model: ModelName, name: str, best: "pd.Series[Any]", factors: list[str], origin: Provenance, work: Path
) -> dict[str, Any]:
    row = int(best["row"])
    kept = work / f"row-{row}"
    G = store.load(kept / "generator.safetensors")
    scores = Scores(**{field: best[field].item() if hasattr(best[field], "item") else best[field] for field in _SCORES})
    return {
        "model": model,
        "study": name,
        "row": row,
        **{factor: best[factor].item() for factor in factors},
        **vars(scores),
        "spread": float(best["spread"]),
        "spread_real": float(best["spread_real"]),
        "collapsed": bool(best["collapsed"]),
        "line": scores.line(),
        "protocol": PROTOCOL,
        "resolution": G.resolution,
        "run_id": best["run_id"],
        "git_commit": origin.git_commit,
        "data_md5": origin.data_md5,
    }


_SCORES = tuple(Scores.__dataclass_fields__)


def _write_study(folder: Path, work: Path, frame: pd.DataFrame, effects: pd.DataFrame, best: "pd.Series[Any]") -> None:
    kept = work / f"row-{int(best['row'])}"
    frame.to_csv(folder / "trials.csv", index=False, lineterminator="\n")
    effects.to_csv(folder / "effects.csv", index=False, lineterminator="\n")
    shutil.copyfile(kept / "history.csv", folder / "losses.csv")
    shutil.copyfile(kept / "generator.safetensors", folder / "generator.safetensors")
    progress = _progress_of_rows(work, frame)
    progress.to_csv(folder / "progress.csv", index=False, lineterminator="\n")
    plots = folder / "plots"
    plots.mkdir()
    (plots / "effects.png").write_bytes(figures.main_effects(effects))
    (plots / "trials.png").write_bytes(figures.trial_bars(frame))
    (plots / "losses.png").write_bytes(figures.loss_curves(pd.read_csv(folder / "losses.csv")))
    (plots / "progress.png").write_bytes(figures.fid_progress(progress))
    shutil.copyfile(max(kept.glob("samples-*.png")), plots / "samples.png")


def _progress_of_rows(work: Path, frame: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for row in frame["row"]:
        history = pd.read_csv(work / f"row-{row}" / "history.csv")
        parts.append(history[["n_images", "fid"]].dropna().assign(row=row))
    return pd.concat(parts, ignore_index=True)[["row", "n_images", "fid"]]


def _read_best(folder: Path) -> dict[str, Any]:
    path = folder / "best.json"
    if not path.exists():
        raise DataError(f"{path} is missing; `mammogan study {folder.name}` makes it")
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def _results(root: Path, model: ModelName, tiles: Tiles, side: int) -> page.ModelResults:
    folder = root / "studies" / model
    best = _read_best(folder)
    G = store.load(folder / "generator.safetensors")
    train_images = tiles.split("train").images
    shown = np.linspace(0, len(train_images) - 1, min(side * side, len(train_images))).astype(int)
    sentences = (folder / "conclusion.txt").read_text(encoding="utf-8").splitlines()
    return page.ModelResults(
        trials=pd.read_csv(folder / "trials.csv", dtype={"run_id": str}),
        effects=pd.read_csv(folder / "effects.csv"),
        best=best,
        audit=(),
        conclusion="\n\n".join(sentences),
        real=np.asarray(train_images[shown]),
        synthetic=sample(G, side * side, 0)[:, 0].numpy(),
        losses=pd.read_csv(folder / "losses.csv"),
        progress=pd.read_csv(folder / "progress.csv"),
    )
