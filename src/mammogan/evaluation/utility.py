"""Do synthetic images help a detector? Four kinds of classifier, each with several seeds, on patients never seen.

Small classifiers (`classifier.py`) are trained on four sets of one size (`arms.py`), with the same first weights and as
many updates, and compared with the first on the test patients (`paired.py`). Each trained classifier leaves its scores
of the test images in a file named after all that decides them, so a killed measurement goes on where it stood, and
another generator's shares the classifiers of the real images.
"""

import hashlib
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mammogan import atomic
from mammogan.config import UtilityConfig
from mammogan.data.tiles import Greys
from mammogan.errors import EvaluationError
from mammogan.evaluation.arms import ARMS, BASELINE, Arm, ArmName, Labelled, arms, reduced
from mammogan.evaluation.classifier import Training, scores
from mammogan.evaluation.classifier import train as train_classifier
from mammogan.evaluation.paired import Estimate, estimate, holm, patient_draws
from mammogan.evaluation.roc import roc
from mammogan.evaluation.verdict import Result, Utility, verdict

__all__ = ["Labelled", "Utility", "utility"]

_DRAWS = 2000  # of patients
_DECIDING = ("classifier.py", "augmentation.py")  # modules that decide the scores of a trained classifier
_KINDS = (np.dtype(np.uint8), np.dtype(np.uint16))

Progress = Callable[[float], object]


def utility(
    config: UtilityConfig,
    train: Labelled,
    test: Labelled,
    synthetic: Labelled,
    folder: Path,
    progress: Progress,
    device: torch.device | None = None,
) -> Utility:
    """Whether `synthetic` images, added to or in place of those of `train`, train a better detector for `test`.

    Args:
        config: the section `utility`.
        train: real images that the generator was trained on.
        test: real images of patients that neither generator nor classifiers have seen.
        synthetic: at least `config.per_real` images for each real one, in either class; docs/utility.md.
        folder: where the scores of each trained classifier are kept, shared by all measurements.
        progress: gets the share done of what is still to be trained, in [0, 1].
        device: where the classifiers are trained; the CPU when not given.

    Raises:
        EvaluationError: images or labels do not fit, a class is missing, fewer than two test patients have the
            finding or are without it, too few synthetic images, or a training diverges.
    """
    for name, images in (("training", train), ("test", test), ("synthetic", synthetic)):
        _check(name, images)
    with_finding, without = (_patients(test, value) for value in (True, False))
    if min(with_finding, without) < 2:
        raise EvaluationError(
            f"{with_finding} test patients have an image with the finding and {without} one without, at least 2 of "
            "each are needed; prepare with a larger prepare.holdout_fraction, or choose another utility.label"
        )
    if train.images.shape[1:] != test.images.shape[1:]:
        raise EvaluationError(
            f"training images are {train.images.shape[1:]}, test images {test.images.shape[1:]}; prepare them alike"
        )
    sets = arms(config, train, synthetic)
    tested = reduced(test.images, config.resolution)
    updates = math.ceil(config.epochs * len(sets[0].labels) / config.batch_size)
    found = _scores(config, sets, tested, updates, folder, progress, device or torch.device("cpu"))
    return Utility(
        finding=f"{config.label} {' or '.join(config.positive)} against {' or '.join(config.negative)}",
        n_train=len(train.labels),
        n_train_with=int(train.labels.sum()),
        n_added=len(sets[0].labels) - len(train.labels),
        n_test=len(test.labels),
        n_test_with=int(test.labels.sum()),
        n_patients_with=with_finding,
        n_patients_without=without,
        seeds=config.seeds,
        updates=updates,
        resolution=tested.shape[-1],
        results=compare(found, test, config.seed),
    )


