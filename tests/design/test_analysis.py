import numpy as np
import pandas as pd
import pytest

from mammogan.design.analysis import (
    analyse,
    anova_table,
    conclusion,
    confirm,
    contrast_table,
    interaction_effects,
    main_effects,
    predict,
    predict_best,
    signal_to_noise,
)
from mammogan.design.arrays import ARRAYS, choose
from mammogan.errors import DesignError

FACTORS = {"lr": [0.0001, 0.0002, 0.0003], "batch_size": [16, 32, 64], "epochs": [250, 500, 750]}
PUBLISHED = {  # the paper's Tables 3 and 4
    "dcgan": [0.448, 0.002, 0.161, 0.025, 0.006, 2.472, 0.012, 0.024, 0.02],
    "stylegan": [0.1224, 0.045, 0.0335, 0.1603, 0.0031, 0.6647, 0.0061, 0.4959, 0.0335],
}


def trials_of(array: str, responses: list[float]) -> pd.DataFrame:
    rows = ARRAYS[array].assign(FACTORS)
    return pd.DataFrame(
        {"row": row.number, **row.levels, "fid": y, "state": "COMPLETE"} for row, y in zip(rows, responses, strict=True)
    )


@pytest.fixture
def published_dcgan() -> pd.DataFrame:
    return trials_of("paper", PUBLISHED["dcgan"])


@pytest.mark.parametrize(
    ("model", "lr_db", "batch_and_epochs_db"),
    [
        ("dcgan", [25.61, 22.87, 34.93], [25.81, 43.60, 13.99]),
        ("stylegan", [24.89, 23.21, 26.63], [26.15, 27.73, 20.85]),
    ],
)
def test_the_published_fids_give_the_known_sn_means(model, lr_db, batch_and_epochs_db):
    sn = main_effects(trials_of("paper", PUBLISHED[model]), FACTORS).set_index(["factor", "level"])["sn_db"]
    assert sn["lr"].tolist() == pytest.approx(lr_db, abs=0.005)
    assert sn["batch_size"].tolist() == pytest.approx(batch_and_epochs_db, abs=0.005)
    assert sn["epochs"].tolist() == pytest.approx(batch_and_epochs_db, abs=0.005)


def test_sn_of_ten_times_the_response_is_twenty_db_less():
    assert signal_to_noise(np.array([[1.0], [10.0], [0.1]])).tolist() == pytest.approx([0, -20, 20])


def test_sn_of_replicates_is_that_of_their_mean_square():
    # 3, 4 -> mean square 12.5 -> 10 log10 12.5 = 10.969 dB
    assert signal_to_noise(np.array([[3.0, 4.0]])).tolist() == pytest.approx([-10.969], abs=5e-4)


def test_main_effects_have_one_line_a_level_with_means_delta_rank_and_best(published_dcgan):
    effects = main_effects(published_dcgan, FACTORS)
    assert list(effects.columns) == [
        *("factor", "level", "value", "n", "mean", "sn_db", "low", "high", "delta", "rank", "p", "best"),
        *("apart_from", "aliased_with"),
    ]
    assert effects["value"].tolist() == [0.0001, 0.0002, 0.0003, 16, 32, 64, 250, 500, 750]
    assert [str(value) for value in effects["value"]][3:] == ["16", "32", "64", "250", "500", "750"]
    assert effects["n"].tolist() == [3] * 9
    assert effects["mean"].iloc[0] == pytest.approx(0.611 / 3)  # (0.448 + 0.002 + 0.161) / 3
    assert effects[effects["best"]]["level"].tolist() == [3, 2, 2]  # the paper rules level 3 of lr out
    assert effects.groupby("factor", sort=False)["delta"].first().tolist() == pytest.approx(
        [34.93 - 22.87, 43.60 - 13.99, 43.60 - 13.99], abs=0.01
    )


