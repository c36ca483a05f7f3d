"""What a trial, a study and a training by hand leave in MLflow; docs/metrics.md explains every name."""

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammogan.config import TrainConfig, level_text
from mammogan.tracking import model
from mammogan.tracking.store import clear_errors

METRIC_NAMES = {
    "loss/G": "loss of the generator, mean over the steps since the last point",
    "loss/D": "loss of the discriminator, mean over the steps since the last point",
    "logits/real": "mean output of D for real images, before the sigmoid",
    "logits/fake": "mean output of D for synthetic images, before the sigmoid",
    "signs/real": "mean sign of D's output for real images, 0 for a D that has not overfitted, 1 for one that has",
    "augment/p": "ada: probability of each augmentation of what D sees",
    "path_length": "path-length penalty of G: mean squared distance of the path lengths from their running mean",
    "r1": "R1 penalty: mean squared length of the gradient of D at real images",
    "images_per_s": "real images shown per second of training, evaluation not counted",
    "fid": "Frechet Inception distance of the averaged generator to the real training images",
    "kid": "kernel Inception distance of the averaged generator to the real training images, unbiased",
    "precision": "share of synthetic images within the real ones' neighbourhoods, k = 5",
    "recall": "share of real images within the synthetic ones' neighbourhoods; near 0 after a collapse",
    "spread": "8-bit grey levels: mean over pixels of the standard deviation over images; near 0 after a collapse",
    "final/fid": "fid at the end of training, the response of the design",
    "final/kid": "kid at the end of training",
    "final/precision": "precision at the end of training",
    "final/recall": "recall at the end of training",
    "final/copies": "of 64 images at the end of training those nearer to a training image than fresh real ones are",
    "final/spread": "spread at the end of training",
    "final/floor": "Frechet distance between two halves of the real images that share no patient, mean over splits",
    "final/fid_at_floor_n": "Frechet distance of synthetic images to real halves, as many images as for floor",
    "final/ratio": "final/fid_at_floor_n divided by final/floor; 1 is as close as real images are to one another",
    "best/fid": "lowest fid of all evaluations of the run: optimistic, it is chosen by the score that it reports",
    "best/kid": "kid at the evaluation with the lowest fid",
    "best/n_images": "real images shown before the evaluation with the lowest fid",
    "assess/fid": "Frechet Inception distance of the best generator of a study, mean over fresh draws",
    "assess/fid_low": "lower end of the 95 % interval of assess/fid, over the draws",
    "assess/fid_high": "upper end of the 95 % interval of assess/fid, over the draws",
    "assess/fid_floor": "Frechet distance between halves of the real images that share no patient",
    "assess/fid_at_floor_n": "Frechet distance of synthetic images to real halves, as many images as for the floor",
    "assess/fid_ratio": "assess/fid_at_floor_n divided by assess/fid_floor; 1 is as close as real images are",
    "assess/kid": "kernel Inception distance, mean over draws, unbiased",
    "assess/fd_<extractor>": "Frechet distance in another feature space: no FID, not comparable with one",
    "assess/kd_<extractor>": "kernel distance in another feature space",
    "assess/precision": "share of synthetic images within the real ones' neighbourhoods, k = 5",
    "assess/recall": "share of real images within the synthetic ones' neighbourhoods: low when much is missing",
    "assess/density": "how many neighbourhoods of real images hold a synthetic one; 1 for real images",
    "assess/coverage": "share of real images with a synthetic one in their neighbourhood",
    "assess/precision_<extractor>": "precision in another feature space",
    "assess/recall_<extractor>": "recall in another feature space",
    "assess/density_<extractor>": "density in another feature space",
    "assess/coverage_<extractor>": "coverage in another feature space",
    "assess/spectrum_distance": "root mean square gap of the mean radial power spectra up to the corner, decades",
    "assess/spectrum_exponent_gap": "gap of the exponents of the power spectra",
    "assess/grey_wasserstein": "Wasserstein distance of the grey levels, of 255",
    "assess/ms_ssim": "mean multi-scale similarity of pairs of synthetic images: high when they are alike",
    "assess/breast_found": "share of synthetic images in which a breast is found",
    "assess/breast_area": "mean share of the tile that is breast",
    "assess/breast_area_distance": "Wasserstein distance of the shares of the tile that are breast",
    "assess/density_share": "mean share of the breast that is dense",
    "assess/density_share_distance": "Wasserstein distance of the shares of the breast that are dense",
    "assess/skin_sharpness": "mean sharpness of the skin line",
    "assess/skin_sharpness_distance": "Wasserstein distance of the sharpness of the skin line",
    "assess/laterality_imbalance": "difference of the shares of left and right",
    "assess/view_imbalance": "difference of the shares of the views",
    "assess/density_imbalance": "difference of the shares of the density classes",
    "assess/cancer_imbalance": "difference of the shares with cancer",
    "assess/copies": "synthetic images that are nearer to a training image than fresh real images are",
    "assess/copies_share": "assess/copies by all synthetic images checked",
    "assess/copies_p": "chance of as many among as many fresh real images",
    "assess/nearest_share": "share of synthetic images nearer to training images than to a holdout; 0.5 is no leak",
    "assess/nearest_share_z": "z of assess/nearest_share, by patients",
    "assess/membership_tpr": "share of training images recognised from the synthetic ones at 1 % false positives",
    "assess/utility_gain": "AUC of a detector that a synthetic share brings over copies of the real images",
    "assess/utility_gain_low": "lower end of the 95 % interval of assess/utility_gain, over patients",
    "assess/utility_gain_high": "upper end of the 95 % interval of assess/utility_gain, over patients",
    "elapsed_s": "wall time of the training, seconds",
    "peak_memory_mb": "highest memory use of the training process, MiB",
    "gflop_per_image": "arithmetic of one training step per real image shown, thousand million operations",
}
SAMPLES = "samples"  # key of the sample grids in the UI's image panel

