"""The bodies of the commands in which areas meet: train, evaluate, study, register, generate, report."""

import json
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from mammogan import assessing, assessment, atomic, comparing, config, confirmation, results, sources
from mammogan import report as page
from mammogan.assessing import Real
from mammogan.config import (
    Checkout,
    Config,
    EvaluateConfig,
    ExtractorConfig,
    Factors,
    ModelName,
    StudyConfig,
    TrainConfig,
)
from mammogan.data import phantom
from mammogan.data.prepare import ABOUT_FILE
from mammogan.data.tiles import Tiles, depth, read_manifest, read_tiles, to_8_bits
from mammogan.design import analysis
from mammogan.design.arrays import Array, Row, audit, find_array
from mammogan.design.study import Cell, Report, Resources, Response, Where
from mammogan.design.study import study as run_study
from mammogan.errors import DataError, DesignError, EvaluationError, TrainingError
from mammogan.evaluation import extractors
from mammogan.evaluation.evaluate import Scores
from mammogan.evaluation.features import PROTOCOL
from mammogan.evaluation.utility import Utility
from mammogan.models import store
from mammogan.provenance import Provenance, fingerprint, provenance
from mammogan.run import COST, Judge, Label, Progress, RunResult, finished, insist, join, run
from mammogan.serving.generate import generate as draw_set
from mammogan.serving.images import Stamp
from mammogan.sources import Source
from mammogan.tracking import registry
from mammogan.tracking.fetch import bring
from mammogan.tracking.model import Origin, sha256
from mammogan.tracking.runs import log_assessment, log_study, row_name, row_tags
from mammogan.tracking.store import experiment
from mammogan.tracking.weights import find as find_weights
from mammogan.training.cost import gflop_per_image
from mammogan.training.loop import total_steps
from mammogan.training.parallel import processes
from mammogan.training.precision import choose_device, choose_precision
from mammogan.training.transfer import read_weights
from mammogan.utility_stage import utility

_log = logging.getLogger(__name__)

_CONFIRMATION = "confirmation"


def train(here: Checkout, settings: Config) -> RunResult | None:
    """One tracked run with the settings of params.yaml; called again, it goes on or gives the same result.

    Under `torchrun` all processes train and the first one has the result; the others get None.
    """
    tiles = _training_tiles(here)
    section = settings.train
    _check_batch(section, tiles, "train.batch_size")
    start = _start(here, section)
    with processes(choose_device(section)) as group:
        insist(section, tiles, start, group)
        origin = group.share(provenance(here.root))
        identity = _identity(settings, _what_decides(section), tiles, origin, start)
        folder = here.stores / "checkpoints" / f"train-{section.model}-{identity}"
        if group.first:
            _say_if_afresh(folder, f"train-{section.model}", f"run of {section.model}")
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock") if group.first else nullcontext():
            machine = group.share(_settle(section, folder, processes=1) if group.first else None)
            section = section.model_copy(update={"precision": machine.precision})
            torch.set_num_threads(machine.threads)
            if not group.first:
                if not group.share(None):
                    join(section, tiles, folder=folder, start=start, group=group)
                return None
            judge = _judge(here, settings.evaluate, choose_device(section).type)
            group.share(finished(folder))
            label = Label(
                experiment="train",
                about="Runs by `mammogan train`, one for each set of settings.",
                name=f"{section.model}: lr {section.lr:g}, batch {section.batch_size}, {_budget(section)}",
                kind="train",
                tags={"mammogan.identity": identity},
            )
            n_images = total_steps(section, len(tiles)) * section.batch_size
            with tqdm(
                desc=f"train {section.model}", total=n_images, unit="image", mininterval=1, dynamic_ncols=True
            ) as bar:
                return run(
                    here,
                    section,
                    judge,
                    folder=folder,
                    label=label,
                    provenance=origin,
                    progress=_shown_on(bar),
                    start=start,
                    group=group,
                )


def _shown_on(bar: "tqdm[NoReturn]") -> Progress:
    """Images, their rate, losses and the time left; what an earlier call has done does not count for the rate."""
    begun = False

    def progress(share: float, losses: Mapping[str, float]) -> None:
        nonlocal begun
        n_images = round(share * (bar.total or 0))
        if not begun:
            bar.unpause()
            bar.initial = bar.n = n_images
            begun = True
        bar.set_postfix({name: f"{losses[name]:.2f}" for name in ("loss/D", "loss/G")}, refresh=False)
        bar.update(n_images - bar.n)

    return progress


