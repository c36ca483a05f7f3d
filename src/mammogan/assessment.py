"""What an assessment leaves in results/<model>/: written whole, read back; the only owner of the names in there."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from mammogan import atomic, figures
from mammogan.errors import DataError
from mammogan.evaluation.verdict import Utility

FACTS = "assessment.json"
METRICS = "metrics.json"  # for `dvc metrics show`
MEASURES = "measures.csv"
PAIRS = "closest-pairs.png"
PLOTS = "plots"

_SPECTRA = "spectra.csv"
_UTILITY = "utility.csv"


@dataclass(frozen=True, eq=False)
class Assessment:
    """What is known of a generator.

    Attributes:
        facts: `lines`, a sentence for each question; `weights_sha256`, `data_sha256`, `protocol`, `n_images`, `draws`,
            `seed`.
        figures: what is compared between models, by name: fid, copies_share, membership_tpr and the like.
        measures: fidelity and diversity, a line for each: the fields of evaluation.suite.Measure and `ratio`.
        spectra: mean power of the two sets, log10: columns frequency (cycles an image), real, synthetic.
        pairs: the closest pairs of synthetic and training images, uint8 (h, w).
        utility: the table of evaluation.utility as CSV; empty where it was not measured.
    """

    facts: dict[str, Any]
    figures: dict[str, float | None]
    measures: pd.DataFrame
    spectra: pd.DataFrame
    pairs: NDArray[np.uint8]
    utility: str = ""


def with_utility(found: Assessment, measured: Utility | str) -> Assessment:
    """The assessment with what a detector gains, or with the reason why that was not measured."""
    lines = found.facts["lines"]
    if isinstance(measured, str):
        return replace(found, facts={**found.facts, "lines": [*lines, f"utility not measured: {measured}"]})
    gain = measured.of("mixed").auc_gain
    assert gain is not None, "only the baseline has none"
    return replace(
        found,
        facts={
            **found.facts,
            "lines": [*lines, *(f"utility: {measured.sentence(arm)}" for arm in ("mixed", "synthetic", "augmented"))],
            "utility": measured.verdict,
        },
        figures={
            **found.figures,
            "utility_gain": gain.value,
            "utility_gain_low": gain.low,
            "utility_gain_high": gain.high,
        },
        utility=measured.table(),
    )


def write(found: Assessment, folder: Path) -> None:
    """Write it, whole or not at all."""
    with atomic.new_folder(folder) as new:
        atomic.write_text(new / FACTS, json.dumps(found.facts, indent=2) + "\n")
        atomic.write_text(new / METRICS, json.dumps(found.figures, indent=2) + "\n")
        for frame, name in ((found.measures, MEASURES), (found.spectra, _SPECTRA)):
            frame.to_csv(new / name, index=False, lineterminator="\n")
        (new / PAIRS).write_bytes(figures.to_png(found.pairs))
        if found.utility:
            atomic.write_text(new / _UTILITY, found.utility)
        plots = new / PLOTS
        plots.mkdir()
        (plots / "measures.png").write_bytes(figures.measures(found.measures))
        (plots / "spectra.png").write_bytes(figures.spectra(found.spectra))


def read(folder: Path) -> Assessment:
    """Read back what `write` wrote.

    Raises:
        DataError: a file is missing or damaged.
    """
    try:
        return Assessment(
            facts=json.loads((folder / FACTS).read_text(encoding="utf-8")),
            figures=json.loads((folder / METRICS).read_text(encoding="utf-8")),
            measures=pd.read_csv(folder / MEASURES),
            spectra=pd.read_csv(folder / _SPECTRA),
            pairs=np.asarray(Image.open(folder / PAIRS)),
            utility=(folder / _UTILITY).read_text(encoding="utf-8") if (folder / _UTILITY).exists() else "",
        )
    except (OSError, ValueError) as err:
        raise DataError(
            f"{folder} is missing or damaged ({err}); `mammogan assess {folder.name}` makes it again"
        ) from None
