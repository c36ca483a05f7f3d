"""What a study leaves in studies/<model>/: written whole, read back; the only owner of the names in there."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mammogan import atomic, design_figures, figures
from mammogan.errors import DataError

BEST = "best.json"
GENERATOR = "generator.safetensors"
PLOTS = "plots"
_OF_TRIALS = ("row", "fid", "kid", "precision", "recall", "floor", "fid_at_floor_n", "ratio")
METRICS = (*_OF_TRIALS, "spread", "collapsed", "copies")  # for `dvc metrics show`


@dataclass(frozen=True)
class StudyResults:
    """A finished study.

    trials, effects, anova: frames of design.study and design.analysis. best: facts about the best row and where it
    comes from. findings: what the array can and cannot tell, and what the effects say, one sentence each. history:
    metrics of the best row over training. progress: row, n_images, fid.
    """

    trials: pd.DataFrame
    effects: pd.DataFrame
    anova: pd.DataFrame
    best: dict[str, Any]
    findings: list[str]
    history: pd.DataFrame
    progress: pd.DataFrame


def write(results: StudyResults, folder: Path, generator: Path, samples: Path) -> None:
    """Write the results with the best row's weights and sample grid, whole or not at all."""
    with atomic.new_folder(folder) as new:
        _write_table(results.trials, new / "trials.csv")
        _write_table(results.effects, new / "effects.csv")
        _write_table(results.anova, new / "anova.csv")
        _write_table(results.history, new / "losses.csv")
        _write_table(results.progress, new / "progress.csv")
        atomic.write_text(new / BEST, json.dumps(results.best, indent=2) + "\n")
        metrics = {name: results.best[name] for name in METRICS}
        atomic.write_text(new / "metrics.json", json.dumps(metrics, indent=2) + "\n")
        atomic.write_text(new / "conclusion.txt", "\n".join(results.findings) + "\n")
        shutil.copyfile(generator, new / GENERATOR)
        plots = new / PLOTS
        plots.mkdir()
        (plots / "effects.png").write_bytes(design_figures.effects(results.effects))
        (plots / "trials.png").write_bytes(figures.trial_bars(_by_row(results.trials)))
        (plots / "losses.png").write_bytes(figures.loss_curves(results.history))
        (plots / "progress.png").write_bytes(figures.fid_progress(results.progress))
        shutil.copyfile(samples, plots / "samples.png")


def read(folder: Path) -> StudyResults:
    """Read back what `write` wrote.

    Raises:
        DataError: a file is missing or damaged.
    """
    best = read_best(folder)
    try:
        return StudyResults(
            trials=pd.read_csv(folder / "trials.csv", dtype={"run_id": str}),
            effects=pd.read_csv(folder / "effects.csv"),
            anova=pd.read_csv(folder / "anova.csv"),
            best=best,
            findings=(folder / "conclusion.txt").read_text(encoding="utf-8").splitlines(),
            history=pd.read_csv(folder / "losses.csv"),
            progress=pd.read_csv(folder / "progress.csv"),
        )
    except (FileNotFoundError, ValueError) as err:
        raise _half(folder, str(err)) from None


def read_best(folder: Path) -> dict[str, Any]:
    """best.json of a study.

    Raises:
        DataError: it is missing or damaged.
    """
    path = folder / BEST
    if not path.exists():
        raise DataError(f"{path} is missing; `mammogan study {folder.name}` makes it")
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        absent = {"row", "fid", "resolution", "git_commit", "data_md5"} - facts.keys()
    except (ValueError, AttributeError) as err:
        raise _half(folder, f"{BEST}: {err}") from None
    if absent:
        raise _half(folder, f"{BEST} lacks {', '.join(sorted(absent))}")
    return facts


def _by_row(trials: pd.DataFrame) -> pd.DataFrame:
    """The means of each row's replicates; a row has collapsed when one of its runs has."""
    if "replicate" not in trials or trials["replicate"].max() == 1:
        return trials
    rows = trials.groupby("row")
    return rows.mean(numeric_only=True).assign(collapsed=rows["collapsed"].max()).reset_index()


def _half(folder: Path, reason: str) -> DataError:
    return DataError(
        f"{folder} is damaged ({reason}); `mammogan study {folder.name}` writes it again without training, or "
        f"`dvc checkout` brings it back"
    )


def _write_table(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, lineterminator="\n")