def test_factors_that_are_one_column_share_their_rank_and_name_each_other(published_dcgan):
    effects = main_effects(published_dcgan, FACTORS).groupby("factor", sort=False).first()
    assert effects["rank"].to_dict() == {"lr": 3, "batch_size": 1, "epochs": 1}
    assert effects["aliased_with"].to_dict() == {"lr": "", "batch_size": "epochs", "epochs": "batch_size"}


def test_no_factor_of_l9_is_aliased():
    assert set(main_effects(trials_of("l9", PUBLISHED["dcgan"]), FACTORS)["aliased_with"]) == {""}


def test_the_prediction_is_the_grand_mean_plus_each_effect_with_a_merged_column_counted_once(published_dcgan):
    best = predict_best(published_dcgan, FACTORS)
    grand_mean = (25.61 + 22.87 + 34.93) / 3
    assert best.levels == {"lr": 0.0003, "batch_size": 32, "epochs": 500}
    assert best.row == 8
    assert best.sn_db == pytest.approx(34.93 + 43.60 - grand_mean, abs=0.02)
    assert best.response == pytest.approx(10 ** (-best.sn_db / 20))


def test_an_additive_response_is_predicted_exactly_where_no_row_was_run():
    effect_db = {
        0.0001: -3.0,
        0.0002: 1.0,
        0.0003: 0.0,
        16: 0.0,
        32: -7.0,
        64: 2.0,
        250: 0.0,
        500: 5.0,
        750: -1.0,
    }
    sn_db = [sum(effect_db[v] for v in row.levels.values()) for row in ARRAYS["l9"].assign(FACTORS)]
    best = predict_best(trials_of("l9", [10 ** (-sn / 20) for sn in sn_db]), FACTORS)
    assert best.levels == {"lr": 0.0002, "batch_size": 64, "epochs": 500}
    assert best.row is None
    assert best.sn_db == pytest.approx(8.0)


@pytest.mark.parametrize("model", ["dcgan", "stylegan"])
def test_the_conclusion_on_the_published_fids_claims_no_more_than_was_measured(model):
    text = conclusion(trials_of("paper", PUBLISHED[model]), FACTORS)
    assert "batch size and epochs are one column: their effects cannot be told apart" in text
    assert "run once, so there is no estimate of the error by chance alone" in text
    assert "seed noise and interactions are one" in text
    assert "Batch size and epochs: not separable; 32 with 500 has the best mean, but no difference from" in text
    assert "Learning rate: not separable; 0.0003 has the best mean" in text
    assert "is better than" not in text


def test_the_conclusion_names_the_best_row_the_effects_and_the_prediction(published_dcgan):
    text = conclusion(published_dcgan, FACTORS)
    assert "best of the 9 rows is row 2 (learning rate 0.0001, batch size 32, epochs 500): fid 0.002" in text
    assert "learning rate 12.1 dB (best at 0.0003)" in text
    assert (
        "together are row 8: the additive model expects 50.7 dB, fid about 0.00291 (95 % interval for one new" in text
    )
    assert text.endswith("; the row gave 0.024.")


def test_the_conclusion_asks_for_a_confirmation_of_levels_never_run_together():
    rows = list(ARRAYS["l9"].assign(FACTORS))
    responses = [
        {1: 1.0, 2: 2.0, 3: 3.0}[row.level_numbers["lr"]]
        * {1: 1.0, 2: 2.0, 3: 3.0}[row.level_numbers["batch_size"]]
        * {1: 2.0, 2: 1.0, 3: 3.0}[row.level_numbers["epochs"]]
        for row in rows
    ]
    text = conclusion(trials_of("l9", responses), FACTORS)
    assert "(learning rate 0.0001, batch size 16, epochs 500) are no row of the array" in text
    assert "only a confirmation run can tell" in text


def test_the_conclusion_writes_whole_numbers_without_a_point_and_texts_as_they_are(published_dcgan):
    levels = {"lr": [0.0001, 0.0002, 0.0003], "batch_size": [16.0, 32.0, 64.0], "epochs": [250.0, 500.0, 750.0]}
    text = conclusion(published_dcgan.astype({"batch_size": float, "epochs": float}), levels)
    assert text == conclusion(published_dcgan, FACTORS)
    named = {250: "short", 500: "middle", 750: "long"}
    text = conclusion(
        published_dcgan.assign(epochs=published_dcgan["epochs"].map(named)), FACTORS | {"epochs": list(named.values())}
    )
    assert "batch size 32, epochs middle)" in text


