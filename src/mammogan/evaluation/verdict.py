"""What the measurement of utility found, in figures and in words that claim no more than was measured."""

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mammogan.evaluation.arms import BASELINE, TITLES, ArmName
from mammogan.evaluation.paired import LEVEL, Estimate

Verdict = Literal["helps", "no benefit shown", "harms", "cannot decide"]

OF_INTEREST = 0.05  # difference of AUC; a test that would miss it cannot speak of no benefit
FEWEST_PATIENTS = 6  # were all of five in favour, a sign test would still say p = 0.06

_SUBJECTS: dict[ArmName, str] = {
    "augmented": "Classical augmentation of the real images",
    "mixed": "Synthetic images added to the real ones",
    "synthetic": "Synthetic images in place of the real ones",
}


@dataclass(frozen=True)
class Result:
    """One kind of classifier, mean over its seeds.

    Attributes:
        auc, recall: on the test images; recall at 90 % specificity.
        auc_by_seed, recall_by_seed: each classifier.
        auc_gain, recall_gain: over the baseline; None for the baseline itself.
        p_auc, p_recall: of the gains, corrected by Holm for the comparisons.
        verdict: by the AUC alone; None for the baseline.
    """

    name: ArmName
    auc: Estimate
    recall: Estimate
    auc_by_seed: tuple[float, ...]
    recall_by_seed: tuple[float, ...]
    auc_gain: Estimate | None = None
    recall_gain: Estimate | None = None
    p_auc: float | None = None
    p_recall: float | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Utility:
    """Whether synthetic images help a detector; `results` has the baseline first.

    Attributes:
        finding: what is detected, in words.
        n_train, n_train_with: real training images, and those with the finding.
        n_added: synthetic images added (or copies, in the baseline).
        n_test, n_test_with: test images, and those with the finding.
        n_patients_with, n_patients_without: test patients who have an image with the finding, and without.
        seeds, updates: classifiers of a kind, and steps of the optimiser of each.
        resolution: height of the images in pixels.
    """

    finding: str
    n_train: int
    n_train_with: int
    n_added: int
    n_test: int
    n_test_with: int
    n_patients_with: int
    n_patients_without: int
    seeds: int
    updates: int
    resolution: int
    results: tuple[Result, ...]

    def of(self, name: ArmName) -> Result:
        """The result of one kind of classifier."""
        return next(result for result in self.results if result.name == name)

    @property
    def verdict(self) -> Verdict:
        """The answer: what synthetic images do that are added to the real ones."""
        found = self.of("mixed").verdict
        assert found is not None, "only the baseline has none"
        return found

    def lines(self) -> list[str]:
        """A table for the screen, and the verdicts under it, the answer first."""
        head = f"{'trained on':38} {'AUC':>6} {'sd':>6} {'gain [95 %]':>24} {'p':>6}"
        head += f"  {'recall':>6} {'gain [95 %]':>24} {'p':>6}"
        return [
            f"Detector of {self.finding}, {self.resolution} px, {self.seeds} seeds, {self.updates} updates each.",
            f"Trained on {self.n_train} real images ({self.n_train_with} with) and {self.n_added} more; tested on "
            f"{self.n_test} real images ({self.n_test_with} with) of {self.n_patients_with} patients with and "
            f"{self.n_patients_without} without.",
            "",
            head,
            *[_row(result) for result in self.results],
            "Recall at 90 % specificity; p corrected by Holm over the comparisons with the first row.",
            "",
            *[self.sentence(name) for name in ("mixed", "synthetic", "augmented")],
        ]

    def sentence(self, name: ArmName) -> str:
        """The verdict on one kind of classifier, with its figures."""
        result = self.of(name)
        gain, subject = result.auc_gain, _SUBJECTS[name]
        assert gain is not None, "only the baseline has none"
        figures = (
            f"AUC {result.auc.value:.3f} against {self.of(BASELINE).auc.value:.3f}, difference {gain.value:+.3f} "
            f"[{gain.low:+.3f}, {gain.high:+.3f}], p {_p(result.p_auc)}"
        )
        fewest = min(self.n_patients_with, self.n_patients_without)
        if gain.smallest == 0:
            power = "both rank the test images alike"
        else:
            power = f"the smallest difference that this test would find four times in five is {gain.smallest:.2f}"
        match result.verdict:
            case "helps":
                return f"{subject}: helps. {figures}."
            case "harms":
                return f"{subject}: harms. {figures}."
            case "no benefit shown":
                return f"{subject}: no benefit shown. {figures}; {power}."
            case _:
                why = (
                    f"too few test patients of a class ({fewest})" if fewest < FEWEST_PATIENTS else "too coarse a test"
                )
                return f"{subject}: cannot decide, {why}. {figures}; {power}."

    def facts(self) -> dict[str, Any]:
        """All figures and verdicts, for JSON."""
        sentences = {name: self.sentence(name) for name in _SUBJECTS}
        return {"verdict": self.verdict, "sentences": sentences, **asdict(self)}

    def table(self) -> str:
        """One row for each kind of classifier, as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = ("auc", "recall", "auc_gain", "recall_gain")
        columns = [f"{name}{end}" for name in names for end in ("", "_low", "_high", "_smallest")]
        writer.writerow(("arm", *columns, "p_auc", "p_recall", "verdict"))
        for result in self.results:
            estimates = [getattr(result, name) for name in names]
            values = [
                getattr(found, part) if found else ""
                for found in estimates
                for part in ("value", "low", "high", "smallest")
            ]
            writer.writerow((result.name, *values, *_blank(result.p_auc, result.p_recall, result.verdict)))
        return text.getvalue()


def verdict(gain: Estimate, p_corrected: float, n_patients: int) -> Verdict:
    """The verdict on a gain of AUC, given the patients of the class that has fewer."""
    if n_patients < FEWEST_PATIENTS:
        return "cannot decide"
    if p_corrected < LEVEL:
        return "helps" if gain.value > 0 else "harms"
    return "no benefit shown" if gain.smallest <= OF_INTEREST else "cannot decide"


def _row(result: Result) -> str:
    spread = (sum((x - result.auc.value) ** 2 for x in result.auc_by_seed) / (len(result.auc_by_seed) - 1)) ** 0.5
    return (
        f"{TITLES[result.name]:38} {result.auc.value:6.3f} {spread:6.3f} {_gain(result.auc_gain, result.p_auc)}  "
        f"{result.recall.value:6.3f} {_gain(result.recall_gain, result.p_recall)}"
    ).rstrip()


def _gain(gain: Estimate | None, p: float | None) -> str:
    if gain is None or p is None:
        return " " * 31
    return f"{f'{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]':>24} {_p(p):>6}"


def _p(p: float | None) -> str:
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001"


def _blank(*values: float | str | None) -> list[float | str]:
    return ["" if value is None else value for value in values]