def _budget(section: TrainConfig) -> str:
    return f"epochs {section.epochs}" if section.epochs else f"{section.kimg:g} kimg"


def _start(here: Checkout, section: TrainConfig) -> Path | None:
    """The folder with the weights that runs start from."""
    return find_weights(here.stores, section.init_from) if section.init_from else None


def evaluate(here: Checkout, settings: Config, name: str) -> Scores:
    """Scores of a generator or a folder of images, by any name of `sources.find`, against the training images."""
    source = sources.find(here, settings, name)
    tiles = _training_tiles(here)
    _check_size(source, tiles)
    judge = _judge(here, settings.evaluate, choose_device(settings.train).type)
    n = source.most(1) or judge.n_fake
    (drawn,) = source.draws(1, n, judge.config.seed)
    return judge.score(drawn.images)


def plan_train(here: Checkout, settings: Config) -> str:
    """The settings of `train` and what it would cost, as text."""
    tiles = _training_tiles(here)
    _check_batch(settings.train, tiles, "train.batch_size")
    insist(settings.train, tiles, _start(here, settings.train))
    return f"{settings.train.model_dump_json(indent=2)}\n{_cost(settings.train, tiles)}"


def plan_study(here: Checkout, settings: Config, model: ModelName) -> str:
    """The rows of the study of `model` and what each would cost, as text."""
    tiles = _training_tiles(here)
    array, factors = _design(settings, model)
    n_runs = array.n_rows * settings.study.replicates
    start = _start(here, settings.train)
    lines = [
        f"study {_study_name(settings, model, tiles, provenance(here.root), start)}",
        *audit(array, factors),
        f"{n_runs} runs: {array.n_rows} rows, each with {settings.study.replicates} training seeds.",
    ]
    for row, section in _sections(settings, model, tiles):
        insist(section, tiles, start)
        lines.append(f"{row_name(row.number, row.levels)}: {_cost(section, tiles)}")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Objective:
    """One row of the array: train, score and track; travels to the worker processes."""

    here: Checkout
    train: TrainConfig
    evaluate: EvaluateConfig
    array: str
    study: str
    experiment: str
    about: str
    origin: Provenance
    threads: int
    start: Path | None

    def __call__(self, cell: Cell, report: Report) -> Response:
        torch.set_num_threads(self.threads)
        section = config.with_row(self.train, seed=self.train.seed + cell.replicate - 1, **cell.levels)
        folder = self.here.stores / "checkpoints" / self.study / _run_folder(cell.row, cell.replicate)
        folder.mkdir(parents=True, exist_ok=True)
        tags = row_tags(self.study, self.array, cell.row, cell.levels) | {"mammogan.replicate": str(cell.replicate)}
        name = row_name(cell.row, cell.levels)
        # The lock: a run that was given up elsewhere for want of a sign of life may still be at work here.
        with FileLock(folder / ".lock"):
            result = run(
                self.here,
                section,
                _judge(self.here, self.evaluate, choose_device(section).type),
                folder=folder,
                label=Label(
                    self.experiment,
                    self.about,
                    name if cell.replicate == 1 else f"{name} #{cell.replicate}",
                    "trial",
                    tags,
                ),
                provenance=self.origin,
                progress=lambda share, losses: report(share),
                start=self.start,
            )
        return Response(result.scores.fid, _columns(section, result))


