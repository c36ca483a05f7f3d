import numpy as np
import pandas as pd
import pytest

from mammogan.design.analysis import conclusion, main_effects, predict_best, sn_smaller_is_better
from mammogan.design.arrays import ARRAYS
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
    assert sn_smaller_is_better(np.array([[1.0], [10.0], [0.1]])).tolist() == pytest.approx([0, -20, 20])


def test_sn_of_replicates_is_that_of_their_mean_square():
    # 3, 4 -> mean square 12.5 -> 10 log10 12.5 = 10.969 dB
    assert sn_smaller_is_better(np.array([[3.0, 4.0]])).tolist() == pytest.approx([-10.969], abs=5e-4)


def test_main_effects_have_one_line_a_level_with_means_delta_rank_and_best(published_dcgan):
    effects = main_effects(published_dcgan, FACTORS)
    assert list(effects.columns) == [
        *("factor", "level", "value", "n", "mean", "sn_db", "delta", "rank", "best", "aliased_with"),
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


def test_the_conclusion_never_claims_more_than_was_measured(published_dcgan):
    text = conclusion(published_dcgan, FACTORS)
    assert "best of the 9 rows is row 2 (learning rate 0.0001, batch size 32, epochs 500): fid 0.002" in text
    assert "learning rate 12.1 dB (best at 0.0003)" in text
    assert "batch size and epochs are one column: their effects cannot be told apart" in text
    assert "run once, so there is no estimate of the error" in text
    assert "seed noise" in text
    assert "together are row 8: the additive model expects 50.7 dB, fid about 0.00291, and the row gave 0.024." in text


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


def test_replicates_are_gathered_by_row():
    first, second = trials_of("l9", [3.0] * 9), trials_of("l9", [4.0] * 9)
    effects = main_effects(pd.concat([first, second]), FACTORS)
    assert effects["sn_db"].tolist() == pytest.approx([-10.969] * 9, abs=5e-4)
    assert "run 2 times" in conclusion(pd.concat([first, trials_of("l9", PUBLISHED["dcgan"])]), FACTORS)


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
        (lambda t: t[t["row"] != 4], r"'lr' occur in \[3, 2, 3\] rows"),
        (lambda t: t.assign(fid=-t["fid"]), "negative or zero"),
        (lambda t: t.assign(fid=t["fid"].where(t["row"] != 7, 0.0)), r"rows \[7\] have a negative or zero"),
        (lambda t: t.assign(fid="good"), "not numeric"),
        (lambda t: t.drop(columns="lr"), "no column lr"),
        (lambda t: t.assign(lr=t["lr"] * 2), r"'lr' has the value 0.0004, which is none of"),
        (lambda t: pd.concat([t, t.iloc[[0]]]), "between 1 and 2 replicates"),
    ],
)
def test_trials_that_cannot_be_analysed_are_refused(published_dcgan, change, message):
    with pytest.raises(DesignError, match=message):
        main_effects(change(published_dcgan), FACTORS)