def test_equal_responses_show_no_effect():
    assert "shows no effect of any factor" in conclusion(trials_of("l9", [5.0] * 9), FACTORS)


def test_equal_responses_leave_nothing_to_test_and_nothing_to_warn_of():
    found = analyse(pd.concat([trials_of("l9", [5.0] * 9)] * 2), FACTORS)
    assert found.effects["p"].isna().all()
    assert found.effects["delta"].tolist() == [0] * 9
    assert not found.contrasts["stands_out"].any()
    assert found.best.interval() is None


def test_replicates_are_gathered_by_row():
    first, second = trials_of("l9", [3.0] * 9), trials_of("l9", [4.0] * 9)
    effects = main_effects(pd.concat([first, second]), FACTORS)
    assert effects["sn_db"].tolist() == pytest.approx([-10.969] * 9, abs=5e-4)
    assert "Each row was run 2 times: chance moves the S/N ratio of a row by" in conclusion(
        pd.concat([first, trials_of("l9", PUBLISHED["dcgan"])]), FACTORS
    )


def test_trials_that_are_not_complete_do_not_count(published_dcgan):
    failed = published_dcgan.iloc[[2]].assign(fid=np.nan, state="FAIL")
    with_failed = pd.concat([failed, published_dcgan])
    pd.testing.assert_frame_equal(main_effects(with_failed, FACTORS), main_effects(published_dcgan, FACTORS))


def test_the_analysis_survives_a_round_trip_through_csv(published_dcgan, tmp_path):
    published_dcgan.to_csv(tmp_path / "trials.csv", index=False)
    read = pd.read_csv(tmp_path / "trials.csv")
    pd.testing.assert_frame_equal(main_effects(read, FACTORS), main_effects(published_dcgan, FACTORS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(fid=t["fid"].where(t["row"] != 4)), r"rows \[4\] have no finite response.*study"),
        (
            lambda t: t.assign(fid=t["fid"].where(t["row"] != 4, np.inf)),
            r"rows \[4\] have no finite response",
        ),
        (lambda t: t[t["row"] != 4], r"rows \[4\] are missing: the main effects leak into each other \(lr with batch"),
        (lambda t: t[t["lr"] != 0.0003], "no row has lr 0.0003, so nothing can be said of it"),
        (lambda t: t.iloc[:0], "no trial is complete"),
        (lambda t: t.assign(state="FAIL"), "no trial is complete"),
        (lambda t: t.assign(fid=-t["fid"]), "negative or zero"),
        (lambda t: t.assign(fid=t["fid"].where(t["row"] != 7, 0.0)), r"rows \[7\] have a negative or zero"),
        (lambda t: t.assign(fid="good"), "not numeric"),
        (lambda t: t.drop(columns="lr"), "no column lr"),
        (lambda t: t.assign(lr=t["lr"] * 2), r"'lr' has the value 0.0004, which is none of"),
        (lambda t: pd.concat([t, t.iloc[[0]]]), r"between 1 and 2 replicates, too few in rows \[2, 3"),
    ],
)
def test_trials_that_cannot_be_analysed_are_refused(published_dcgan, change, message):
    with pytest.raises(DesignError, match=message):
        main_effects(change(published_dcgan), FACTORS)


def test_missing_rows_are_named_with_the_effects_that_are_lost():
    trials = trials_of("l9", PUBLISHED["dcgan"])
    with pytest.raises(DesignError, match=r"rows \[5, 6, 8\] are missing: .* and the effect of .*batch_size.* is lost"):
        main_effects(trials[~trials["row"].isin([5, 6, 8])], FACTORS)


