import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mammogan import design_figures
from mammogan.design.analysis import contrast_table, interaction_effects, lenth, main_effects
from mammogan.design.arrays import ARRAYS

FACTORS = {"lr": [0.0001, 0.0002, 0.0003], "batch_size": [16, 32, 64], "epochs": [250, 500, 750]}


@pytest.fixture
def trials() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = ARRAYS["paper"].assign(FACTORS)
    return pd.DataFrame({"row": row.number, **row.levels, "fid": float(np.exp(rng.normal()))} for row in rows)


def draw(trials: pd.DataFrame) -> list[bytes]:
    table = contrast_table(trials, FACTORS)
    return [
        design_figures.effects(main_effects(trials, FACTORS)),
        design_figures.interactions(interaction_effects(trials, FACTORS, ("lr", "epochs")), "lr", "epochs"),
        design_figures.half_normal(table, lenth(table["contrast"].to_numpy()).simultaneous),
    ]


def test_each_figure_is_a_png_with_ink_and_the_same_for_the_same_trials(trials):
    first, second = draw(trials), draw(trials)
    assert first == second
    for png in first:
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
        assert pixels.shape[1] == 1050
        assert (pixels < 128).mean() > 0.003


def test_factors_that_are_one_column_share_a_panel(trials):
    panels = design_figures._panels(main_effects(trials, FACTORS))
    assert [name for name, _, _ in panels] == ["learning rate", "batch size and\nepochs"]
    assert panels[1][1] == ["16\n250", "32\n500", "64\n750"]


def test_the_effects_of_a_table_without_an_error_are_drawn_without_intervals(trials):
    bare = main_effects(trials, FACTORS).assign(low=np.nan, high=np.nan)
    assert design_figures.effects(bare) != design_figures.effects(main_effects(trials, FACTORS))