def study(here: Checkout, settings: Config, model: ModelName) -> str:
    """The designed study of `model`; writes studies/<model>/ and returns what to tell the user.

    Raises:
        MammoganError: prepared/ or the FID network is missing, a level does not fit the data, or rows failed for good.
    """
    tiles = _training_tiles(here)
    array, factors = _design(settings, model)
    largest = {"batch_size": max(factors["batch_size"])} if "batch_size" in factors else {}
    section = config.with_row(settings.train, model=model, **largest)
    origin = provenance(here.root)
    start = _start(here, section)
    for _, each in _sections(settings, model, tiles):
        insist(each, tiles, start)
    name = _study_name(settings, model, tiles, origin, start)
    work = here.stores / "checkpoints" / name
    _say_if_afresh(work, model, f"study of {model}")
    findings = audit(array, factors)
    about = _about(model, array, findings, _judge(here, settings.evaluate, choose_device(section).type))
    where, replicates = _experiment(model), settings.study.replicates
    trials = _run_rows(here, settings, section, array, factors, name, where, about, replicates)
    analysed = analysis.analyse(trials, factors)
    findings += analysed.conclusion.splitlines()
    n_collapsed = int(trials["collapsed"].sum())
    if n_collapsed:
        findings.append(
            f"{n_collapsed} of {len(trials)} runs collapsed: their images hardly vary with z. The effects count them."
        )
    if n_collapsed == len(trials):
        findings.append("All runs collapsed, so the best row is no success.")
    best = _best(trials)
    kept = work / _run_folder(best["row"], best["replicate"])
    found = results.StudyResults(
        trials=trials,
        effects=analysed.effects,
        anova=analysed.anova,
        best=_best_facts(model, name, best, list(factors), tiles, origin),
        findings=findings,
        history=pd.read_csv(kept / "history.csv"),
        progress=_progress_of_rows(work, trials),
    )
    out = here.root / "studies" / model
    results.write(found, out, kept / results.GENERATOR, max(kept.glob("samples-*.png")))
    log_study(
        experiment(here.stores, _experiment(model), about),
        name,
        model_name=model,
        git_commit=origin.git_commit,
        trials=trials,
        effects=analysed.effects,
        anova=analysed.anova,
        plots=sorted((out / results.PLOTS).glob("*.png")),
        audit="\n\n".join(findings),
    )
    levels = _levels_text({factor: best[factor] for factor in factors})
    return "\n".join([found.best["line"], f"best: row {best['row']} ({levels})", *findings])


def _run_rows(
    here: Checkout,
    settings: Config,
    section: TrainConfig,
    array: Array,
    factors: Factors,
    name: str,
    where: str,
    about: str,
    replicates: int,
) -> pd.DataFrame:
    """Every run of the array under that name, in worker processes or on the cluster; those of other machines too.

    `where` is the MLflow experiment of the runs, `about` its description.
    """
    work, ray = here.stores / "checkpoints" / name, settings.study.ray
    machine = _settle(section, work, settings.study.workers, threads=max(1, int(ray.cpus)) if ray else None)
    device = choose_device(section)
    # Before any worker starts: features of the real images are cached, and what is missing is told at once.
    _judge(here, settings.evaluate, device.type)
    _judge.cache_clear()  # the workers need the memory
    if device.type == "cuda":
        torch.cuda.empty_cache()
    trials = run_study(
        name,
        place_of(here, settings.study, name),
        array,
        factors,
        _Objective(
            here,
            section.model_copy(update={"precision": machine.precision}),
            settings.evaluate,
            array.name,
            name,
            where,
            about,
            provenance(here.root),
            machine.threads,
            _start(here, section),
        ),
        replicates=replicates,
        seed=settings.study.seed,
        order=settings.study.order,
        max_retries=settings.study.max_retries,
    )
    for run_id, folder in zip(trials["run_id"], _folders(work, trials), strict=True):
        bring(here.stores, run_id, folder)  # of runs on other machines
    return trials


def confirm(here: Checkout, settings: Config, model: ModelName) -> str:
    """The levels that the study of `model` favours, run again; writes confirmations/<model>/ with the champion.

    Training seeds are others than those of the study. The champion is the generator with the lowest FID at the end of
    training among the best row and these runs.

    Raises:
        MammoganError: there is no study of these settings and images, or the runs failed for good.
    """
    tiles, origin = _training_tiles(here), provenance(here.root)
    _, factors = _design(settings, model)
    found = results.read(here.root / "studies" / model)
    start = _start(here, settings.train.model_copy(update={"model": model}))
    if found.best["study"] != _study_name(settings, model, tiles, origin, start):
        raise DesignError(
            f"studies/{model} is of other settings, images or code; run `mammogan study {model}` before it is confirmed"
        )
    prediction = analysis.predict_best(found.trials, factors)
    seed = settings.train.seed + settings.study.replicates
    section = config.with_row(settings.train, model=model, seed=seed, **prediction.levels)
    name = f"{found.best['study']}-{_CONFIRMATION}-{fingerprint(prediction.levels)}"
    plan = Array(_CONFIRMATION, ((0,) * len(factors),), "the levels that the main effects favour")
    about = "Runs of the levels that the effects of a study favour, with training seeds of their own: docs/design.md."
    levels = {factor: [level] for factor, level in prediction.levels.items()}
    replicates = settings.confirm.replicates
    trials = _run_rows(here, settings, section, plan, levels, name, _CONFIRMATION, about, replicates)
    said = analysis.confirm(prediction, trials["fid"].tolist())
    again = _best(trials)
    new = again["fid"] < found.best["fid"] and not again["collapsed"]
    best, kept = found.best, here.root / "studies" / model / results.GENERATOR
    if new:
        best = _best_facts(model, name, again, list(factors), tiles, origin)
        kept = here.stores / "checkpoints" / name / _run_folder(again["row"], again["replicate"]) / results.GENERATOR
    winner = f"run {again['replicate']} of the confirmation" if new else f"row {best['row']} of the study"
    fids = ", ".join(f"{fid:.1f}" for fid in trials["fid"])
    sentences = [
        f"Confirmation, {_levels_text(prediction.levels)}: {said.sentence}",
        f"FID of these runs: {fids}; of the best row, which was chosen by it: {found.best['fid']:.1f}.",
        f"The champion is {winner}, FID {best['fid']:.1f}, the lowest at the end of training.",
    ]
    facts = {
        "levels": prediction.levels,
        "predicted_sn_db": prediction.sn_db,
        "interval_db": said.interval,
        "sn_db": said.sn_db,
        "confirmed": said.confirmed,
        "champion": winner,
        "sentences": sentences,
    }
    confirmation.write(facts, best, trials, kept, here.root / "confirmations" / model)
    return "\n".join(sentences)


