"""What networks that are conditional on a label share."""

from torch import Tensor

from mammogan.models.generator import Classes


def check(expected: Classes | None, classes: Tensor | None) -> None:
    """Raises ValueError where a conditional network gets no classes, or an unconditional one gets some."""
    if expected is None and classes is not None:
        raise ValueError("this network is unconditional; call it without classes")
    if expected is not None and classes is None:
        raise ValueError(
            f"this network is conditional on {expected.label}; give it classes (N,), the numbers of "
            f"{', '.join(expected.values)} from 0 on"
        )
