"""One tracked run: train a model, score its generator, log everything; a trial of a study is one of these.

All that a run has reached stands in its folder under checkpoints/, so that the same call after a kill goes on there:
the checkpoints of the loop, the history of its metrics, the scores of each evaluation.
"""

import errno
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from mammogan import atomic, figures
from mammogan.config import Checkout, EvaluateConfig, TrainConfig
from mammogan.data.tiles import Tiles
from mammogan.errors import EvaluationError, TrainingError
from mammogan.evaluation import features, weights
from mammogan.evaluation.copies import Calibration, Copies, Reference, calibrate, check
from mammogan.evaluation.evaluate import Floor, Scores, evaluate, floor
from mammogan.evaluation.inception import load_inception
from mammogan.evaluation.look import COLLAPSED_BELOW, complaint, look
from mammogan.models import Generator, store
from mammogan.provenance import Provenance
from mammogan.serving.latents import latents, row_names, walks
from mammogan.serving.sample import draw
from mammogan.tracking.model import Origin
from mammogan.tracking.runs import TrialRun, earlier_run, parameters
from mammogan.tracking.store import experiment
from mammogan.training import loop
from mammogan.training.loop import Data, total_steps, train
from mammogan.training.parallel import ALONE, Group
from mammogan.training.steps import Networks
from mammogan.training.transfer import read_weights, start_from
from mammogan.training.watchdog import Verdict

_log = logging.getLogger(__name__)

GRID_IMAGES = 36
WATCHED = 64  # images that are checked for copies at the end of a run

_RESULT = "result.json"
_CHECKPOINTS = "checkpoints"
_GRID_TILE_PX = 128
_CALIBRATION = 400  # real images behind the threshold of copies
_SUSPICIOUS = 0.01  # chance of as many copies among real images
_FILM_BYTES = 2_000_000
_WALKS = 6  # rows of the pictures of latents
_STEPS = 8  # images from one latent to the other
_TRUNCATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
COST = ("precision", "n_images", "elapsed_s", "images_per_s", "peak_memory_mb", "gflop_per_image")

Progress = Callable[[float, Mapping[str, float]], None]


