"""The whole suite for one generator: fidelity and diversity in every feature space, privacy, and utility.

A part that is done is kept in the work folder, and features by the content of the images, so that the same call after a
kill goes on where it stood.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from mammogan import atomic, figures
from mammogan.assessment import PAIRS, Assessment
from mammogan.config import AssessConfig, EvaluateConfig
from mammogan.data.tiles import Greys, Tiles, to_8_bits
from mammogan.evaluation import copies, membership, spectrum, suite
from mammogan.evaluation.copies import Copies
from mammogan.evaluation.extractors import Extractor
from mammogan.evaluation.measures import Measure
from mammogan.evaluation.pairs import closest_pairs
from mammogan.evaluation.suite import Side
from mammogan.sources import Draw, Source

T = TypeVar("T")

_PAIRS_SHOWN = 12
_LABELS = ("laterality", "view", "density", "cancer")


@dataclass(frozen=True, eq=False)
class Real:
    """The real images that synthetic ones are compared with, and the networks that look at both.

    Attributes:
        train: what the generator was trained on. holdout: images of patients that it has not seen.
        extractors: of features; the first is the FID network.
        cache: folder of features.
    """

    train: Tiles
    holdout: Tiles
    extractors: Sequence[Extractor]
    cache: Path

    def features(self, extractor: Extractor, images: Greys, batch_size: int, what: str) -> NDArray[np.float32]:
        """Features of images (N, H, W), computed once for the same pixels."""
        with _bar(f"features of {what}", len(images)) as progress:
            return extractor.cached(images, self.cache, batch_size, lambda done: progress(done, len(images)))


def assess(config: AssessConfig, evaluation: EvaluateConfig, source: Source, real: Real, work: Path) -> Assessment:
    """Everything that the suite says of a source; `work` belongs to it, these settings and these images."""
    n = config.n_images or len(real.train)
    draws = list(tqdm(source.draws(config.draws, n, config.seed), "draw", config.draws, unit="draw", leave=False))
    measures = _kept(
        work / "measures.json", lambda: [asdict(each) for each in measure(evaluation, real, draws)], _are_measures
    )
    found = [Measure(**each) for each in measures]
    pairs = work / PAIRS
    privacy = _kept(
        work / "privacy.json",
        lambda: _privacy(evaluation, real, draws, pairs),
        lambda kept: _is_privacy(kept, pairs),
    )
    return Assessment(
        facts={
            "source": source.name,
            "lines": [suite.line(found), *privacy["lines"]],
            "protocol": real.extractors[0].protocol,
            "extractors": {each.name: each.sha256 for each in real.extractors},
            "data_sha256": real.train.sha256,
            "n_images": n,
            "draws": config.draws,
            "seed": config.seed,
        },
        figures={**_values(found), **privacy["figures"]},
        measures=pd.DataFrame([{**asdict(each), "ratio": each.ratio} for each in found]),
        spectra=_spectra(real.train.images, draws[0].images),
        pairs=np.asarray(Image.open(pairs)),
    )


def measure(evaluation: EvaluateConfig, real: Real, draws: Sequence[Draw]) -> list[Measure]:
    """Fidelity and diversity of draws of one source, in every feature space; the FID comes first."""
    found: list[Measure] = []
    known = {name: real.train.labels(name) for name in _LABELS if name in real.train.manifest}
    images = to_8_bits(real.train.images)
    for extractor in real.extractors:
        x = real.features(extractor, real.train.images, evaluation.batch_size, "real images")
        of = {"protocol": extractor.protocol, "extractor": extractor.name}
        sides = [Side(images, x, real.train.patients, known, **of)]
        for number, draw in enumerate(draws, start=1):
            y = real.features(extractor, draw.images, evaluation.batch_size, f"draw {number} of {len(draws)}")
            sides.append(
                Side(draw.images, y, labels=draw.labels, protocol=extractor.protocol, extractor=extractor.name)
            )
        measured = suite.of_features if found else suite.suite
        found += measured(sides[0], sides[1:], splits=evaluation.floor_splits, seed=evaluation.seed)
    return found


def copies_of(real: Real, draws: Sequence[Draw]) -> Copies:
    """Which images of all draws are copies of training images."""
    fakes = np.concatenate([draw.images for draw in draws])
    with _bar("copies", len(fakes)) as progress:
        return copies.find(fakes, real.train.images, real.train.patients, real.holdout.images, progress)


def _values(found: Sequence[Measure]) -> dict[str, float | None]:
    fid = found[0]
    return {
        **{each.name: each.value for each in found},
        "fid_low": fid.low,
        "fid_high": fid.high,
        "fid_floor": fid.floor,
        "fid_at_floor_n": fid.at_floor_n,
        "fid_ratio": fid.ratio,
    }


def _privacy(evaluation: EvaluateConfig, real: Real, draws: Sequence[Draw], pairs: Path) -> dict[str, Any]:
    """Lines and figures of the three checks; the closest pairs go to the file `pairs`."""
    found = copies_of(real, draws)
    fakes = np.concatenate([draw.images for draw in draws])
    closest = closest_pairs(found, fakes, to_8_bits(real.train.images), _PAIRS_SHOWN)
    rows = [
        f"{score:.2f} flagged" if flag else f"{score:.2f}"
        for score, flag in zip(closest.score, closest.flagged, strict=True)
    ]
    columns = ("synthetic", "laid over", "training")
    sheet = figures.labelled(np.stack([closest.fakes, closest.matches, closest.originals], axis=1), rows, columns)
    with atomic.new_file(pairs) as partial:
        partial.write_bytes(figures.to_png(sheet))

    extractor = real.extractors[0]
    of_train, of_holdout, *of_draws = (
        real.features(extractor, images, evaluation.batch_size, "all images")
        for images in (real.train.images, real.holdout.images, *(draw.images for draw in draws))
    )
    of_fakes = np.concatenate(of_draws)
    share = membership.nearest_share(
        of_fakes, of_train, of_holdout, real.train.patients, real.holdout.patients, evaluation.seed
    )
    attack = membership.attack(of_fakes, of_train, of_holdout, real.train.patients)
    return {
        "lines": [found.line(), share.line(), attack.line()],
        "figures": {
            "copies": found.count,
            "copies_share": found.share,
            "copies_p": found.p_value,
            "nearest_share": share.share,
            "nearest_share_z": share.z_patients,
            "membership_tpr": attack.tpr_at_1_fpr,
        },
    }


def _spectra(real: Greys, fake: Greys) -> pd.DataFrame:
    means = [spectrum.radial_spectra(to_8_bits(images)).mean(axis=0) for images in (real, fake)]
    return pd.DataFrame({"frequency": np.arange(len(means[0])), "real": means[0], "synthetic": means[1]})


def _kept(path: Path, compute: Callable[[], T], sound: Callable[[T], bool]) -> T:
    """What `compute` gives, or gave in an earlier call; what is damaged is computed again."""
    try:
        kept: T = json.loads(path.read_text(encoding="utf-8"))
        if sound(kept):
            return kept
    except (OSError, ValueError, TypeError, KeyError):
        pass
    atomic.write_text(path, json.dumps(compute()))
    again: T = json.loads(path.read_text(encoding="utf-8"))
    return again


def _are_measures(kept: list[dict[str, Any]]) -> bool:
    return bool(kept) and all(Measure(**each).name for each in kept)


def _is_privacy(kept: dict[str, Any], pairs: Path) -> bool:
    with Image.open(pairs) as picture:
        picture.load()
    return {"lines", "figures"} <= kept.keys()


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Shows `done` of `total` images of one thing after the other, once it takes longer than a second."""
    with tqdm(desc=what, total=total, unit="image", mininterval=1, delay=1, leave=False) as bar:

        def progress(done: int, of: int) -> None:
            if of != bar.total:
                bar.n, bar.total = 0, of
            bar.update(done - bar.n)

        yield progress
