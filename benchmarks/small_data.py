"""FID of training on small sets: augmentation on and off, averaged and raw weights, and two peers; three seeds.

Two sets of mammograms at 64 px: a folder of real ones (`--set DIR`) and 2,000 phantoms (`--set phantom`). Every cell
of ours is a run of `training.loop.train` with the same number of images seen, scored by `run.Judge`; a peer's cell is
the peer's own networks and step, from a checkout that `--peer DIR` names, for `--peer-cpu-s` of process CPU time.
Each finished cell and seed is a JSON file in the work folder: called again, the script skips what is there and goes on
with the rest. `--collect FILE` writes them as one JSON, `--table FILE` prints that as the table of docs/small-data.md.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from mammogan import atomic
from mammogan.config import Augmentation, EvaluateConfig, TrainConfig, load
from mammogan.data.ids import load_key
from mammogan.data.phantom import phantom
from mammogan.data.prepare import prepare
from mammogan.data.tiles import SPLITS, Tiles, read_tiles
from mammogan.evaluation.evaluate import spread
from mammogan.figures import grid, to_png
from mammogan.models import Generator
from mammogan.run import Judge
from mammogan.training.loop import Data, train
from mammogan.training.watchdog import Verdict
from small_data_peers import PEERS, Drawn, find_peer

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")

SCORED = 500  # synthetic images, at most as many as there are training images
COLUMNS = 12  # of the pictures
SHOWN = 32  # images of each run that are kept to be looked at

# DiffAugment's policy is the paper's (colour, translation, cutout); ADA takes what the settings ship.
_DIFFAUGMENT: list[Augmentation] = ["translate", "brightness", "contrast", "cutout"]
_STYLEGAN = {"model": "stylegan", "lr": 0.002, "batch_size": 8}
_DCGAN = {"model": "dcgan", "lr": 0.0002, "batch_size": 32}
CELLS: Mapping[str, Mapping[str, Any]] = {
    "stylegan-off": _STYLEGAN,
    "stylegan-diffaugment": {**_STYLEGAN, "augment": {"mode": "diffaugment", "operations": _DIFFAUGMENT}},
    "stylegan-ada": {**_STYLEGAN, "augment": {"mode": "ada"}},
    "dcgan-off": _DCGAN,
    "dcgan-diffaugment": {**_DCGAN, "augment": {"mode": "diffaugment", "operations": _DIFFAUGMENT}},
    "dcgan-off-no-noise": {**_DCGAN, "instance_noise": 0.0},
}
NAMES = {
    "stylegan-off": "StyleGAN, augmentation off",
    "stylegan-diffaugment": "StyleGAN, DiffAugment",
    "stylegan-ada": "StyleGAN, ADA",
    "dcgan-off": "DCGAN, augmentation off",
    "dcgan-diffaugment": "DCGAN, DiffAugment",
    "dcgan-off-no-noise": "DCGAN, off, no instance noise",
    "peer-dcgan": "peer: PyTorch DCGAN example",
    "peer-stylegan2": "peer: lucidrains stylegan2-pytorch",
}


@dataclass(frozen=True)
class Bench:
    """One set with its judge, and where its results go."""

    name: str
    tiles: Tiles
    judge: Judge
    folder: Path


def configuration(cell: str, seed: int, kimg: float) -> TrainConfig:
    """The shipped settings with widths that a CPU can train and the changes of the cell."""
    shipped = load(ROOT / "params.yaml").train
    changes = {key: value for key, value in CELLS[cell].items() if key != "augment"}
    # ADA may go from 0 to 1 within a quarter of the run.
    augment = {**shipped.augment.model_dump(), "mode": "none", "kimg": kimg / 4, **CELLS[cell].get("augment", {})}
    tree = {
        **shipped.model_dump(),
        **changes,
        "seed": seed,
        "epochs": None,
        "kimg": kimg,
        "evaluate_kimg": 10 * kimg,  # once, at the end
        "augment": augment,
        "stylegan": {**shipped.stylegan.model_dump(), "base_channels": 512, "max_channels": 64},
        "dcgan": {**shipped.dcgan.model_dump(), "z_dim": 100, "base_channels": 32, "max_channels": 256},
    }
    return TrainConfig.model_validate(tree)


def open_set(which: str, work: Path) -> Bench:
    """Prepare the set in the work folder, once, and compute features of its real images."""
    settings = load(ROOT / "params.yaml")
    name = "phantom" if which == "phantom" else Path(which).name
    folder = work / name
    if not (folder / "prepared").exists():
        raw = Path(which)
        if which == "phantom":
            raw = folder / "phantoms"
            phantom(settings.phantom.model_copy(update={"patients": 503}), raw)
        fewest = {"laterality": "both", "resolution": 64, "holdout_fraction": 0.005}
        key = load_key(checkout=ROOT)
        section = settings.prepare.model_copy(update=fewest)
        prepare(section, raw, folder / "prepared", cache=folder / "tiles.db", id_key=key)
    tiles, holdout = (read_tiles(folder / "prepared", split) for split in SPLITS)
    scoring = EvaluateConfig(n_images=min(SCORED, len(tiles)), batch_size=32, floor_splits=10, weights=None, seed=1)
    return Bench(name, tiles, Judge(tiles, holdout, scoring, CPU, folder / "cache"), folder)


def run_ours(bench: Bench, cell: str, seed: int, kimg: float, curve: float | None) -> dict[str, Any]:
    """Train and score one cell: scores of the averaged and of the raw weights, and the cost."""
    config = configuration(cell, seed, kimg)
    if curve:
        config = config.model_copy(update={"evaluate_kimg": curve})
    total = round(kimg * 1000)
    points: list[dict[str, float]] = []
    metrics: dict[str, float] = {}
    started, aside = time.process_time(), 0.0

    def snapshot(G: Generator, n_images: int) -> Verdict:
        nonlocal aside
        if curve and 0 < n_images < total:
            before = time.process_time()
            points.append(
                {
                    "n_images": n_images,
                    "cpu_s": before - started - aside,
                    "fid": bench.judge.score(bench.judge.draw(G)).fid,
                }
            )
            print(f"\n  {n_images} images: FID {points[-1]['fid']:.1f}", file=sys.stderr)
            aside += time.process_time() - before
        return Verdict()

    def log(values: dict[str, float], n_images: int) -> None:
        metrics.update(values)

    bar = _Bar(f"{bench.name} {cell} seed {seed}", total)

    def progress(n_images: int, _: Mapping[str, float]) -> None:
        bar.show(n_images)

    trained = train(
        config,
        Data(bench.tiles.images, bench.tiles.sha256),
        folder=bench.folder / "checkpoints" / f"{cell}-{seed}",
        log=log,
        snapshot=snapshot,
        event=lambda what, n_images: print(f"\n  {n_images} images: {what}", file=sys.stderr),
        progress=progress,
    )
    cpu_s = time.process_time() - started - aside
    drawn = {"ema": bench.judge.draw(trained.G), "raw": bench.judge.draw(trained.raw)}
    return {
        **_scored(bench, cell, seed, drawn),
        "n_images": trained.n_images,
        "cpu_s": round(cpu_s, 1) if bar.first == config.batch_size else None,  # unknown of a run that was resumed
        "wall_s": round(trained.elapsed_s, 1),
        "precision": trained.precision,
        "gflop_per_image": round(trained.gflop_per_image, 3),
        "events": list(trained.events),
        "last": {name: round(value, 4) for name, value in metrics.items()},
        "curve": points,
        "settings": json.loads(config.model_dump_json()),
    }


def run_peer(bench: Bench, cell: str, seed: int, cpu_s: float, checkouts: Sequence[Path]) -> dict[str, Any]:
    """Train and score a peer by its own code for so many CPU seconds."""
    wall = time.monotonic()
    peer = find_peer(cell, checkouts)
    drawn: Drawn = PEERS[cell](peer, bench.tiles.images, bench.judge.n_fake, seed, cpu_s)
    return {
        **_scored(bench, cell, seed, drawn.images),
        "n_images": drawn.n_images,
        "cpu_s": round(drawn.cpu_s, 1),
        "wall_s": round(time.monotonic() - wall, 1),
        "precision": "fp32",
        "settings": drawn.settings,
    }


def _scored(bench: Bench, cell: str, seed: int, drawn: Mapping[str, NDArray[np.uint8]]) -> dict[str, Any]:
    for weights, images in drawn.items():
        with atomic.new_file(bench.folder / f"{cell}-{seed}-{weights}.npy") as partial, partial.open("wb") as file:
            np.save(file, images[:SHOWN])
    scores = {weights: asdict(bench.judge.score(images)) for weights, images in drawn.items()}
    spreads = {weights: round(spread(images), 2) for weights, images in drawn.items()}
    floor = asdict(bench.judge.floor)
    return {
        "set": bench.name,
        "cell": cell,
        "seed": seed,
        "scores": scores,
        "spread": spreads,
        "spread_real": round(bench.judge.look_real.spread, 2),
        "floor": floor,
    }


class _Bar:
    """Share done and time left, on one line."""

    def __init__(self, title: str, total: int) -> None:
        self.first: int | None = None  # images at the first call
        self._title, self._total = title, total
        self._started = time.monotonic()
        self._told = 0.0

    def show(self, n_images: int) -> None:
        self.first = n_images if self.first is None else self.first
        now = time.monotonic()
        if now - self._told > 5 or n_images >= self._total:
            self._told = now
            share = 100 * n_images / self._total
            left = (now - self._started) / max(n_images - self.first, 1) * (self._total - n_images)
            print(f"\r{self._title}: {share:3.0f} %, {left:4.0f} s left ", end="", file=sys.stderr, flush=True)


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """The Markdown tables of docs/small-data.md: one for each set, mean and range over the seeds."""
    found = list(results)
    parts = []
    for name in dict.fromkeys(result["set"] for result in found):
        of_set = [result for result in found if result["set"] == name]
        floor = of_set[0]["floor"]
        scores = next(iter(of_set[0]["scores"].values()))
        parts.append(
            f"**{name}**: FID of {scores['n_fake']} synthetic against {scores['n_real']} real images; "
            f"at N {floor['n']} against {floor['n']}, real against real scores {floor['fid']:.1f} "
            f"(sd {floor['fid_sd']:.1f}), the floor.\n"
        )
        parts.append(
            "| cell | FID, EMA | FID, raw | FID at the floor's N, EMA | ratio to the floor | "
            "thousand images seen | CPU minutes | seeds |\n|---|---|---|---|---|---|---|---|"
        )
        for cell in NAMES:
            runs = [result for result in of_set if result["cell"] == cell]
            if runs:
                parts.append(_line(cell, runs))
        parts.append("")
    return "\n".join(parts)


def _line(cell: str, runs: Sequence[Mapping[str, Any]]) -> str:
    def column(weights: str, field: str, digits: int = 1) -> str:
        values = [run["scores"][weights][field] for run in runs if weights in run["scores"]]
        if not values:
            return "-"
        return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

    best = "ema" if "ema" in runs[0]["scores"] else "raw"
    images = statistics.mean(run["n_images"] for run in runs) / 1000
    minutes = statistics.mean(run["cpu_s"] for run in runs if run["cpu_s"]) / 60
    at_n, ratio = column(best, "fid_at_floor_n"), column(best, "ratio", 2)
    return (
        f"| {NAMES[cell]} | {column('ema', 'fid')} | {column('raw', 'fid')} | {at_n} | {ratio} | "
        f"{images:.1f} | {minutes:.1f} | {len(runs)} |"
    )


def run_once(bench: Bench, cell: str, seed: int, options: argparse.Namespace) -> None:
    """Run a cell and keep its result, unless it is there."""
    path = bench.folder / f"result-{cell}-{seed}.json"
    if path.exists():
        return
    if cell in PEERS:
        result = run_peer(bench, cell, seed, options.peer_cpu_s, options.peer)
    else:
        result = run_ours(bench, cell, seed, options.kimg, options.curve)
    atomic.write_text(path, json.dumps(result))
    fids = ", ".join(f"{weights} {scores['fid']:.1f}" for weights, scores in result["scores"].items())
    print(f"\r{bench.name} {cell} seed {seed}: FID {fids}; {result['wall_s']:.0f} s", flush=True)


def read_results(work: Path) -> list[dict[str, Any]]:
    """All finished cells of the work folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("*/result-*.json"))]