@dataclass(frozen=True)
class Label:
    """How a run is called and found again in MLflow."""

    experiment: str
    about: str  # description of the experiment, Markdown
    name: str
    kind: str  # train or trial
    tags: Mapping[str, str]


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves behind, with what the training cost (training.loop.TrainResult).

    Attributes:
        scores: of the generator at the end of training, which alone is compared between runs.
        spread: of its images, grey levels. spread_real: of the real images.
        copies: of WATCHED images at the end of training those that are nearer to a training image than fresh real ones
            are; None where the set cannot tell.
        best_fid, best_kid, best_n_images: of the evaluation with the lowest FID, and the real images shown before
            it. They are optimistic: chosen by the score that they report.
    """

    scores: Scores
    spread: float
    spread_real: float
    best_fid: float
    best_kid: float
    best_n_images: int
    copies: int | None
    folder: Path
    run_id: str
    precision: str
    n_images: int
    elapsed_s: float
    images_per_s: float
    peak_memory_mb: float
    gflop_per_image: float

    @property
    def collapsed(self) -> bool:
        """Whether the samples hardly vary with z."""
        return self.spread < COLLAPSED_BELOW * self.spread_real

    @property
    def generator(self) -> Path:
        """The weights of G_ema at the end of training, as models.store writes them: those that are registered."""
        return self.folder / "generator.safetensors"

    @property
    def best(self) -> Path:
        """The weights of G_ema at the evaluation with the lowest FID."""
        return self.folder / "best.safetensors"

    @property
    def discriminator(self) -> Path:
        """The weights of D at the end of training, from which another run may start."""
        return self.folder / "discriminator.safetensors"


class Judge:
    """Scores generators against the real training images; their features are computed once and cached."""

    def __init__(self, tiles: Tiles, holdout: Tiles, config: EvaluateConfig, device: torch.device, cache: Path) -> None:
        """Load the FID network; features of the real images are computed unless `cache` holds them.

        Images of `holdout`, of other patients, tell how near to a training image a fresh one comes.

        Raises:
            EvaluationError: the FID network is missing, or there are too few patients for a floor.
        """
        self.config = config
        self.tiles = tiles
        self._net = load_inception(weights.find_weights(config.weights)).to(device)
        self._real = features.cached_features(weights.WEIGHTS_SHA256, tiles.sha256, self._features_of_real, cache)
        self._patients = tiles.patients
        self.n_fake = config.n_images or len(tiles)
        self.floor: Floor = floor(config, self._real, self._patients)
        self.look_real = look(tiles.images)
        self.holdout = holdout

    def draw(self, G: Generator) -> NDArray[np.uint8]:
        """The images of `G` that are scored, uint8 (n_fake, H, W): always the same latents."""
        return draw(G, self.n_fake, self.config.seed)

    def score(self, fakes: NDArray[np.uint8]) -> Scores:
        """Scores of synthetic images (N, H, W)."""
        found = features.features(self._net, fakes, self.config.batch_size, lambda _: None)
        return evaluate(self.config, self._real, self._patients, found, self.floor)

    def copies(self, fakes: NDArray[np.uint8]) -> Copies | None:
        """Which of the synthetic images (N, H, W) are copies of training images; None where the set cannot tell."""
        return check(fakes, *self._watch) if self._watch else None

    @cached_property
    def _watch(self) -> tuple[Reference, Calibration] | None:
        reference = Reference(self.tiles.images, self._patients)
        try:
            return reference, calibrate(reference, self.holdout.images, at_most=_CALIBRATION)
        except EvaluationError as err:
            _log.warning("%s; until then runs are not watched for copies", err)
            return None

    def _features_of_real(self) -> NDArray[np.float32]:
        with tqdm(desc="features of the real images", total=len(self.tiles), unit="image", mininterval=1) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)

            return features.features(self._net, self.tiles.images, self.config.batch_size, progress)


def run(
    here: Checkout,
    config: TrainConfig,
    judge: Judge,
    *,
    folder: Path,
    label: Label,
    provenance: Provenance,
    progress: Progress,
    start: Path | None = None,
    group: Group = ALONE,
) -> RunResult:
    """Train, score and track one model, or go on where an earlier call with the same folder stopped.

    A folder belongs to one set of settings, data and code; a finished one gives its result again and trains nothing.
    `progress` receives the share that is done, in [0, 1], and the losses. `start` is a folder with weights to start
    from, `group` the processes that share the training: this is the first of them.
    """
    kept = _read_json(folder / _RESULT)
    if kept is not None:
        return RunResult(scores=Scores(**kept.pop("scores")), folder=folder, **kept)
    params, tags = parameters(config), dict(label.tags)
    where = experiment(here.stores, label.experiment, label.about)
    with TrialRun(
        where,
        label.name,
        kind=label.kind,
        model_name=config.model,
        git_commit=provenance.git_commit,
        tags=tags,
        params=params,
        run_id=earlier_run(where, {"mammogan.kind": label.kind, **tags}, params),
    ) as tracked:
        tracked.log_dataset("prepared", provenance.data_md5, "data")
        record = _Record(folder, judge, tracked)
        total = total_steps(config, len(judge.tiles)) * config.batch_size
        try:
            trained = train(
                config,
                training_data(config, judge.tiles),
                folder=folder / _CHECKPOINTS,
                log=record.log,
                snapshot=record.snapshot,
                event=record.event,
                progress=lambda n_images, losses: progress(n_images / total, losses),
                start=starter(config, start),
                group=group,
            )
        except TrainingError as err:
            record.note(f"failed: {err}")
            raise
        end = record.evaluation(trained.G, trained.n_images)
        best = record.evaluation(trained.best, trained.best_images)
        copies = judge.copies(draw(trained.G, WATCHED, judge.config.seed))
        facts = {
            "copies": copies.count if copies else None,
            "spread": end.spread,
            "spread_real": judge.look_real.spread,
            "best_fid": best.scores.fid,
            "best_kid": best.scores.kid,
            "best_n_images": trained.best_images,
            "run_id": tracked.run_id,
            **{field: getattr(trained, field) for field in COST},
        }
        result = RunResult(scores=end.scores, folder=folder, **facts)
        if result.collapsed:
            _log.warning(
                "%s: collapsed, its samples hardly vary with z (spread %.1f grey levels, real images %.1f)",
                label.name,
                result.spread,
                result.spread_real,
            )
        if copies and copies.p_value < _SUSPICIOUS:
            _log.warning("%s: %s; `mammogan assess` shows the pairs", label.name, copies.line())
        store.save(result.generator, trained.G, config, judge.tiles.resolution)
        store.save(result.best, trained.best, config, judge.tiles.resolution)
        store.save_discriminator(result.discriminator, trained.D, config, judge.tiles.resolution, trained.G.classes)
        tracked.tag({"mammogan.collapsed": str(result.collapsed).lower(), "mammogan.precision": trained.precision})
        tracked.final(_final_metrics(result))
        lines = [end.scores.line(), *([copies.line()] if copies else [])]
        tracked.log_text("".join(f"{line}\n" for line in lines), "scores.txt")
        tracked.log_file(record.history)
        for picture in (record.film(), *record.walks(trained.G, config)):
            tracked.log_file(picture, "pictures")
        for file in (result.generator, result.best, result.discriminator):
            tracked.log_file(file, "weights")
        tracked.log_model(
            result.generator,
            Origin(config.model, judge.tiles.resolution, provenance.git_commit, provenance.data_md5),
        )
    atomic.write_text(folder / _RESULT, json.dumps({"scores": asdict(end.scores), **facts}))
    shutil.rmtree(folder / _CHECKPOINTS)
    return result


def join(config: TrainConfig, tiles: Tiles, *, folder: Path, start: Path | None, group: Group) -> None:
    """Take part in a run as any process but the first; nothing is scored, logged or kept here."""
    train(
        config,
        training_data(config, tiles),
        folder=folder / _CHECKPOINTS,
        log=lambda *_: None,
        snapshot=lambda *_: Verdict(),
        event=lambda *_: None,
        progress=lambda *_: None,
        start=starter(config, start),
        group=group,
    )


def finished(folder: Path) -> bool:
    """Whether the run of that folder has its result."""
    return _read_json(folder / _RESULT) is not None


def starter(config: TrainConfig, start: Path | None) -> Callable[[Networks], None] | None:
    """What puts the weights in the folder `start` into fresh networks; None where a run starts from chance."""
    if start is None:
        return None
    weights = read_weights(start)
    return lambda nets: start_from(weights, nets, config)


def insist(config: TrainConfig, tiles: Tiles, start: Path | None, group: Group = ALONE) -> None:
    """Refuse settings with which a run would end before its first step (`training.loop.insist`)."""
    loop.insist(config, training_data(config, tiles), starter(config, start), group)


def training_data(config: TrainConfig, tiles: Tiles) -> Data:
    """What a run with these settings learns from."""
    return Data(tiles.images, tiles.sha256, tiles.labels(config.condition) if config.condition else None)


@dataclass(frozen=True)
class _Evaluation:
    """Scores of the samples of a moment, their spread in grey levels, and what is wrong with them at a glance."""

    scores: Scores
    spread: float
    complaint: str | None


class _Record:
    """What a run has measured so far, on disk and in MLflow; a point already on disk is not measured again."""

    def __init__(self, folder: Path, judge: Judge, tracked: TrialRun) -> None:
        self.history = folder / "history.csv"
        self._events = folder / "events.txt"
        self._folder = folder
        self._judge = judge
        self._tracked = tracked
        self._lines: dict[int, dict[str, float]] = _read_history(self.history)
        for n_images, metrics in self._lines.items():
            tracked.log(metrics, n_images)  # in case the tracking store was lost; it skips what it has
        if self._events.exists():
            self._track_events(self._events.read_text(encoding="utf-8").splitlines())

    def log(self, metrics: dict[str, float], n_images: int) -> None:
        """Losses and speed of the loop."""
        self._tracked.log(metrics, n_images)
        self._keep(metrics, n_images)

    def snapshot(self, G: Generator, n_images: int) -> Verdict:
        """A grid of the fixed latents and, once training has begun, the scores."""
        if not n_images:
            self._show(draw(G, GRID_IMAGES, self._judge.config.seed), 0)
            return Verdict()
        found = self.evaluation(G, n_images)
        return Verdict(found.scores.fid, found.complaint)

    def event(self, sentence: str, n_images: int) -> None:
        """What was not planned."""
        self.note(f"after {n_images} images: {sentence}")

    def note(self, line: str) -> None:
        """Tell, and add to events.txt, what does not stand there yet: a resumed run meets the same events again."""
        lines = self._events.read_text(encoding="utf-8").splitlines() if self._events.exists() else []
        if line in lines:
            return
        _log.warning("%s", line)
        with _room_or_warning(self._events):
            atomic.write_text(self._events, "".join(f"{one}\n" for one in [*lines, line]))
            self._track_events([*lines, line])

    def _track_events(self, lines: list[str]) -> None:
        self._tracked.log_file(self._events)
        self._tracked.tag({"mammogan.event": lines[-1]})

    def evaluation(self, G: Generator, n_images: int) -> _Evaluation:
        """What the samples of `G` are after `n_images`, computed once."""
        path = self._folder / f"scores-{n_images:09d}.json"
        kept = _read_json(path)
        if kept is not None:
            return _Evaluation(Scores(**kept["scores"]), kept["spread"], kept["complaint"])
        fakes = draw(G, max(self._judge.n_fake, GRID_IMAGES), self._judge.config.seed)
        self._show(fakes[:GRID_IMAGES], n_images)
        found = self._judge.score(fakes[: self._judge.n_fake])
        seen = look(fakes)
        wrong = complaint(seen, self._judge.look_real)
        scored = {name: getattr(found, name) for name in ("fid", "kid", "precision", "recall")}
        metrics = {name: value for name, value in scored.items() if not math.isnan(value)} | {"spread": seen.spread}
        self._tracked.log(metrics, n_images)
        self._keep(metrics, n_images)
        with _room_or_warning(path):
            atomic.write_text(path, json.dumps({"scores": asdict(found), "spread": seen.spread, "complaint": wrong}))
        return _Evaluation(found, seen.spread, wrong)

    def film(self) -> Path:
        """All grids of the fixed latents in their order, as one animated file."""
        grids = sorted(self._folder.glob("samples-*.png"))
        frames = [np.asarray(Image.open(path)) for path in grids]
        captions = [f"{int(path.stem.removeprefix('samples-')):,} images shown" for path in grids]
        return self._write("training.webp", figures.animation(frames, captions, _FILM_BYTES))

    def walks(self, G: Generator, config: TrainConfig) -> list[Path]:
        """Pictures of the latents of a StyleGAN: from one to another, and pulled towards the mean."""
        if config.model != "stylegan":
            return []
        seed = self._judge.config.seed
        ends = latents(G, 2 * _WALKS, seed)
        paths = figures.spherical(ends[:_WALKS], ends[_WALKS:], _STEPS)
        names = row_names(G, _WALKS, seed)
        between = walks(G, paths, [1.0] * _STEPS, seed)
        pulled = walks(G, np.repeat(ends[:_WALKS, None], len(_TRUNCATIONS), 1), _TRUNCATIONS, seed)
        columns = [f"{psi:g}" for psi in _TRUNCATIONS]
        sheets = {
            "interpolation.png": figures.labelled(_tiles(between), names, []),
            "truncation.png": figures.labelled(_tiles(pulled), names, columns),
        }
        return [self._write(name, figures.to_png(sheet)) for name, sheet in sheets.items()]

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        with atomic.new_file(path) as partial:
            partial.write_bytes(content)
        return path

    def _show(self, images: NDArray[np.uint8], n_images: int) -> None:
        grid = figures.grid(figures.shrunk(images, _GRID_TILE_PX), columns=math.isqrt(GRID_IMAGES))
        self._tracked.log_image(grid, n_images)
        name = f"samples-{n_images:09d}.png"
        with _room_or_warning(self._folder / name):
            self._write(name, figures.to_png(grid))

    def _keep(self, metrics: Mapping[str, float], n_images: int) -> None:
        self._lines.setdefault(n_images, {}).update(metrics)
        frame = pd.DataFrame.from_dict(self._lines, orient="index").rename_axis("n_images").sort_index()
        with _room_or_warning(self.history):
            atomic.write_text(self.history, frame.to_csv(lineterminator="\n"))


@contextmanager
def _room_or_warning(path: Path) -> Iterator[None]:
    """A full disk is a warning, as for a checkpoint: the run goes on, and the file before stays."""
    try:
        yield
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _log.warning("%s is not written: %s; the run goes on", path, err.strerror)


def _tiles(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (R, C, H, W), smaller where they would make too large a sheet."""
    rows, columns, height, width = images.shape
    small = figures.shrunk(images.reshape(-1, height, width), _GRID_TILE_PX)
    return small.reshape(rows, columns, *small.shape[1:])


def _read_json(path: Path) -> dict[str, Any] | None:
    """What a file of this run holds; None when it is missing or was damaged, so that it is made again."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return kept


def _read_history(path: Path) -> dict[int, dict[str, float]]:
    if not path.exists():
        return {}
    lines = pd.read_csv(path).to_dict("records")
    return {
        int(line.pop("n_images")): {str(name): value for name, value in line.items() if not math.isnan(value)}
        for line in lines
    }


def _final_metrics(result: RunResult) -> dict[str, float]:
    scores = result.scores
    shares = {"precision": scores.precision, "recall": scores.recall, "copies": result.copies}
    return {
        **{f"final/{name}": share for name, share in shares.items() if share is not None and not math.isnan(share)},
        "final/fid": scores.fid,
        "final/kid": scores.kid,
        "final/spread": result.spread,
        "final/floor": scores.floor,
        "final/fid_at_floor_n": scores.fid_at_floor_n,
        "final/ratio": scores.ratio,
        "best/fid": result.best_fid,
        "best/kid": result.best_kid,
        "best/n_images": result.best_n_images,
        "elapsed_s": result.elapsed_s,
        "peak_memory_mb": result.peak_memory_mb,
        "gflop_per_image": result.gflop_per_image,
    }