def compare(found: dict[ArmName, NDArray[np.float32]], test: Labelled, seed: int) -> tuple[Result, ...]:
    """The results of classifiers, given the scores (seeds, N) that each kind gave the test images."""
    n_patients = min(_patients(test, True), _patients(test, False))
    draws = patient_draws(test.patients, test.labels, _DRAWS, seed)
    whole = {name: [roc(one, test.labels) for one in of_arm] for name, of_arm in found.items()}
    drawn = {name: [roc(one, test.labels, draws) for one in of_arm] for name, of_arm in found.items()}
    others = [name for name in ARMS if name != BASELINE]

    def values(name: ArmName, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (
            np.array([getattr(curve, what)[0] for curve in whole[name]]),
            np.array([getattr(curve, what) for curve in drawn[name]]),
        )

    def gain(name: ArmName, what: str) -> Estimate:
        (ours, ours_drawn), (base, base_drawn) = values(name, what), values(BASELINE, what)
        return estimate(ours - base, ours_drawn - base_drawn, n_patients, comparisons=len(others))

    gains = {what: {name: gain(name, what) for name in others} for what in ("auc", "recall")}
    corrected = {
        what: dict(zip(others, holm([one.p for one in of_what.values()]), strict=True))
        for what, of_what in gains.items()
    }
    results = []
    for name in ARMS:
        (auc, auc_drawn), (recall, recall_drawn) = values(name, "auc"), values(name, "recall")
        result = Result(
            name=name,
            auc=estimate(auc, auc_drawn, n_patients),
            recall=estimate(recall, recall_drawn, n_patients),
            auc_by_seed=tuple(auc.tolist()),
            recall_by_seed=tuple(recall.tolist()),
        )
        if name != BASELINE:
            p = corrected["auc"][name]
            result = Result(
                **vars(result)
                | {
                    "auc_gain": gains["auc"][name],
                    "recall_gain": gains["recall"][name],
                    "p_auc": p,
                    "p_recall": corrected["recall"][name],
                    "verdict": verdict(gains["auc"][name], p, n_patients),
                }
            )
        results.append(result)
    return tuple(results)


def _scores(
    config: UtilityConfig,
    sets: list[Arm],
    tested: NDArray[np.uint8],
    updates: int,
    folder: Path,
    progress: Progress,
    device: torch.device,
) -> dict[ArmName, NDArray[np.float32]]:
    """The scores (seeds, N) of the test images by each kind; only what is not in `folder` is trained."""
    test_sha = _content(tested)
    jobs = []
    for arm in sets:
        for seed in range(config.seed, config.seed + config.seeds):
            how = Training(updates, config.batch_size, config.lr, arm.augment, seed)
            decisive = [vars(how), _content(arm.images), _content(arm.labels), test_sha, _code()]
            key = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
            jobs.append((arm, how, folder / f"scores-{key}.npy"))
    kept = {path: _read(path, len(tested)) for _, _, path in jobs}
    total = updates * sum(scored is None for scored in kept.values())
    n_done = 0

    def done(n: int) -> None:
        nonlocal n_done
        n_done += n
        progress(n_done / total)

    for arm, how, path in jobs:
        if kept[path] is None:
            given = scores(train_classifier(arm.images, arm.labels, how, device, done), tested)
            if not np.isfinite(given).all():
                raise EvaluationError(
                    f"the classifier trained on {arm.name} images with seed {how.seed} diverged; set utility.lr below "
                    f"{config.lr:g}"
                )
            with atomic.new_file(path) as partial, partial.open("wb") as file:
                np.save(file, given)
            kept[path] = given
    by_arm: dict[ArmName, list[NDArray[np.float32]]] = {arm.name: [] for arm in sets}
    for arm, _, path in jobs:
        scored = kept[path]
        assert scored is not None, "trained above"
        by_arm[arm.name].append(scored)
    return {name: np.stack(of_arm) for name, of_arm in by_arm.items()}


def _check(name: str, images: Labelled) -> None:
    if images.images.dtype not in _KINDS or images.images.ndim != 3:
        raise EvaluationError(
            f"{name} images are {images.images.dtype} {images.images.shape}, expected grey levels, uint8 or uint16, "
            "(N, H, W)"
        )
    sizes = (len(images.images), len(images.labels), len(images.patients))
    if len(set(sizes)) > 1:
        raise EvaluationError("{} images: {}, but labels: {}, patients: {}; one each is needed".format(name, *sizes))
    n_with = int(np.count_nonzero(images.labels))
    if not 0 < n_with < len(images.labels):
        there = "without" if n_with == 0 else "with"
        raise EvaluationError(
            f"all {len(images.labels)} {name} images are {there} the finding, so there is nothing to tell apart; "
            "choose another utility.label, or bring images of the other class"
        )


def _patients(images: Labelled, value: bool) -> int:
    """Patients who have an image with that label."""
    return len({patient for patient, label in zip(images.patients, images.labels, strict=True) if label == value})


def _content(array: Greys | NDArray[np.bool_]) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@cache
def _code() -> str:
    """Hash of the sources that decide the scores, blind to the platform's line ends, and the version of torch."""
    digest = hashlib.sha256(torch.__version__.encode())
    for name in _DECIDING:
        digest.update((Path(__file__).parent / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _read(path: Path, n: int) -> NDArray[np.float32] | None:
    try:
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return kept if kept.shape == (n,) and kept.dtype == np.float32 and np.isfinite(kept).all() else None
