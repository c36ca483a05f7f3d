"""Halves share no patient and have one length."""

import numpy as np
import pytest

from mammogan.errors import EvaluationError
from mammogan.evaluation.halves import patient_halves


def test_halves_share_no_patient_and_have_one_length():
    patients = np.random.default_rng(0).integers(0, 15, 80).tolist()
    pairs = patient_halves(patients, 6, seed=0)
    assert len({len(half) for pair in pairs for half in pair}) == 1
    for a, b in pairs:
        assert not {patients[i] for i in a} & {patients[i] for i in b}
        assert len(set(a) | set(b)) == 2 * len(a) > 60
    assert not np.array_equal(pairs[0][0], pairs[1][0])


def test_a_half_is_no_longer_than_asked():
    assert len(patient_halves(range(80), 2, seed=0, at_most=12)[0][0]) == 12


def test_one_patient_has_no_halves():
    with pytest.raises(EvaluationError, match="30 real images, patients: 1, cannot be split"):
        patient_halves(["P0"] * 30, 2, seed=0)