def test_a_factor_with_a_dummy_level_is_analysed_by_the_means_of_its_rows():
    factors = {"a": [1, 2], "b": [1, 2, 3], "c": [1, 2, 3]}
    rows = list(choose(factors).array.assign(factors))
    trials = pd.DataFrame({"row": row.number, **row.levels, "fid": 10.0 * row.levels["a"]} for row in rows)
    effects = main_effects(trials, factors).set_index(["factor", "level"])
    assert effects["n"].to_dict()["a", 1] + effects["n"].to_dict()["a", 2] == len(rows)
    assert effects.loc[("a", 1), "mean"] == 10
    assert effects.loc[("a", 2), "mean"] == 20
    assert effects.loc["b", "delta"].tolist() == pytest.approx([0, 0, 0], abs=1e-9)


def noisy(effect_db: float, noise_db: float, replicates: int, seed: int = 0) -> pd.DataFrame:
    """L9 x replicates whose learning rate moves the response by `effect_db` a level, everything else by chance."""
    rng = np.random.default_rng(seed)
    rows = list(ARRAYS["l9"].assign(FACTORS))
    return pd.DataFrame(
        {
            "row": row.number,
            **row.levels,
            "fid": 100 * 10 ** ((effect_db * row.level_numbers["lr"] + rng.normal(scale=noise_db)) / 20),
        }
        for _ in range(replicates)
        for row in rows
    )


def test_the_error_of_a_ratio_is_the_spread_of_its_runs_over_the_root_of_their_number():
    calm = [trials_of("l9", [10 ** ((level_db + side) / 20) for level_db in range(9)]) for side in (-1.0, 1.0)]
    # two runs at +-1 dB: variance 2, of their ratio 2 / 2
    assert "chance moves the S/N ratio of a row by 1 dB (standard deviation, 9 deg" in conclusion(
        pd.concat(calm), FACTORS
    )
    best = predict_best(pd.concat(calm), FACTORS)
    assert best.error.variance == pytest.approx(1.0)
    half = (best.interval_of(2)[1] - best.interval_of(2)[0]) / 2
    assert half == pytest.approx(2.262 * np.sqrt(7 / 9 + 1), rel=1e-3)  # t(0.975, 9) = 2.262


def test_new_runs_far_from_the_prediction_do_not_confirm_it():
    trials = noisy(3.0, 1.0, replicates=2)
    best = predict_best(trials, FACTORS)
    near, far = confirm(best, [best.response]), confirm(best, [10 * best.response])
    assert near.confirmed
    assert near.sentence.endswith(": confirmed.")
    assert far.confirmed is False
    assert "not confirmed: factors interact, or the noise has changed" in far.sentence


def test_a_large_effect_is_told_from_noise_by_replicates_and_the_others_are_not_separable():
    text = conclusion(noisy(6.0, 0.5, replicates=3), FACTORS)
    assert "Learning rate: 0.0001 is better than 0.0002 or 0.0003 (p < 0.001)." in text
    assert "Batch size: not separable" in text
    assert "Epochs: not separable" in text


def test_without_an_effect_levels_are_called_different_no_more_often_than_promised():
    claims = [
        main_effects(noisy(0.0, 1.0, replicates=2, seed=seed), FACTORS)["apart_from"].ne("").groupby(level=0).any()
        for seed in range(60)
    ]
    frames = [claim.to_numpy().reshape(3, 3).any(axis=1) for claim in claims]  # factors x levels
    share = np.mean(frames)
    assert share == pytest.approx(0.05, abs=0.049)  # three standard errors of 180 tests


def test_the_interval_of_a_prediction_holds_new_runs_as_often_as_promised():
    held = []
    for seed in range(60):
        prediction = predict_best(noisy(3.0, 1.0, replicates=2, seed=seed), FACTORS)
        level = FACTORS["lr"].index(prediction.levels["lr"]) + 1
        new = 100 * 10 ** ((3.0 * level + np.random.default_rng(1000 + seed).normal(scale=1.0)) / 20)
        held.append(confirm(prediction, [new]).confirmed)
    assert np.mean(held) == pytest.approx(0.95, abs=0.08)  # a little less: the best of noisy levels is an optimist


