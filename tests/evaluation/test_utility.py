import csv
import io
import json

import numpy as np
import pytest

from labelled_blobs import blobs, utility_config
from mammogan.errors import EvaluationError
from mammogan.evaluation.arms import ARMS
from mammogan.evaluation.paired import Estimate
from mammogan.evaluation.utility import Labelled, compare, utility
from mammogan.evaluation.verdict import Utility, verdict


@pytest.fixture
def sets():
    return blobs(16), blobs(24, seed=1), blobs(16, seed=2)


@pytest.fixture
def measure(sets, tmp_path):
    """Measures with one folder; returns the result and how often progress was told."""

    def run(train=sets[0], test=sets[1], synthetic=sets[2], progress=lambda share: None, **changes):
        told = []
        found = utility(
            utility_config(**changes),
            train,
            test,
            synthetic,
            tmp_path / "runs",
            lambda share: (told.append(share), progress(share)),
        )
        return found, told

    return run


UPDATES = 32 // 8


def test_four_kinds_of_classifiers_with_three_seeds_each(measure, tmp_path):
    found, told = measure()
    assert [result.name for result in found.results] == list(ARMS)
    assert all(len(result.auc_by_seed) == 3 for result in found.results)
    assert len(told) == 12 * UPDATES
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    assert found.updates == UPDATES
    assert len(list((tmp_path / "runs").glob("*.npy"))) == 12


def test_the_same_call_again_trains_nothing_and_finds_the_same(measure):
    first, _ = measure()
    again, told = measure()
    assert told == []
    assert again == first


def test_a_killed_measurement_goes_on_where_it_stood(measure):
    def stop(share):
        if share > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(progress=stop)
    found, told = measure()
    assert len(told) == 5 * UPDATES  # seven of twelve were finished
    assert [result.name for result in found.results] == list(ARMS)


def test_a_damaged_score_file_is_made_again(measure, tmp_path):
    first, _ = measure()
    sorted((tmp_path / "runs").iterdir())[0].write_bytes(b"\x93NUMPY")
    again, told = measure()
    assert len(told) == UPDATES
    assert again == first


def test_another_generator_shares_the_classifiers_of_the_real_images(measure):
    measure()
    _, told = measure(synthetic=blobs(16, seed=5))
    assert len(told) == 6 * UPDATES


@pytest.mark.parametrize("changes", [{"lr": 0.004}, {"test": blobs(24, seed=8)}])
def test_what_decides_a_classifier_makes_it_anew(measure, changes):
    measure()
    _, told = measure(**changes)
    assert len(told) == 12 * UPDATES


def test_copies_of_the_real_images_gain_exactly_nothing(measure, sets):
    found, _ = measure(synthetic=sets[0])
    gain = found.of("mixed").auc_gain
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)
    assert found.of("mixed").p_auc == 1
    assert found.verdict == "no benefit shown"
    assert "both rank the test images alike" in found.sentence("mixed")


def test_wrong_labels_harm_and_right_ones_do_not(measure, sets):
    synthetic = sets[2]
    wrong = Labelled(synthetic.images, ~synthetic.labels, synthetic.patients)
    right, _ = measure(epochs=6)
    bad, _ = measure(synthetic=wrong, epochs=6)
    assert right.of("mixed").auc.value > bad.of("mixed").auc.value
    assert right.of("synthetic").auc.value > 0.9
    assert bad.of("synthetic").auc.value < 0.1
    assert bad.of("synthetic").verdict == "harms"


