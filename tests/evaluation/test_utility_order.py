"""Synthetic sets whose worth is known by the way they are made come out in that order."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark():
    """benchmarks/utility.py as a module."""
    spec = importlib.util.spec_from_file_location("utility_benchmark", BENCHMARKS / "utility.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def test_the_committed_table_holds_every_order():
    kept = json.loads((BENCHMARKS / "utility.json").read_text(encoding="utf-8"))
    assert [order for order in kept["orders"] if not order["holds"]] == []
    copies = kept["sets"]["copies"]["results"][2]
    assert (copies["name"], copies["auc_gain"]["value"]) == ("mixed", 0)


def test_synthetic_sets_are_what_they_are_called(benchmark):
    train = benchmark.phantoms(4, 1)
    sets = benchmark.synthetic_sets(train, 10, 100)
    fresh = sets["perfect"]
    assert {len(one.labels) for one in sets.values()} == {20}
    assert all(one.labels.sum() == 10 for one in sets.values())
    assert (sets["mislabelled"].labels != fresh.labels).sum() == 6
    assert (sets["swapped"].labels != fresh.labels).all()
    assert len({image.tobytes() for image in sets["collapsed"].images}) == benchmark.LEFT_OVER
    real = {image.tobytes() for image in train.images}
    assert {image.tobytes() for image in sets["copies"].images} == real
    assert not real & {image.tobytes() for image in fresh.images}


@pytest.mark.slow
def test_perfect_collapsed_and_mislabelled_sets_come_out_in_the_right_order(benchmark, tmp_path):
    torch.set_num_threads(2)
    found = benchmark.measure(benchmark.CONFIG, tmp_path, benchmark.PATIENTS, benchmark.TEST_PATIENTS)
    assert [order for order in benchmark.orders(found) if not order["holds"]] == []
    assert found["copies"].of("mixed").auc_gain.value == 0
    assert found["swapped"].verdict == "harms"