_CONTENT = "mammogan.content"  # tag of a study's own run: sha256 of what it shows
_FLUSH_POINTS = 200
_FLUSH_S = 10.0
_SHORT = {"batch_size": "b", "epochs": "e"}


def row_name(row: int, levels: Mapping[str, Any]) -> str:
    """The name of a trial's run, such as "row 4: lr 0.0004 b16 e60": the UI cuts what is longer."""
    settings = " ".join(f"{_SHORT.get(factor, f'{factor} ')}{level_text(level)}" for factor, level in levels.items())
    return f"row {row}: {settings}"


def row_tags(study: str, array: str, row: int, levels: Mapping[str, Any]) -> dict[str, str]:
    """The tags by which a trial's run is found again and grouped in the UI."""
    return {
        "mammogan.study": study,
        "mammogan.array": array,
        "mammogan.row": str(row),
        **{f"mammogan.level.{factor}": level_text(level) for factor, level in levels.items()},
    }


def parameters(config: TrainConfig) -> dict[str, str]:
    """The training section as flat MLflow parameters, without the architecture of the other model.

    Few and short: the UI captions each picture with all of them.
    """
    tree = config.model_dump()
    architectures = {name: tree.pop(name) for name in ("dcgan", "stylegan")}
    tree |= {f"{config.model}.{key}": value for key, value in architectures[config.model].items()}
    return {key: str(value) for key, value in tree.items()}


def earlier_run(experiment_id: str, tags: Mapping[str, str], params: Mapping[str, str]) -> str | None:
    """The newest run with these tags and parameters, whatever its status, to go on with, or None.

    Other runs with these tags that still look RUNNING are marked KILLED: their process has gone.
    """
    import mlflow

    client = mlflow.MlflowClient()
    with clear_errors("looking for earlier runs"):
        runs = client.search_runs([experiment_id], _with_tags(tags), order_by=["start_time DESC"])
        same = [run for run in runs if run.data.params == dict(params)]
        for run in runs:
            if run not in same[:1] and run.info.status == "RUNNING":
                client.set_terminated(run.info.run_id, "KILLED")
    return str(same[0].info.run_id) if same else None