def test_rows_that_differ_by_more_than_main_effects_and_chance_are_called_an_interaction():
    trials = noisy(0.0, 0.3, replicates=2)
    trials.loc[trials["row"].isin([1, 5, 9]), "fid"] *= 4  # the diagonal: an interaction
    two = {name: FACTORS[name] for name in ("lr", "batch_size")}
    assert "factors interact" in conclusion(trials, two)
    assert "factors interact" not in conclusion(noisy(0.0, 0.3, replicates=2), two)


def test_the_misfit_of_the_model_widens_the_interval_and_does_not_average_out_over_new_runs():
    trials = noisy(0.0, 0.3, replicates=2)
    trials.loc[trials["row"].isin([1, 5, 9]), "fid"] *= 4
    best = predict_best(trials, {name: FACTORS[name] for name in ("lr", "batch_size")})
    assert best.error.source == "left over"
    assert best.noise.source == "replicates"
    long_run, many, two, one = (high - low for low, high in (best.interval(), *map(best.interval_of, (1000, 2, 1))))
    assert long_run < many < two < one
    of_two = best.error.variance * (1 / best.n_eff + 1)
    assert two / long_run == pytest.approx(np.sqrt(of_two / (best.error.variance / best.n_eff)))
    assert many == pytest.approx(two, rel=0.01)  # the noise is small beside the misfit


def test_a_saturated_table_run_once_has_no_error_and_falls_back_on_the_size_of_its_contrasts():
    factors = {name: [1, 2, 3] for name in "abcd"}
    rows = list(ARRAYS["l9"].assign(factors))
    rng = np.random.default_rng(1)
    calm = pd.DataFrame({"row": r.number, **r.levels, "fid": 10 ** rng.normal(scale=0.1)} for r in rows)
    effects = main_effects(calm, factors)
    assert effects[["low", "high", "p"]].isna().all(axis=None)
    assert set(effects["apart_from"]) == {""}
    text = conclusion(calm, factors)
    assert "nothing is left over to make one from" in text
    assert "none of the 8 contrasts stands out" in text
    assert "interval" not in text
    loud = calm.assign(fid=[y * 100 ** r.levels["a"] for y, r in zip(calm["fid"], rows, strict=True)])
    assert "By size alone a linear stands out of the 8 contrasts" in conclusion(loud, factors)


def test_the_contrasts_of_two_levels_are_differences_of_means():
    factors = {name: [1, 2] for name in "abc"}
    rows = list(ARRAYS["l4"].assign(factors))
    trials = pd.DataFrame({"row": r.number, **r.levels, "y": y} for r, y in zip(rows, [1, 10, 1, 10], strict=True))
    table = contrast_table(trials, factors, "y").set_index("name")["contrast"]
    assert table.to_dict() == pytest.approx({"a": 0, "b": -20, "c": 0}, abs=1e-9)


def test_all_is_said_at_once_by_analyse(published_dcgan):
    found = analyse(published_dcgan, FACTORS)
    pd.testing.assert_frame_equal(found.effects, main_effects(published_dcgan, FACTORS))
    pd.testing.assert_frame_equal(found.anova, anova_table(published_dcgan, FACTORS))
    pd.testing.assert_frame_equal(found.contrasts, contrast_table(published_dcgan, FACTORS))
    assert found.conclusion == conclusion(published_dcgan, FACTORS)
    assert found.best == predict_best(published_dcgan, FACTORS)