def _levels_text(levels: Mapping[str, Any]) -> str:
    return ", ".join(f"{factor} {config.level_text(level)}" for factor, level in levels.items())


def assess(here: Checkout, settings: Config, model: ModelName) -> str:
    """The whole suite on the champion of the study of `model`; writes results/<model>/.

    Raises:
        MammoganError: there is no study, prepared/ has changed since, or images that no measure can take.
    """
    folder = here.root / "confirmations" / model
    best = results.read_best(folder)
    origin = provenance(here.root)
    source = sources.find(here, settings, str(folder / results.GENERATOR))
    real = _real(here, settings, source)
    digest = sha256(folder / results.GENERATOR)
    identity = fingerprint(
        settings.assess, settings.evaluate, digest, real.train.sha256, real.holdout.sha256, origin.code_sha256
    )
    work = here.stores / "checkpoints" / f"assess-{model}-{identity}"
    with FileLock(work.with_suffix(".lock")):
        found = assessing.assess(settings.assess, settings.evaluate, source, real, work)
        gain = _utility(here, settings, source, work)
    found.facts.update(source=_champion_name(model, best), run_id=best["run_id"], weights_sha256=digest)
    found = assessment.with_utility(found, gain)
    out = here.root / "results" / model
    assessment.write(found, out)
    log_assessment(
        experiment(here.stores, "assessment", "The whole suite on the best generator of each study: docs/assess.md."),
        _champion_name(model, best),
        model_name=model,
        git_commit=origin.git_commit,
        tags={"mammogan.study": best["study"], "mammogan.assessed_run": best["run_id"]},
        figures=found.figures,
        files=sorted(file for file in out.rglob("*") if file.is_file()),
        summary="\n\n".join(found.facts["lines"]),
    )
    return "\n".join(found.facts["lines"])


def _champion_name(model: ModelName, best: Mapping[str, Any]) -> str:
    if f"-{_CONFIRMATION}-" in best["study"]:
        return f"{model}, run {best['replicate']} of the confirmation"
    return f"{model}, row {best['row']}"


def _utility(here: Checkout, settings: Config, source: Source, work: Path) -> Utility | str:
    """What a detector gains, or the reason where it cannot be measured, as with a generator of another label."""
    label = settings.utility.label
    assert source.G is not None, "a study leaves a generator"
    if source.G.classes is None or source.G.classes.label != label:
        return f"the generator does not draw by {label} (train.condition: {label})"
    try:
        return utility(here, settings, [source.name], work / "utility").utility
    except (DataError, EvaluationError) as err:  # all else is measured, and stays
        return str(err)


def compare(here: Checkout, settings: Config, first: str, second: str) -> str:
    """Two sources side by side, as text."""
    pair = [sources.find(here, settings, name) for name in (first, second)]
    real = _real(here, settings, *pair)
    return comparing.compare(settings.assess, settings.evaluate, pair[0], pair[1], real).text()


