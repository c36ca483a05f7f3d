"""What an assessment leaves, and the pictures of it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammogan import assessment, figures
from mammogan.assessment import Assessment
from mammogan.errors import DataError


@pytest.fixture
def found() -> Assessment:
    measures = pd.DataFrame(
        {
            "name": ["fid", "kid", "recall", "ms_ssim"],
            "value": [71.2, 0.05, 0.4, 0.3],
            "low": [68.9, 0.04, 0.35, np.nan],
            "high": [74.0, 0.06, 0.45, np.nan],
            "better": ["lower", "lower", "higher", "near_floor"],
            "floor": [33.6, 0.0, 0.9, 0.2],
            "floor_sd": [0.5, 0.001, 0.02, 0.01],
            "floor_n": 90,
            "at_floor_n": [80.0, 0.05, 0.3, np.nan],
            "ratio": [2.4, np.nan, np.nan, np.nan],
        }
    )
    spectra = pd.DataFrame({"frequency": range(5), "real": [5.0, 4, 3, 2, 1], "synthetic": [5.0, 4, 3, 2, 2]})
    facts = {"lines": ["FID 71.2", "copies 0 of 500"], "draws": 5, "n_images": 100, "run_id": "ab"}
    return Assessment(facts, {"fid": 71.2, "copies": 0}, measures, spectra, np.full((8, 6), 7, np.uint8))


def test_it_is_read_as_it_was_written(found: Assessment, tmp_path: Path) -> None:
    assessment.write(found, tmp_path / "dcgan")
    again = assessment.read(tmp_path / "dcgan")
    assert again.facts == found.facts
    assert again.figures == found.figures
    pd.testing.assert_frame_equal(again.measures, found.measures)
    pd.testing.assert_frame_equal(again.spectra, found.spectra)
    assert (again.pairs == found.pairs).all()
    assert {file.name for file in (tmp_path / "dcgan" / "plots").iterdir()} == {"measures.png", "spectra.png"}


def test_a_damaged_one_gets_the_command_that_makes_it_again(found: Assessment, tmp_path: Path) -> None:
    assessment.write(found, tmp_path / "dcgan")
    (tmp_path / "dcgan" / "assessment.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"dcgan is missing or damaged .*`mammogan assess dcgan` makes it again"):
        assessment.read(tmp_path / "dcgan")


def test_a_measure_whose_floor_is_about_nothing_has_no_ratio_to_show(found: Assessment) -> None:
    without = found.measures[found.measures["name"] != "kid"]
    assert figures.measures(found.measures) == figures.measures(without)
    assert figures.measures(found.measures) != figures.measures(without[without["name"] != "recall"])


def test_what_could_not_be_measured_of_utility_is_said_and_loses_nothing(found: Assessment) -> None:
    without = assessment.with_utility(found, "too few test patients")
    assert without.facts["lines"][-1] == "utility not measured: too few test patients"
    assert without.figures == found.figures