def test_larger_is_better_takes_the_largest_and_nominal_the_steadiest():
    rows = list(ARRAYS["l9"].assign(FACTORS))
    grow = pd.DataFrame({"row": r.number, **r.levels, "y": 10.0 * r.level_numbers["epochs"]} for r in rows)
    assert predict_best(grow, FACTORS, "y", "larger").levels["epochs"] == 750
    assert predict_best(grow, FACTORS, "y", "larger").response == pytest.approx(30)
    assert "row 3 (" in conclusion(grow, FACTORS, "y", "larger").splitlines()[0]
    spread = {1: 3.0, 2: 1.0, 3: 2.0}
    shaky = pd.concat(
        pd.DataFrame({"row": r.number, **r.levels, "y": 50 + sign * spread[r.level_numbers["lr"]]} for r in rows)
        for sign in (-1, 1)
    )
    for goal in ("nominal I", "nominal II"):
        best = predict_best(shaky, FACTORS, "y", goal)
        assert best.levels["lr"] == 0.0002
        assert best.response == pytest.approx(50)
        assert "S/N ratio" in conclusion(shaky, FACTORS, "y", goal).splitlines()[0]


@pytest.mark.parametrize(
    ("responses", "goal", "message"),
    [
        ([[1.0], [0.0]], "larger", r"rows \[2\] have a negative or zero response, which has no larger-is-better"),
        ([[-1.0, 1.0]], "larger", r"rows \[1\] have a negative or zero"),
        ([[3.0, 3.0], [1.0, 2.0]], "nominal I", r"rows \[1\] have no spread"),
        ([[3.0]], "nominal II", "run each row at least twice"),
        ([[-1.0, 1.0]], "nominal II", "mean of zero"),
        ([[np.nan, 1.0]], "nominal I", "no finite response"),
    ],
)
def test_responses_without_a_ratio_are_refused(responses, goal, message):
    with pytest.raises(DesignError, match=message):
        signal_to_noise(np.array(responses), goal)


def test_interactions_of_cells_that_were_run_have_means(published_dcgan):
    cells = interaction_effects(published_dcgan, FACTORS, ("batch_size", "epochs"))
    assert cells[["a", "b", "n"]].to_numpy().tolist() == [[16, 250, 3], [32, 500, 3], [64, 750, 3]]
    cells = interaction_effects(published_dcgan, FACTORS, ("lr", "epochs"))
    assert cells["mean"].tolist() == PUBLISHED["dcgan"]
    with pytest.raises(DesignError, match="lr x seed is no interaction"):
        interaction_effects(published_dcgan, FACTORS, ("lr", "seed"))


def test_an_interaction_that_is_mixed_with_a_main_effect_gets_no_line_in_the_table():
    trials = trials_of("l9", PUBLISHED["dcgan"])
    with pytest.raises(DesignError, match=r"lr x batch_size.*not orthogonal|not orthogonal in these rows"):
        anova_table(trials, FACTORS, interactions=[("lr", "batch_size")])
    with pytest.raises(DesignError, match="nothing of the interaction batch_size x epochs"):
        anova_table(trials_of("paper", PUBLISHED["dcgan"]), FACTORS, interactions=[("batch_size", "epochs")])
    with pytest.raises(DesignError, match="depth cannot be pooled: the effects are lr"):
        anova_table(trials, FACTORS, pool=["depth"])


def test_confirmation_without_an_estimate_of_the_error_confirms_nothing():
    factors = {name: [1, 2, 3] for name in "abcd"}
    trials = pd.DataFrame({"row": r.number, **r.levels, "fid": 1.0 + r.number} for r in ARRAYS["l9"].assign(factors))
    verdict = confirm(predict_best(trials, factors), [2.0, 3.0])
    assert verdict.confirmed is None
    assert verdict.interval is None
    assert "2 new runs of the predicted levels gave" in verdict.sentence
    with pytest.raises(DesignError, match="at least one run"):
        confirm(predict_best(trials, factors), [])


def test_a_prediction_needs_levels_that_are_there(published_dcgan):
    at = predict(published_dcgan, FACTORS, {"lr": 0.0001, "batch_size": 32, "epochs": 500})
    assert at.row == 2
    with pytest.raises(DesignError, match=r"needs a level of 'lr' out of \[0.0001, 0.0002, 0.0003\], got 0.5"):
        predict(published_dcgan, FACTORS, {"lr": 0.5, "batch_size": 32, "epochs": 500})
    with pytest.raises(DesignError, match="depth is no factor"):
        predict_best(published_dcgan, FACTORS, using=["depth"])