def register(here: Checkout, settings: Config, model: ModelName) -> str:
    """The best generator of the study of `model` becomes champion; writes registry/<model>.json."""
    folder = here.root / "confirmations" / model
    best = results.read_best(folder)
    origin = Origin(model, best["resolution"], best["git_commit"], best["data_md5"])
    if best.get("collapsed"):
        _log.warning("the best row of %s has collapsed: its images hardly vary with z", model)
    prefix = settings.register_.prefix
    receipt = registry.register(here.stores, prefix, folder / results.GENERATOR, origin, best["fid"])
    receipt.write(here.root / "registry" / f"{model}.json")
    version = registry.champion(here.stores, receipt.name).version
    return f"{receipt.name} version {version} is {receipt.alias} (FID {receipt.fid:.1f})"


def generate(here: Checkout, settings: Config, model: ModelName) -> str:
    """A synthetic set from the champion of `model`; writes synthetic/<model>/."""
    champion = registry.champion(here.stores, f"{settings.register_.prefix}-{model}")
    stamp = Stamp(
        model=champion.model,
        model_version=champion.version,
        run_id=champion.run_id,
        git_commit=champion.git_commit,
        data_hash=champion.data_hash,
        weights_sha256=champion.weights_sha256,
    )
    draw_set(settings.generate, store.load(champion.weights), stamp, here.root / "synthetic" / model)
    n = settings.generate.n_images
    return f"{n} synthetic images by {champion.name} version {champion.version} in synthetic/{model}"


