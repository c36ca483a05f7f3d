"""Worked examples of the literature, number by number, with their sources; none of them was computed here."""

import math

import numpy as np
import pandas as pd
import pytest

from mammogan.design.analysis import (
    anova_table,
    half_normal,
    lenth,
    main_effects,
    pool_smallest,
    predict,
    predict_best,
    signal_to_noise,
)
from mammogan.design.arrays import ARRAYS
from mammogan.design.effects import studentised_range


def frame(array: str, factors: dict[str, list[int]], *replicates: list[float], columns: list[int] | None = None):
    """The trials of an array with its columns (from 1) taken by the factors, one list of responses a replicate."""
    levels = ARRAYS[array].as_matrix()[:, [c - 1 for c in columns or range(1, len(factors) + 1)]]
    return pd.concat(
        pd.DataFrame(
            {
                "row": number,
                **{name: values[level] for (name, values), level in zip(factors.items(), row, strict=True)},
                "y": y,
            }
            for number, (row, y) in enumerate(zip(levels, responses, strict=True), start=1)
        )
        for responses in replicates
    )


# K. Yang and B. El-Haik, Design for Six Sigma, McGraw-Hill 2003, Examples 13.11 and 13.13: porosity of polyurethane
# bumpers, L8 with two measurements a row, interactions AB and BD in columns 3 and 6; data on page 484, table on page
# 485, prediction on page 491.
BUMPERS = {"A": [1, 2], "B": [1, 2], "D": [1, 2], "E": [1, 2], "G": [1, 2]}
POROSITY = [26, 16, 3, 18, 0, 0, 4, 5], [38, 6, 17, 16, 5, 1, 5, 3]


@pytest.fixture
def bumpers() -> pd.DataFrame:
    return frame("l8", BUMPERS, *POROSITY, columns=[1, 2, 4, 5, 7])


def test_porosity_of_bumpers_the_analysis_of_variance_with_the_error_of_replicates(bumpers):
    table = anova_table(bumpers, BUMPERS, "y", of="response", interactions=[("A", "B"), ("B", "D")]).set_index("source")
    assert table["df"].to_dict() == {
        **dict.fromkeys(["A", "B", "D", "E", "G", "A x B", "B x D"], 1),
        "replicates": 8,
        "error": 8,
        "total": 15,
    }
    printed = {
        "A": (855.56, 28.82, 0.001),
        "B": (27.56, 0.93, 0.363),
        "A x B": (115.56, 3.89, 0.084),
        "D": (68.06, 2.29, 0.168),
        "E": (33.06, 1.11, 0.322),
        "B x D": (217.56, 7.33, 0.027),
        "G": (175.56, 5.91, 0.041),
    }
    for source, (ss, f, p) in printed.items():
        assert table.loc[source, "ss"] == pytest.approx(ss, abs=0.005)
        assert table.loc[source, "f"] == pytest.approx(f, abs=0.005)
        assert table.loc[source, "p"] == pytest.approx(p, abs=0.0005)
    assert table.loc["error", "ss"] == pytest.approx(237.50)
    assert table.loc["error", "ms"] == pytest.approx(29.69, abs=0.005)
    assert table.loc["total", "ss"] == pytest.approx(1730.44, abs=0.005)
    shares = {"A": 49.44, "error": 13.72, "B x D": 12.57, "G": 10.15, "A x B": 6.68, "D": 3.93, "E": 1.91, "B": 1.59}
    assert table["share"][list(shares)].to_dict() == pytest.approx(shares, abs=0.006)


def test_porosity_of_bumpers_the_means(bumpers):
    means = main_effects(bumpers.assign(y=bumpers["y"] + 1), BUMPERS, "y").set_index(["factor", "level"])["mean"] - 1
    assert means["A", 2] == 2.875
    assert means["G", 2] == 6.875
    assert bumpers["y"].mean() == pytest.approx(10.188, abs=0.0006)


# The same book, Examples 13.12 and 13.14: L9, larger is better; table on page 487, prediction on page 491.
THREE = {"A": [1, 2, 3], "B": [1, 2, 3], "C": [1, 2, 3]}
NINE = [8.0, 12, 9, 11, 12, 15, 21, 18, 20]
NINE_COLUMNS = [1, 2, 4]  # the printed mean of C at level 2 is that of rows 2, 6 and 7


