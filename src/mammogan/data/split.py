"""Which patients training never sees: by patient, stratified by label, decided by a seed."""

from collections.abc import Sequence

import numpy as np

from mammogan.data.sources import Mammogram
from mammogan.errors import DataError


def holdout_patients(images: Sequence[Mammogram], fraction: float, seed: int) -> frozenset[str]:
    """The patients that training never sees: a `fraction` of them, drawn by `seed`, stratified by cancer.

    A patient counts as a cancer patient if any of her images does. The result depends on the set of patients
    and their labels, not on the order of `images`; each side gets at least one patient.

    Raises:
        DataError: there are fewer than two patients.
    """
    labels: dict[str, str] = {}
    for image in images:
        labels[image.patient_id] = max(labels.get(image.patient_id, ""), image.cancer)
    if len(labels) < 2:
        raise DataError(
            f"too few patients to split: {len(labels)} with a usable image, at least 2 are needed; "
            "a patient is never on both sides of the split"
        )
    n_holdout = min(max(round(fraction * len(labels)), 1), len(labels) - 1)
    strata = {label: sorted(p for p in labels if labels[p] == label) for label in sorted(set(labels.values()))}
    # largest remainder: every stratum gets its share rounded down, then the largest fractions one more
    shares = {label: n_holdout * len(patients) / len(labels) for label, patients in strata.items()}
    counts = {label: int(share) for label, share in shares.items()}
    for label in sorted(shares, key=lambda label: counts[label] - shares[label])[: n_holdout - sum(counts.values())]:
        counts[label] += 1
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for label, patients in strata.items():
        chosen.update(patients[k] for k in rng.permutation(len(patients))[: counts[label]])
    return frozenset(chosen)