def report(here: Checkout, settings: Config) -> str:
    """One page on all studies there are; writes reports/."""
    prepared = here.root / "prepared"
    tiles = read_tiles(prepared, "train")
    origin = provenance(here.root)
    models: dict[str, page.ModelResults] = {
        model: _for_the_page(here, model, tiles, settings.report.grid_side)
        for model in config.MODEL_NAMES
        if (here.root / "studies" / model / results.BEST).exists()
    }
    about = _about_data(prepared / ABOUT_FILE)
    data = page.Data(
        manifest=read_manifest(prepared),
        rejected=pd.read_csv(prepared / "rejected.csv", dtype=str, keep_default_na=False),
        near_duplicates=len(pd.read_csv(prepared / "near_duplicates.csv")),
        resolution=tiles.resolution,
        bits=depth(tiles.images),
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
    with atomic.new_folder(here.root / "reports") as folder:
        (folder / page.FIGURES_FOLDER).mkdir()
        for name, png in pngs.items():
            (folder / page.FIGURES_FOLDER / name).write_bytes(png)
        (folder / "report.md").write_text(text, encoding="utf-8", newline="\n")
        (folder / "report.html").write_text(page.to_html(text, pngs), encoding="utf-8", newline="\n")
    return "reports/report.html and reports/report.md"


@lru_cache(maxsize=1)
def _judge(here: Checkout, section: EvaluateConfig, device: str) -> Judge:
    """One judge a process: a worker scores all its rows with it."""
    holdout = read_tiles(here.root / "prepared", "holdout")
    return Judge(_training_tiles(here), holdout, section, torch.device(device), here.stores / ".cache" / "features")


@lru_cache(maxsize=1)
def _training_tiles(here: Checkout) -> Tiles:
    return read_tiles(here.root / "prepared", "train")


def _real(here: Checkout, settings: Config, *of: Source) -> Real:
    """The real images, for sources whose images have their size, and the networks that look at both."""
    train = _training_tiles(here)
    for source in of:
        _check_size(source, train)
    device = choose_device(settings.train)
    wanted = [ExtractorConfig(name="inception", file=settings.evaluate.weights), *settings.assess.extractors]
    return Real(
        train,
        read_tiles(here.root / "prepared", "holdout"),
        [extractors.load(each.name, each.file, each.sha256, device) for each in wanted],
        here.stores / ".cache" / "features",
    )


def _check_size(source: Source, tiles: Tiles) -> None:
    if source.resolution != tiles.resolution:
        raise DataError(
            f"{source.name} has images of {source.resolution} px and prepared/ holds {tiles.resolution} px; "
            f"set prepare.resolution to {source.resolution} and run `mammogan prepare`"
        )


def _about_data(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else "Source not recorded: data/ has no SOURCE.md"


def _design(settings: Config, model: ModelName) -> tuple[Array, dict[str, list[Any]]]:
    factors = settings.study.factors.dcgan if model == "dcgan" else settings.study.factors.stylegan
    return find_array(settings.study.array), dict(factors)


def _sections(settings: Config, model: ModelName, tiles: Tiles) -> list[tuple[Row, TrainConfig]]:
    """Each row of the array and the training section under its levels, checked before anything is trained."""
    array, factors = _design(settings, model)
    found = []
    for row in array.assign(factors):
        section = config.with_row(settings.train, model=model, **row.levels)
        _check_batch(section, tiles, f"study.factors.{model}.batch_size")
        found.append((row, section))
    return found


def place_of(here: Checkout, section: StudyConfig, name: str) -> Where:
    """Where the study of that name is kept and run."""
    storage = section.storage or f"sqlite:///{(here.stores / 'optuna.db').as_posix()}"
    if "://" not in storage:
        storage = str(here.stores / storage)
    cluster = Resources(**section.ray.model_dump()) if section.ray else None
    lock = here.stores / ".locks" / f"{name}.lock"
    return Where(storage, lock, section.workers, section.heartbeat_s, cluster)


def _run_folder(row: int, replicate: int) -> str:
    return f"row-{row}" if replicate == 1 else f"row-{row}-{replicate}"


def _folders(work: Path, trials: pd.DataFrame) -> list[Path]:
    return [work / _run_folder(row, number) for row, number in zip(trials["row"], trials["replicate"], strict=True)]


def _study_name(settings: Config, model: ModelName, tiles: Tiles, origin: Provenance, start: Path | None) -> str:
    array, factors = _design(settings, model)
    section = settings.train.model_copy(update={"model": model})
    design = (_what_decides(section, *factors), factors, array.levels)
    return f"{model}-{array.name}-{_identity(settings, design, tiles, origin, start)}"


def _identity(settings: Config, design: object, tiles: Tiles, origin: Provenance, start: Path | None) -> str:
    """What decides a result: settings, pixels, patients, labels, code, weights to start from (docs/adr/0006)."""
    scoring = settings.evaluate.model_dump(exclude={"batch_size", "weights"})
    labels = tiles.labels(settings.train.condition) if settings.train.condition else None
    weights = read_weights(start).sha256 if start else None
    return fingerprint(design, scoring, tiles.sha256, tiles.patients, labels, weights, origin.code_sha256)


def _what_decides(section: TrainConfig, *set_elsewhere: str) -> dict[str, Any]:
    """The training section without the other model's widths and without what is set elsewhere."""
    others = {name for name in config.MODEL_NAMES if name != section.model}
    return section.model_dump(exclude={*others, *set_elsewhere})


@dataclass(frozen=True)
class _Machine:
    """What is decided by the machine and shapes rounding: number format and threads of a process."""

    precision: str
    threads: int


def _settle(section: TrainConfig, work: Path, processes: int, threads: int | None = None) -> _Machine:
    """Decided once for all runs that share the folder `work`, so that a resumed run computes as before."""
    kept = work / "machine.json"
    if not kept.exists():
        threads = threads or max(1, torch.get_num_threads() // processes)
        atomic.write_text(kept, json.dumps(asdict(_Machine(choose_precision(section), threads))))
    return _Machine(**json.loads(kept.read_text(encoding="utf-8")))


def _check_batch(section: TrainConfig, tiles: Tiles, key: str) -> None:
    if section.batch_size > len(tiles):
        raise TrainingError(
            f"{key} {section.batch_size} is larger than the {len(tiles)} training images; set it to at most "
            f"{len(tiles)} in params.yaml, or bring more images"
        )


def _cost(section: TrainConfig, tiles: Tiles) -> str:
    steps = total_steps(section, len(tiles))
    per_image = gflop_per_image(section, tiles.resolution)
    total = steps * section.batch_size * per_image / 1000
    return f"{steps:,} steps, {per_image:.2f} GFLOP an image, {total:,.1f} TFLOP"


def _say_if_afresh(work: Path, prefix: str, what: str) -> None:
    earlier = [path for path in work.parent.glob(f"{prefix}-*") if path != work]
    if earlier and not work.exists():
        _log.warning("settings, data or code differ from the earlier %s: this one starts afresh (docs/adr/0006)", what)


def _experiment(model: str) -> str:
    return f"{model}-study"


def _about(model: ModelName, array: Array, findings: list[str], judge: Judge) -> str:
    lines = [
        f"Studies of {model}, one run a row of the array, plus one run a study with its design and effects.",
        f"Array `{array.name}`: {array.source}",
        *[f"- {finding}" for finding in findings],
        f"FID is `{PROTOCOL}` against {len(judge.tiles)} real training images; the real-vs-real floor at N = "
        f"{judge.floor.n} is {judge.floor.fid:.1f}.",
        "To compare: choose the runs of one study (tag `mammogan.study`), Compare, then `final/fid`.",
    ]
    return "\n\n".join(lines)


def _columns(section: TrainConfig, result: RunResult) -> dict[str, Any]:
    """What trials.csv holds of a row beside its levels and its FID."""
    scores = {name: value for name, value in vars(result.scores).items() if name != "fid"}
    return {
        **scores,
        "spread": result.spread,
        "spread_real": result.spread_real,
        "collapsed": result.collapsed,
        "copies": result.copies,
        "best_fid": result.best_fid,
        "best_n_images": result.best_n_images,
        **{name: getattr(result, name) for name in COST if name != "precision"},
        "number_format": result.precision,  # `precision` is the score
        "seed": section.seed,
        "run_id": result.run_id,
    }


def _best(trials: pd.DataFrame) -> dict[str, Any]:
    """The best run of the row with the lowest mean FID, among the runs that have not collapsed, if there are such."""
    sound = trials[~trials["collapsed"].astype(bool)]
    if sound.empty:
        sound = trials
    row = sound.groupby("row")["fid"].mean().idxmin()
    best = sound[sound["row"] == row].sort_values("fid", kind="stable").head(1).to_dict("records")[0]
    return {str(name): value for name, value in best.items()}


def _best_facts(
    model: ModelName, name: str, best: dict[str, Any], factors: list[str], tiles: Tiles, origin: Provenance
) -> dict[str, Any]:
    scores = Scores(**{field: best[field] for field in Scores.__dataclass_fields__})
    kept = ("row", "replicate", *factors, "spread", "spread_real", "collapsed", "copies", "run_id")
    return {
        "model": model,
        "study": name,
        **{field: best[field] for field in kept},
        **asdict(scores),
        "line": scores.line(),
        "protocol": PROTOCOL,
        "resolution": tiles.resolution,
        "git_commit": origin.git_commit,
        "data_md5": origin.data_md5,
    }


def _progress_of_rows(work: Path, trials: pd.DataFrame) -> pd.DataFrame:
    """FID over training of each row, the mean of its replicates."""
    parts = []
    for row, folder in zip(trials["row"], _folders(work, trials), strict=True):
        history = pd.read_csv(folder / "history.csv")
        parts.append(history[["n_images", "fid"]].dropna().assign(row=row))
    return pd.concat(parts).groupby(["row", "n_images"])["fid"].mean().reset_index()


def _for_the_page(here: Checkout, model: ModelName, tiles: Tiles, side: int) -> page.ModelResults:
    found = results.read(here.root / "studies" / model)
    confirmed = confirmation.read(here.root / "confirmations" / model)
    champion = results.read_best(here.root / "confirmations" / model) if confirmed else found.best
    shown = np.linspace(0, len(tiles) - 1, min(side * side, len(tiles))).astype(int)
    return page.ModelResults(
        trials=found.trials,
        effects=found.effects,
        anova=found.anova,
        best=found.best,
        audit=(),
        conclusion="\n\n".join(found.findings),
        real=to_8_bits(tiles.images[shown]),
        synthetic=_first_synthetic(here.root / "synthetic" / model / "images", side * side),
        losses=found.history,
        progress=found.progress,
        assessment=_assessment_of(here, model, champion),
        confirmation=confirmed,
    )


def _assessment_of(here: Checkout, model: ModelName, best: Mapping[str, Any]) -> assessment.Assessment | None:
    """The assessment of the best row, if there is one; that of an earlier study does not count."""
    folder = here.root / "results" / model
    if not folder.exists():
        return None
    found = assessment.read(folder)
    if found.facts["run_id"] != best["run_id"]:
        _log.warning("results/%s is of another study; `mammogan assess %s` makes it anew", model, model)
        return None
    return found


def _first_synthetic(folder: Path, n: int) -> NDArray[np.uint8]:
    """The first `n` images of a synthetic set, uint8 (n, H, W)."""
    files = sorted(folder.glob("*.png"))[:n]
    if not files:
        raise DataError(f"{folder} holds no images; `mammogan generate {folder.parent.name}` makes them")
    return np.stack([to_8_bits(np.asarray(Image.open(file))) for file in files])