def test_an_l9_run_once_the_analysis_of_variance_and_percent_contribution():
    table = anova_table(frame("l9", THREE, NINE, columns=NINE_COLUMNS), THREE, "y", "larger", of="response").set_index(
        "source"
    )
    assert table["df"].to_dict() == {"A": 2, "B": 2, "C": 2, "left over": 2, "error": 2, "total": 8}
    assert table["ss"][["A", "B", "C", "error", "total"]].tolist() == pytest.approx(
        [158.000, 2.667, 18.667, 0.667, 180.000], abs=0.0005
    )
    assert table["ms"][["A", "B", "C", "error"]].tolist() == pytest.approx([79.000, 1.333, 9.333, 0.333], abs=0.0005)
    assert table["share"][["A", "C", "B"]].tolist() == pytest.approx([87.78, 10.37, 1.48], abs=0.005)


def test_an_l9_run_once_the_predicted_optimum_of_its_two_strong_factors():
    trials = frame("l9", THREE, NINE, columns=NINE_COLUMNS)
    best = predict_best(trials, THREE, "y", "larger", using=["A", "C"])
    assert (best.levels["A"], best.levels["C"]) == (3, 2)
    assert best.mean == pytest.approx(21.67, abs=0.005)
    means = main_effects(trials, THREE, "y", "larger").set_index(["factor", "level"])["mean"]
    assert means["A", 3] == pytest.approx(19.67, abs=0.005)
    assert means["C", 2] == 16


# The same book, page 513: S/N ratios of nominal-the-best in an L8, all columns taken, G pooled in the prediction.
SEVEN = {name: [1, 2] for name in "ABCDEFG"}
RATIOS = [37.48, 32.17, 38.27, 31.43, 34.26, 34.38, 33.94, 28.22]


def test_ratios_of_a_saturated_l8_the_sums_of_squares_and_the_predicted_optimum():
    responses = [10 ** (ratio / 20) for ratio in RATIOS]  # a response whose larger-is-better ratio is the printed one
    trials = frame("l8", SEVEN, responses)
    table = anova_table(trials, SEVEN, "y", "larger").set_index("source")
    printed = {"A": 9.129, "B": 5.181, "C": 5.324, "D": 39.454, "E": 5.357, "F": 6.779, "G": 2.328, "total": 73.552}
    assert table["ss"][list(printed)].to_dict() == pytest.approx(printed, abs=0.1)  # the ratios have two decimals
    assert "error" not in table.index
    assert table["f"].isna().all()
    assert table.loc["G", "share"] == pytest.approx(3.17, abs=0.02)
    best = predict_best(trials, SEVEN, "y", "larger", using=list("ABCDEF"))
    assert [best.levels[name] for name in "ABCDEF"] == [1, 1, 2, 1, 1, 2]
    assert best.sn_db == pytest.approx(40.38 + 0.04, abs=0.01)  # it prints E1 as 34.55, by its own sum of E 34.59
    assert best.interval() is None


# M. S. Phadke, Quality Engineering Using Robust Design, Prentice Hall 1989, chapter 4: chemical vapour deposition of
# polysilicon, L18; ratios for surface defects, their means, the analysis of variance, the variance of the prediction
# error. The factors are in columns 2 to 6 and 8.
DEPOSITION = {name: [1, 2, 3] for name in ("temperature", "pressure", "nitrogen", "silane", "settling", "cleaning")}
DEFECTS = [
    *(0.51, -37.30, -45.17, -25.76, -62.54, -62.23, -59.88, -71.69, -68.15),
    *(-3.47, -5.08, -54.85, -49.38, -36.54, -64.18, -27.31, -71.51, -72.00),
]


@pytest.fixture
def deposition() -> pd.DataFrame:
    return frame("l18", DEPOSITION, [10 ** (-ratio / 20) for ratio in DEFECTS], columns=[2, 3, 4, 5, 6, 8])