def pictures(work: Path, name: str, seed: int, cells: Sequence[str]) -> NDArray[np.uint8]:
    """A row of the first images of each cell, uint8 (h, w); real images are not among them."""
    rows = []
    for cell in cells:
        averaged, raw = (work / name / f"{cell}-{seed}-{weights}.npy" for weights in ("ema", "raw"))
        rows.append(np.load(averaged if averaged.exists() else raw)[:COLUMNS])
    return grid(np.concatenate(rows), COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--set", action="append", default=[], metavar="phantom|DIR", help="phantoms or raw mammograms")
    parser.add_argument("--cells", nargs="+", choices=[*CELLS, *PEERS], default=[*CELLS], metavar="CELL")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--kimg", type=float, default=24.0, help="thousand real images shown, of our cells")
    parser.add_argument("--curve", type=float, metavar="KIMG", help="also score at every so many thousand images")
    parser.add_argument("--peer", action="append", type=Path, default=[], metavar="DIR", help="checkout of a peer")
    parser.add_argument("--peer-cpu-s", type=float, default=240.0, metavar="S", help="process CPU time of a peer's run")
    parser.add_argument("--work", type=Path, default=Path("small-data"), metavar="DIR", help="results and checkpoints")
    parser.add_argument("--collect", type=Path, metavar="FILE", help="write all finished cells as one JSON")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of such a JSON, and train nothing")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write a sheet of the first seed for each set")
    options = parser.parse_args()

    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    for which in options.set:
        bench = open_set(which, options.work)
        for seed in options.seeds:
            for cell in options.cells:
                lock = FileLock(bench.folder / f"{cell}-{seed}.lock", blocking=False)
                with suppress(Timeout), lock:  # another process may work on the same list
                    run_once(bench, cell, seed, options)
    if options.collect:
        results = read_results(options.work)
        lines = ",\n".join(json.dumps(result) for result in results)
        options.collect.write_text(f"[\n{lines}\n]\n", encoding="utf-8", newline="\n")

    if options.pictures:
        for name in dict.fromkeys(result["set"] for result in read_results(options.work)):
            seed = options.seeds[0]
            cells = [cell for cell in NAMES if (options.work / name / f"result-{cell}-{seed}.json").exists()]
            sheet = pictures(options.work, name, seed, cells)
            (options.pictures / f"small-data-{name}.png").write_bytes(to_png(sheet))
            print(f"{name}: rows {', '.join(cells)}")


if __name__ == "__main__":
    main()
