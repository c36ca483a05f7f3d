"""Augmentation: what each operation does to images, gradients and chance, and that none of them leaks into G."""

import math
from collections.abc import Callable
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammogan.config import Augmentation, TrainConfig
from mammogan.models.generator import Part
from mammogan.training.augment import MAX_P, augment, next_p

OPERATIONS: tuple[Augmentation, ...] = get_args(Augmentation)
P = 0.79  # just below the limit


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def textures(n: int, side: int = 16) -> Tensor:
    return torch.rand((n, 1, side, side), generator=chance(5)) * 1.6 - 0.8


def test_with_p_0_the_images_come_back_as_they_are() -> None:
    images = textures(2)
    assert augment(images, 0.0, OPERATIONS, chance()) is images


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_keeps_shape_and_type(operation: Augmentation) -> None:
    images = textures(8)
    changed = augment(images, 1.0, [operation], chance())
    assert (changed.shape, changed.dtype) == (images.shape, torch.float32)
    assert changed.isfinite().all()
    assert not torch.equal(changed, images)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_are_the_differences_that_images_make(operation: Augmentation) -> None:
    """With the same chance each operation is affine, so a difference of any size shows the gradient."""
    images, change, weight = textures(8).requires_grad_(True), 0.1 * textures(8).flip(0), textures(8).flip(3)
    there = augment(images, 1.0, [operation], chance())
    (gradient,) = torch.autograd.grad((there * weight).sum(), images)
    moved = augment(images + change, 1.0, [operation], chance())
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    assert (gradient * change).sum().item() == pytest.approx(((moved - there) * weight).sum().item(), rel=1e-3)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_p_is_the_share_of_images_that_are_changed(operation: Augmentation) -> None:
    n, images = 3000, textures(1, 8).expand(3000, 1, 8, 8)
    visible = {"mirror": 1 / 2, "translate": 8 / 9}.get(operation, 1.0)  # 8 of 9 shifts at 8 px are none
    changed = (augment(images, 0.3, [operation], chance(1)) - images).abs().amax((1, 2, 3)) > 1e-5
    share = 0.3 * visible
    assert changed.float().mean().item() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / n) + 0.005)


def test_translation_moves_whole_pixels_and_loses_none_inside() -> None:
    images = textures(32, 32)
    moved = augment(images, 1.0, ["translate"], chance())
    shifts = set()
    for image, result in zip(images[:, 0], moved[:, 0], strict=True):
        found = []
        for down, right in product(range(-4, 5), repeat=2):
            expected = torch.full((32, 32), -1.0)
            expected[max(down, 0) : 32 + min(down, 0), max(right, 0) : 32 + min(right, 0)] = image[
                max(-down, 0) : 32 - max(down, 0), max(-right, 0) : 32 - max(right, 0)
            ]
            if torch.allclose(expected, result, atol=1e-4):
                found.append((down, right))
        assert len(found) == 1
        shifts.add(found[0])
    assert len(shifts) > 15


@pytest.mark.parametrize("operation", ["contrast", "rotate", "scale", "translate", "mirror", "blur"])
def test_black_stays_black(operation: Augmentation) -> None:
    black = torch.full((16, 1, 16, 16), -1.0)
    torch.testing.assert_close(augment(black, 1.0, [operation], chance()), black)


def test_what_rotation_brings_in_from_outside_is_black() -> None:
    white = torch.ones((64, 1, 32, 32))
    corners = augment(white, 1.0, ["rotate"], chance())[:, 0, 0, 0]
    assert corners.min() < -0.9
    assert corners.max() <= 1.01


@pytest.mark.parametrize("operation", OPERATIONS)
def test_two_halves_together_are_the_whole_batch(operation: Augmentation) -> None:
    images = textures(8)
    whole = augment(images, 0.5, [operation], chance())
    halves = torch.empty_like(whole)
    for index in range(2):
        halves[index::2] = augment(images[index::2], 0.5, [operation], Part(chance(), index, 2))
    torch.testing.assert_close(halves, whole)


# 500 thousand images from 0 to 1, every 4 steps of 32: 128 / 500,000 = 0.000256.
@pytest.mark.parametrize(
    ("p", "sign", "expected"), [(0.1, 0.7, 0.100256), (0.1, 0.5, 0.099744), (0.0001, 0.5, 0.0), (0.7999, 0.9, 0.8)]
)
def test_p_takes_fixed_steps_between_0_and_its_limit(
    small_config: Callable[..., TrainConfig], p: float, sign: float, expected: float
) -> None:
    section = {"mode": "ada", "operations": ["translate"], "target": 0.6, "every": 4, "kimg": 500.0}
    assert next_p(p, sign, small_config("dcgan", augment=section).augment, 4 * 32) == pytest.approx(expected, abs=1e-9)
    assert MAX_P == 0.8


