"""What a run of `prepare` made, in numbers and words."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mammogan.data.sources import Rejected


@dataclass(frozen=True)
class Prepared:
    """What a run of `prepare` made, counted."""

    source: str
    why: str
    resolution: int
    bits: int
    train: int
    holdout: int
    train_patients: int
    holdout_patients: int
    unknown_patients: int
    other_side: int
    burnt_in: int
    near_duplicates: int
    decoded: int
    known: int  # from earlier runs
    rejected: Mapping[str, int]  # by kind of reason
    expected: int | None

    def lines(self) -> list[str]:
        """What to tell the user, the warnings last."""
        n = self.train + self.holdout
        told = [
            f"source {self.source}: {self.why}",
            f"{n} tiles of {self.resolution} px, {self.bits} bits: "
            f"train {self.train} ({self.train_patients} patients), "
            f"holdout {self.holdout} ({self.holdout_patients} patients); "
            f"{self.other_side} images of the other side; rejected {reasons(self.rejected)}; "
            f"{self.decoded} decoded, {self.known} known from earlier runs",
        ]
        if self.unknown_patients:
            told.append(
                f"warning: the patients of {self.unknown_patients} images are unknown, so each counts as a patient of "
                "her own; images of one woman may stand on both sides of the split"
            )
        if self.near_duplicates:
            told.append(
                f"warning: {self.near_duplicates} holdout images nearly equal a training image "
                "(near_duplicates.csv); look at them: `mammogan data find ID`"
            )
        if self.burnt_in:
            told.append(
                f"warning: {self.burnt_in} images have text or markers beside the breast; tiles leave them out, "
                "but look for names before you share the raw images (manifest.csv, column burnt_in)"
            )
        if self.expected is not None and n != self.expected:
            told.append(f"warning: {n} tiles, but prepare.expected_images is {self.expected}: not the same set")
        return told


def kinds(rejected: Iterable[Rejected]) -> dict[str, int]:
    """How many were rejected for each kind of reason, the commonest first."""
    return dict(Counter(entry.reason.split(":")[0] for entry in rejected).most_common())


def reasons(counts: Mapping[str, int]) -> str:
    """The counts of `kinds` in one line."""
    if not counts:
        return "0"
    return f"{sum(counts.values())} ({', '.join(f'{count} {kind}' for kind, count in counts.items())})"