class TrialRun:
    """One run in MLflow: opened on entry, on exit FINISHED, or FAILED after an error, or KILLED after a stop.

    With the `run_id` of an earlier run it goes on with that one. A point, image or model that the run holds
    already is not logged again. Points are buffered and written every 200 or every 10 s.

    Raises:
        TrackingError: the store does not answer, or refuses.
    """

    def __init__(
        self,
        experiment_id: str,
        name: str,
        *,
        kind: str,
        model_name: str,
        git_commit: str,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        description: str = "",
        run_id: str | None = None,
    ) -> None:
        import mlflow

        self._client = mlflow.MlflowClient()
        self._experiment_id = experiment_id
        self._name = name
        self._tags = {
            "mammogan.kind": kind,
            "mammogan.model": model_name,
            "mlflow.source.name": f"mammogan {kind}",
            "mlflow.source.git.commit": git_commit,
            "mlflow.note.content": description,
            **(tags or {}),
        }
        self._params = dict(params or {})
        self._points: list[Any] = []
        self._flushed_at = time.monotonic()
        self._logged_up_to: dict[str, int] = {}
        self._run_id = run_id

    @property
    def run_id(self) -> str:
        """The id of the run; it exists after entry."""
        assert self._run_id is not None, "the run is opened by `with`"
        return self._run_id

    def __enter__(self) -> Self:
        from mlflow.entities import Param, RunTag

        resumed = self._run_id is not None
        with clear_errors(f"opening the run {self._name!r}"):
            if self._run_id is None:
                # With its tags at once: a run that is killed before it has them is never found again.
                run = self._client.create_run(self._experiment_id, run_name=self._name, tags=self._tags)
                self._run_id = str(run.info.run_id)
            else:
                self._client.update_run(self._run_id, status="RUNNING", name=self._name)
                self._logged_up_to = self._last_steps()
            self._client.log_batch(
                self._run_id,
                params=[Param(key, value) for key, value in self._params.items()],
                tags=[RunTag(key, value) for key, value in self._tags.items()] if resumed else (),
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        try:
            self.flush()
        except Exception:
            status = "FAILED"
            raise
        finally:
            with clear_errors(f"closing the run {self._name!r}"):
                self._client.set_terminated(self.run_id, status)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics of METRIC_NAMES at `step`, counted in real images shown; steps of a name only go up.

        A value that is not finite is left out, since MLflow would store infinity as 1.8e308; the tag
        mammogan.not_finite names the first one.

        Raises:
            KeyError: a name that METRIC_NAMES, and so docs/metrics.md, does not explain.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in metrics.items():
            if name not in METRIC_NAMES and not _of_an_extractor(name):
                raise KeyError(f"{name} is not in METRIC_NAMES; explain it there and in docs/metrics.md")
            if step <= self._logged_up_to.get(name, -1):
                continue
            if math.isfinite(value):
                self._points.append(Metric(name, float(value), now, step))
                self._logged_up_to[name] = step
            elif "mammogan.not_finite" not in self._tags:
                self.tag({"mammogan.not_finite": f"{name} is {value} at step {step}"})
        if len(self._points) >= _FLUSH_POINTS or time.monotonic() - self._flushed_at > _FLUSH_S:
            self.flush()

    def final(self, metrics: Mapping[str, float]) -> None:
        """Record the figures of the whole run, one value each: the UI draws them as bars."""
        self.log(metrics, step=0)
        self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        points, self._points = self._points, []
        self._flushed_at = time.monotonic()
        with clear_errors(f"logging to the run {self._name!r}"):
            for first in range(0, len(points), 1000):  # MLflow's limit for one batch
                self._client.log_batch(self.run_id, metrics=points[first : first + 1000])

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags, or change their values."""
        from mlflow.entities import RunTag

        self._tags |= tags
        with clear_errors(f"tagging the run {self._name!r}"):
            self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_image(self, grid: NDArray[np.uint8], step: int) -> None:
        """Show a grid of samples, grey levels (H, W), in the image panel of the UI.

        The panel compares runs only at steps that all of them have, and opens at step 0: log one there too.
        """
        if step <= self._logged_up_to.get(SAMPLES, -1):
            return
        with clear_errors(f"logging samples to the run {self._name!r}"):
            self._client.log_image(self.run_id, grid, key=SAMPLES, step=step)
        self._logged_up_to[SAMPLES] = step

    def log_dataset(self, name: str, digest: str, source: str) -> None:
        """Link the run to its data by the DVC hash `digest`; `source` is a path in the repository."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, digest, source_type="local", source=json.dumps({"uri": source}))
        with clear_errors(f"logging the data of the run {self._name!r}"):
            self._client.log_inputs(
                self.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
            )
        self.tag({"mammogan.data": digest})

    def log_model(self, weights: Path, origin: model.Origin) -> str:
        """Log the generator in `weights` as a model that can be registered and served; returns its id.

        A run holds the same weights once, however often it is opened again. Call `final` first: the figures then
        stand beside the model on the UI's page of models.
        """
        self.flush()
        with clear_errors(f"logging the model of the run {self._name!r}"):
            same = model.logged([self._experiment_id], model.sha256(weights), self.run_id)
            return same.model_id if same else model.log(self.run_id, weights, origin)

    def log_text(self, text: str, file: str) -> None:
        """Keep a text as an artifact."""
        with clear_errors(f"logging {file} to the run {self._name!r}"):
            self._client.log_text(self.run_id, text, file)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Keep a file as an artifact."""
        with clear_errors(f"logging {path.name} to the run {self._name!r}"):
            self._client.log_artifact(self.run_id, str(path), folder or None)

    def _last_steps(self) -> dict[str, int]:
        names = self._client.get_run(self.run_id).data.metrics
        last = {name: max(point.step for point in self._client.get_metric_history(self.run_id, name)) for name in names}
        # MLflow writes key, step, time and a random part into the file's name, parted by "%" or "+".
        images = self._client.list_artifacts(self.run_id, "images")
        steps = [int(part) for image in images for part in image.path.replace("+", "%").split("%")[2:3]]
        return last | ({SAMPLES: max(steps)} if steps else {})


def log_study(
    experiment_id: str,
    name: str,
    *,
    model_name: str,
    git_commit: str,
    trials: pd.DataFrame,
    effects: pd.DataFrame,
    anova: pd.DataFrame,
    plots: Sequence[Path],
    audit: str,
) -> str:
    """The study's own run: trials.csv, effects.csv, anova.csv, audit.md and plots/; returns its id.

    A finished run with the same trials, effects and audit stays as it is; any other run of the study is replaced.
    """
    texts = {
        "trials.csv": trials.to_csv(index=False, lineterminator="\n"),
        "effects.csv": effects.to_csv(index=False, lineterminator="\n"),
        "anova.csv": anova.to_csv(index=False, lineterminator="\n"),
        "audit.md": audit,
    }
    tags = {"mammogan.kind": "study", "mammogan.study": name}
    digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    same = _with_content(experiment_id, tags, digest)
    if same:
        return same
    with TrialRun(
        experiment_id,
        f"{name}: design and effects",
        kind="study",
        model_name=model_name,
        git_commit=git_commit,
        tags={**tags, _CONTENT: digest},
        description=audit,
    ) as run:
        for file, text in texts.items():
            run.log_text(text, file)
        for plot in plots:
            run.log_file(plot, "plots")
        return run.run_id


def log_assessment(
    experiment_id: str,
    name: str,
    *,
    model_name: str,
    git_commit: str,
    tags: Mapping[str, str],
    figures: Mapping[str, float | None],
    files: Sequence[Path],
    summary: str,
) -> str:
    """The run of an assessment: its figures as metrics `assess/...`, its files as artifacts; returns its id.

    A finished run with the same figures and summary stays as it is; any other one of the same generator is replaced.
    """
    tags = {"mammogan.kind": "assess", **tags}
    digest = hashlib.sha256(json.dumps([dict(figures), summary]).encode()).hexdigest()
    same = _with_content(experiment_id, tags, digest)
    if same:
        return same
    with TrialRun(
        experiment_id,
        name,
        kind="assess",
        model_name=model_name,
        git_commit=git_commit,
        tags={**tags, _CONTENT: digest},
        description=summary,
    ) as run:
        run.final({f"assess/{figure}": value for figure, value in figures.items() if value is not None})
        for file in files:
            run.log_file(file, "plots" if file.parent.name == "plots" else "")
        return run.run_id


def _with_content(experiment_id: str, tags: Mapping[str, str], digest: str) -> str | None:
    """The finished run with these tags that shows `digest`; all others with the tags are deleted."""
    import mlflow

    client = mlflow.MlflowClient()
    with clear_errors(f"looking for the runs of {' '.join(tags.values())}"):
        found = client.search_runs([experiment_id], _with_tags(tags))
        same = [one for one in found if one.data.tags.get(_CONTENT) == digest and one.info.status == "FINISHED"]
        for other in found:
            if other not in same[:1]:
                client.delete_run(other.info.run_id)
    return str(same[0].info.run_id) if same else None


def _of_an_extractor(name: str) -> bool:
    """Whether METRIC_NAMES explains `name` for any extractor."""
    patterns = [known.partition("<")[0] for known in METRIC_NAMES if "<" in known]
    return any(name.startswith(start) and name != start for start in patterns)


def _with_tags(tags: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{key}` = '{tag}'" for key, tag in tags.items())
