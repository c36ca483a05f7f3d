"""Taguchi's analysis of a study, all of it in one place: pure functions of the trials frame.

The frame has the columns row, the factors, the response, and optionally state, of which only COMPLETE lines count;
several lines of a row are its replicates.
"""

from dataclasses import dataclass

import pandas as pd

from mammogan.design.anova import anova, pool_smallest
from mammogan.design.conclusion import conclusion, conclusion_of
from mammogan.design.effects import (
    Factors,
    anova_table,
    contrast_table,
    interaction_effects,
    main_effects,
    main_effects_of,
    sn_anova,
    sn_contrasts,
)
from mammogan.design.half_normal import contrasts, half_normal, lenth
from mammogan.design.prediction import Confirmation, Prediction, confirm, predict, predict_best, predict_best_of
from mammogan.design.signal_to_noise import Goal, signal_to_noise
from mammogan.design.trials import read_trials

__all__ = [
    "Analysis",
    "Confirmation",
    "Goal",
    "Prediction",
    "analyse",
    "anova",
    "anova_table",
    "conclusion",
    "confirm",
    "contrast_table",
    "contrasts",
    "half_normal",
    "interaction_effects",
    "lenth",
    "main_effects",
    "pool_smallest",
    "predict",
    "predict_best",
    "signal_to_noise",
]


@dataclass(frozen=True)
class Analysis:
    """All that is said of a study: the frames of `main_effects`, `anova_table` and `contrast_table`, and the rest."""

    effects: pd.DataFrame
    anova: pd.DataFrame
    contrasts: pd.DataFrame
    best: Prediction
    conclusion: str


def analyse(trials: pd.DataFrame, factors: Factors, response: str = "fid", goal: Goal = "smaller") -> Analysis:
    """The whole analysis of the S/N ratios of a study.

    Raises:
        DesignError: see `trials.read_trials`.
    """
    rows = read_trials(trials, factors, response, goal)
    effects = main_effects_of(rows)
    return Analysis(
        effects, sn_anova(rows), sn_contrasts(rows), predict_best_of(rows), conclusion_of(rows, effects, response)
    )