# An augmentation does not leak when its operator on distributions can be inverted (Karras et al. 2020,
# arXiv:2006.06676, section 2.2). An image that is changed with probability p has the operator (1 - p) I + p K.


def least_response(draws: NDArray[np.float64], p: float) -> float:
    """Smallest absolute value of (1 - p) + p E[exp(i w x)]: a singular value for each frequency w of shifts by x."""
    w = np.linspace(0, 8, 400)[:, None] / draws.std()
    return float(np.abs(1 - p + p * np.exp(1j * w * draws).mean(1)).min())


def blob(down: float, right: float, n: int) -> Tensor:
    """Soft discs around a point, measured from the middle in pixels, on black: (n, 1, 32, 32)."""
    row, column = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    bright = torch.exp(-((row - down) ** 2 + (column - right) ** 2) / 8)
    return (2 * bright - 1).expand(n, 1, 32, 32)


def angles(n: int) -> Tensor:
    mass = augment(blob(0, 8, n), 1.0, ["rotate"], chance())[:, 0] + 1
    axis = torch.arange(32) - 15.5
    return torch.atan2((mass.sum(2) * axis).sum(1), (mass.sum(1) * axis).sum(1))


def scales(n: int) -> Tensor:
    mass = (augment(blob(0, 0, n), 1.0, ["scale"], chance()) + 1).sum((1, 2, 3))
    return torch.log2(mass / (blob(0, 0, 1) + 1).sum()) / 2


def brightnesses(n: int) -> Tensor:
    return augment(torch.zeros(n, 1, 4, 4), 1.0, ["brightness"], chance())[:, 0, 0, 0]


def contrasts(n: int) -> Tensor:
    return torch.log2(augment(torch.zeros(n, 1, 4, 4), 1.0, ["contrast"], chance())[:, 0, 0, 0] + 1)


@pytest.mark.parametrize(
    ("drawn", "std"), [(angles, math.radians(5)), (scales, 0.2), (brightnesses, 0.2), (contrasts, 0.5)]
)
def test_an_operation_with_normal_strength_does_not_leak(drawn: Callable[[int], Tensor], std: float) -> None:
    draws = drawn(1500).double().numpy()
    assert draws.std() == pytest.approx(std, rel=0.08)
    assert least_response(draws, P) > 0.1
    assert least_response(draws, 1.0) < 0.05


def test_translation_does_not_leak_below_the_limit_and_nearly_does_without_it() -> None:
    line = torch.full((4000, 1, 8, 64), -1.0)
    line[..., 32] = 1.0
    steps = augment(line, 1.0, ["translate"], chance())[:, 0, 4].argmax(1).numpy() - 32
    kernel = np.bincount(steps + 8, minlength=17) / 4000
    assert kernel.shape == (17,)
    assert kernel == pytest.approx(1 / 17, abs=5 * math.sqrt(1 / 17 / 4000))
    response = np.array([np.cos(2 * np.pi * k * np.arange(-8, 9) / 64).mean() for k in range(64)])
    both = np.outer(response, response)  # rows and columns are shifted apart from each other
    assert np.abs(1 - P + P * both).min() > 0.01
    assert np.abs(both).min() < 0.001
    assert np.abs(1 - 0.83 + 0.83 * both).min() < 0.01  # why the limit is where it is


def test_mirroring_does_not_leak() -> None:
    half = torch.full((2000, 1, 4, 4), -1.0)
    half[..., :2] = 1.0
    q = (augment(half, 1.0, ["mirror"], chance())[:, 0, 0, 0] < 0).double().mean().item()
    assert q == pytest.approx(0.5, abs=0.05)
    swap = np.array([[1 - q, q], [q, 1 - q]])
    assert np.linalg.svd((1 - P) * np.eye(2) + P * swap)[1].min() > 0.01


def test_cutout_does_not_leak() -> None:
    """States are the sets of pixels, of 2 by 2, that are grey already; a box adds the pixels that it covers."""
    cut = augment(torch.ones(4000, 1, 2, 2), 1.0, ["cutout"], chance()).flatten(1) == 0
    boxes = np.bincount((cut * torch.tensor([1, 2, 4, 8])).sum(1).numpy(), minlength=16) / 4000
    kernel = np.zeros((16, 16))
    for state, box in product(range(16), repeat=2):
        kernel[state | box, state] += boxes[box]
    assert np.linalg.svd((1 - P) * np.eye(16) + P * kernel)[1].min() > 0.01
    assert np.linalg.svd(kernel)[1].min() < 0.01