def test_surface_defects_of_polysilicon_the_means_of_the_levels(deposition):
    effects = main_effects(deposition, DEPOSITION, "y")
    assert effects["sn_db"].tolist() == pytest.approx(
        [
            *(-24.23, -50.10, -61.76),
            *(-27.55, -47.44, -61.10),
            *(-39.03, -55.99, -41.07),
            *(-39.20, -46.85, -50.04),
            *(-51.52, -40.54, -44.03),
            *(-45.56, -41.58, -48.95),
        ],
        abs=0.006,
    )
    assert np.mean(DEFECTS) == pytest.approx(-45.36, abs=0.005)


def test_surface_defects_of_polysilicon_the_analysis_of_variance_with_pooling(deposition):
    alone = anova_table(deposition, DEPOSITION, "y").set_index("source")
    sums = {"temperature": 4427, "pressure": 3416, "nitrogen": 1030, "silane": 372, "settling": 378, "cleaning": 164}
    assert alone["ss"][list(sums)].to_dict() == pytest.approx(sums, abs=1)
    assert alone.loc["left over", ["df", "ss"]].tolist() == pytest.approx([5, 405], abs=1)
    assert alone.loc["total", "ss"] == pytest.approx(10192, abs=1)
    pool = pool_smallest(alone.reset_index())
    table = anova_table(deposition, DEPOSITION, "y", pool=pool).set_index("source")
    assert table.loc["error", ["df", "ms"]].tolist() == pytest.approx([9, 105], abs=1)
    ratios = {"temperature": 21, "pressure": 16, "nitrogen": 4.9}
    assert table["f"][list(ratios)].to_dict() == pytest.approx(ratios, abs=0.5)
    assert set(table.index[table["pooled"]]) == set(pool)
    assert table["f"][pool].isna().all()
    assert table["contribution"].drop("total").sum() == pytest.approx(100)


def test_surface_defects_of_polysilicon_the_prediction_error(deposition):
    """Two factors in the prediction: 1/n0 = 1/18 + 2 (1/6 - 1/18) = 5/18; four runs of it: variance 5/18 + 1/4."""
    best = predict_best(deposition, DEPOSITION, "y", using=["temperature", "pressure"])
    assert (best.levels["temperature"], best.levels["pressure"]) == (1, 1)
    assert 1 / best.n_eff == pytest.approx(5 / 18)
    low, high = best.interval_of(4)
    ratio = (high - low) / (best.interval()[1] - best.interval()[0])
    assert ratio == pytest.approx(math.sqrt((5 / 18 + 1 / 4) / (5 / 18)))


def test_effective_replications_are_all_runs_over_one_more_than_the_degrees_of_freedom():
    """Ross 1988, chapter 6; N = 9, three factors of two degrees of freedom each."""
    best = predict_best(frame("l9", THREE, NINE, columns=NINE_COLUMNS), THREE, "y", "larger")
    assert best.n_eff == pytest.approx(9 / (1 + 6))
    half = (best.interval()[1] - best.interval()[0]) / 2
    assert half == pytest.approx(math.sqrt(18.51 * best.error.variance / best.n_eff), rel=1e-3)  # F(0.05; 1, 2) = 18.51


# D. C. Montgomery, Design and Analysis of Experiments, the filtration rate experiment (Example 6.2), 2^4 run once.
FILTRATION = [45, 71, 48, 65, 68, 60, 80, 65, 43, 100, 45, 104, 75, 86, 70, 96]
EFFECTS = {"A": 21.625, "B": 3.125, "C": 9.875, "D": 14.625, "AC": -18.125, "AD": 16.625}


def test_filtration_rate_lenths_margins_and_the_effects_that_stand_out():
    signs = {name: np.array([1 if run >> bit & 1 else -1 for run in range(16)]) for bit, name in enumerate("ABCD")}
    for one, other in ("AB", "AC", "AD", "BC", "BD", "CD"):
        signs[one + other] = signs[one] * signs[other]
    for a, b, c in ("ABC", "ABD", "ACD", "BCD"):
        signs[a + b + c] = signs[a] * signs[b] * signs[c]
    signs["ABCD"] = signs["AB"] * signs["CD"]
    effects = {name: float(sign @ np.array(FILTRATION) / 8) for name, sign in signs.items()}
    assert {name: effects[name] for name in EFFECTS} == EFFECTS  # as printed
    found = lenth(np.array(list(effects.values())))
    assert found.pse == 2.625
    assert found.margin == pytest.approx(6.748, abs=0.001)
    assert found.simultaneous == pytest.approx(13.699, abs=0.005)
    table = half_normal(list(effects), np.array(list(effects.values())))
    assert set(table["name"][table["stands_out"]]) == {"A", "D", "AC", "AD"}
    assert table["quantile"].is_monotonic_increasing