def planted(gain, n=100, noise=0.3):
    """Scores of test images by classifiers of which the mixture sees `gain` more."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2 == 0
    shared = rng.normal(size=n)
    scores = {
        name: np.stack(
            [labels * (1 + gain * (name == "mixed")) + shared + noise * rng.normal(size=n) for _ in range(3)]
        ).astype(np.float32)
        for name in ARMS
    }
    return scores, Labelled(np.zeros((n, 1, 1), np.uint8), labels, range(n))


@pytest.mark.parametrize(
    ("gain", "n", "noise", "expected"),
    [
        (1.0, 100, 0.3, "helps"),
        (-1.0, 100, 0.3, "harms"),
        (0.0, 400, 0.1, "no benefit shown"),
        (0.0, 40, 1.5, "cannot decide"),
        (3.0, 10, 0.3, "cannot decide"),  # five patients of a class never decide
    ],
)
def test_the_verdict_is_what_was_planted(gain, n, noise, expected):
    scores, test = planted(gain, n, noise)
    assert {one.name: one.verdict for one in compare(scores, test, seed=0)}["mixed"] == expected


def test_p_is_corrected_over_the_three_comparisons():
    scores, test = planted(1.0)
    results = {one.name: one for one in compare(scores, test, seed=0)}
    assert results["mixed"].p_auc == pytest.approx(3 * results["mixed"].auc_gain.p)
    assert results["real"].p_auc is None


def test_a_test_that_would_miss_what_matters_does_not_speak_of_no_benefit():
    def gain(smallest):
        return Estimate(0.01, -0.1, 0.12, 0.8, smallest)

    assert verdict(gain(0.04), 1.0, 200) == "no benefit shown"
    assert verdict(gain(0.12), 1.0, 200) == "cannot decide"


def result_of(gain, n, noise):
    scores, test = planted(gain, n, noise)
    return Utility("cancer", 20, 10, 20, n, n // 2, n // 2, n // 2, 3, 8, 32, compare(scores, test, seed=0))


def test_the_sentence_says_the_smallest_difference_that_could_have_been_found():
    found = result_of(0.0, 40, 1.5)
    smallest = found.of("mixed").auc_gain.smallest
    assert "cannot decide, too coarse a test" in found.sentence("mixed")
    assert f"would find four times in five is {smallest:.2f}" in found.sentence("mixed")
    assert "too few test patients of a class (4)" in result_of(0.0, 8, 1.5).sentence("mixed")


def test_screen_json_and_csv_hold_the_same_figures():
    found = result_of(1.0, 100, 0.3)
    facts = json.loads(json.dumps(found.facts()))
    rows = list(csv.DictReader(io.StringIO(found.table())))
    assert [row["arm"] for row in rows] == list(ARMS)
    mixed = found.of("mixed")
    assert facts["verdict"] == rows[2]["verdict"] == "helps"
    assert float(rows[2]["auc_gain"]) == facts["results"][2]["auc_gain"]["value"] == mixed.auc_gain.value
    assert rows[0]["auc_gain"] == rows[0]["verdict"] == ""
    assert any(f"{mixed.auc_gain.value:+.3f}" in line for line in found.lines())
    assert found.lines()[-3].startswith("Synthetic images added to the real ones: helps. AUC ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": blobs(16, share=0)}, "all 16 training images are without the finding"),
        ({"train": blobs(16, share=1)}, "all 16 training images are with the finding"),
        ({"synthetic": blobs(16, share=0)}, "all 16 synthetic images are without the finding"),
        ({"test": blobs(24, share=0)}, "all 24 test images are without the finding"),
        ({"test": blobs(24, share=1 / 24)}, "1 test patients have an image with the finding and 23 one without"),
        ({"test": blobs(24, images_a_patient=24)}, "1 test patients have an image with .* and 1 one without"),
        ({"test": blobs(24, px=64)}, r"training images are \(32, 32\), test images \(64, 64\)"),
        ({"train": Labelled(blobs(16).images / 255, blobs(16).labels, range(16))}, "training images are float64"),
        ({"train": Labelled(blobs(16).images, blobs(15).labels, range(16))}, "images: 16, but labels: 15"),
    ],
)
def test_what_cannot_be_measured_is_one_message_and_trains_nothing(measure, tmp_path, changes, message):
    with pytest.raises(EvaluationError, match=message):
        measure(**changes)
    assert not (tmp_path / "runs").exists()


def test_a_training_that_diverges_is_told(measure, monkeypatch):
    from mammogan.evaluation import utility as module

    monkeypatch.setattr(module, "scores", lambda net, images: np.full(len(images), np.nan, np.float32))
    with pytest.raises(EvaluationError, match=r"seed 0 diverged; set utility\.lr below 0\.003"):
        measure()