def test_ratios_by_their_definitions_on_numbers_that_can_be_done_by_hand():
    responses = np.array([[1.0, 10.0]])
    assert signal_to_noise(responses, "smaller")[0] == pytest.approx(-17.033, abs=5e-4)  # mean of 1 and 100 is 50.5
    assert signal_to_noise(responses, "larger")[0] == pytest.approx(2.967, abs=5e-4)  # mean of 1 and 0.01 is 0.505
    assert signal_to_noise(np.array([[8.0, 12.0]]), "nominal I")[0] == pytest.approx(-9.031, abs=5e-4)  # s^2 = 8
    assert signal_to_noise(np.array([[8.0, 12.0]]), "nominal II")[0] == pytest.approx(10.969, abs=5e-4)  # 100 / 8


@pytest.mark.parametrize(
    ("levels", "df", "q"), [(2, 10, 3.15), (3, 4, 5.04), (3, 12, 3.77), (3, 60, 3.40), (4, 10, 4.33), (5, 20, 4.23)]
)
def test_the_studentised_range_is_that_of_the_printed_tables(levels, df, q):
    """Upper 5 % points: Montgomery, Design and Analysis of Experiments, appendix; Pearson and Hartley's tables."""
    assert studentised_range(levels, df) == pytest.approx(q, abs=0.0051)


def test_statsmodels_gives_the_same_table():
    """An independent implementation, on random responses in an L18."""
    smf = pytest.importorskip("statsmodels.formula.api", reason="statsmodels is not installed")
    from statsmodels.stats.anova import anova_lm

    factors = {"a": [1, 2], "b": [1, 2, 3], "c": [1, 2, 3], "d": [1, 2, 3]}
    rng = np.random.default_rng(3)
    trials = frame("l18", factors, *rng.normal(50, 5, (3, 18)).tolist())
    ours = anova_table(trials, factors, "y", of="response", interactions=[("a", "b")]).set_index("source")
    fitted = smf.ols("y ~ C(a) * C(b) + C(c) + C(d)", trials.reset_index(drop=True)).fit()
    theirs = anova_lm(fitted, typ=2)
    names = {"a": "C(a)", "b": "C(b)", "c": "C(c)", "d": "C(d)", "a x b": "C(a):C(b)"}
    assert ours["ss"][list(names)].tolist() == pytest.approx(theirs["sum_sq"][list(names.values())].tolist())
    assert ours["df"][list(names)].tolist() == theirs["df"][list(names.values())].tolist()
    both = ours.loc["left over", "ss"] + ours.loc["replicates", "ss"]
    assert both == pytest.approx(theirs.loc["Residual", "sum_sq"])


def test_statsmodels_gives_the_same_interval_of_a_prediction():
    smf = pytest.importorskip("statsmodels.formula.api", reason="statsmodels is not installed")
    factors = {"a": [1, 2], "b": [1, 2, 3], "c": [1, 2, 3]}
    trials = frame("l18", factors, (10 ** np.random.default_rng(4).normal(size=18)).tolist())
    at = {"a": 2, "b": 3, "c": 1}
    ours = predict(trials, factors, at, "y")
    fitted = smf.ols("sn ~ C(a) + C(b) + C(c)", trials.assign(sn=-20 * np.log10(trials["y"]))).fit()
    theirs = fitted.get_prediction(pd.DataFrame([at])).summary_frame(alpha=0.05).iloc[0]
    assert ours.sn_db == pytest.approx(theirs["mean"])
    assert ours.interval() == pytest.approx((theirs["mean_ci_lower"], theirs["mean_ci_upper"]))
    assert ours.interval_of(1) == pytest.approx((theirs["obs_ci_lower"], theirs["obs_ci_upper"]))
