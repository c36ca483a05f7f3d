"""A generator as a Python object: arrays, a PyTorch loader, and a data set that mixes synthetic with real images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from mammogan import config
from mammogan.config import MODEL_NAMES, Checkout
from mammogan.data.tiles import Greys, to_model
from mammogan.errors import ConfigError, RequestError
from mammogan.generators import open_generator
from mammogan.models.generator import Generator
from mammogan.serving.images import Stamp
from mammogan.serving.recipe import BLOCK
from mammogan.serving.sample import draw_classes, sample

Wanted = str | Sequence[str] | None
Item = tuple[Tensor, int]

_MAX_SEED = 2**32 - 1
_UNLABELLED = -1


def load(spec: str, root: Path | None, device: str) -> "Synthesiser":
    """See `mammogan.load`."""
    here = _checkout(root)
    prefix = config.load(here.root / "params.yaml").register_.prefix if here and spec in MODEL_NAMES else ""
    opened = open_generator(spec, here.stores if here else None, prefix)
    try:
        G = opened.G.to(torch.device(device))
    except (RuntimeError, AssertionError) as err:
        raise RequestError(f"device '{device}' cannot be used: {(str(err).splitlines() or ['?'])[0]}") from None
    return Synthesiser(G, opened.stamp)


def _checkout(root: Path | None) -> Checkout | None:
    if root is None:
        try:
            return config.checkout()
        except ConfigError:
            return None
    if not (root / "dvc.yaml").is_file():
        raise ConfigError(f"{root} is no clone of mammogan: it has no dvc.yaml")
    return Checkout(root, root)


class Synthesiser:
    """Draws synthetic mammograms; image i of a seed is always the same.

    Attributes:
        stamp: model, version, run, commit, data hash and hash of the weights.
        resolution: side of an image in px.
        bits: grey depth, 8 or 16.
        label: what images are conditioned on (cancer, density, view); None if on nothing.
        classes: the values of the label, in the order of their numbers.
    """

    def __init__(self, G: Generator, stamp: Stamp) -> None:
        self._G = G
        self.stamp = stamp
        self.resolution = G.resolution
        self.bits = G.bits
        self.label = G.classes.label if G.classes else None
        self.classes = G.classes.values if G.classes else ()

    def __repr__(self) -> str:
        version = f" version {self.stamp.model_version}" if self.stamp.model_version else ""
        of = f", by {self.label} ({', '.join(self.classes)})" if self.label else ""
        return f"<Synthesiser {self.stamp.model}{version}: {self.resolution} px, {self.bits} bits{of}>"

    def sample(self, n: int, seed: int = 0, truncation: float = 1.0, classes: Wanted = None, first: int = 0) -> Greys:
        """Images `first` to `first + n - 1` of a seed: (n, R, R), uint8 or uint16, chest wall left.

        Args:
            n: how many; 0 gives an empty array.
            seed: from 0 to 4294967295.
            truncation: above 0, at most 1; smaller is nearer to the average image.
            classes: one value for all images or one for each; None: as often as in training.
            first: number of the first image.

        Raises:
            RequestError: one of them is no such value.
        """
        _whole("n", n, 0, None)
        _whole("first", first, 0, _MAX_SEED)
        numbers = self._numbers(n, seed, truncation, classes, first)
        images: Greys = sample(self._G, n, seed, float(truncation), BLOCK, first, numbers)[:, 0].numpy()
        return images

    def targets(self, n: int, seed: int = 0, classes: Wanted = None, first: int = 0) -> NDArray[np.int64]:
        """The class number of each image that `sample` gives for the same arguments, (n,); -1 without classes."""
        numbers = self._numbers(n, seed, 1.0, classes, first)
        return np.full(n, _UNLABELLED, np.int64) if numbers is None else numbers

    def dataset(self, n: int, seed: int = 0, truncation: float = 1.0, classes: Wanted = None) -> "SyntheticImages":
        """A PyTorch data set of images 0 to n - 1 of a seed; each is drawn when it is first asked for, and kept."""
        return SyntheticImages(self, n, seed, truncation, classes)

    def loader(
        self,
        batch_size: int,
        n: int | None = None,
        seed: int = 0,
        truncation: float = 1.0,
        classes: str | None = None,
        workers: int = 0,
    ) -> DataLoader[Any]:
        """A PyTorch loader of batches (images float32 (B, 1, R, R) in [-1, 1], targets int64 (B,)).

        Without `n` it is endless, each batch new; with `n` it ends, the last batch may be smaller, and a second pass
        gives the same images. Order and pixels do not depend on `workers`.
        """
        _whole("batch_size", batch_size, 1, None)
        _whole("workers", workers, 0, None)
        if n is not None:
            _whole("n", n, 1, None)
        self._numbers(0, seed, truncation, classes, 0)
        batches = _Batches(self, batch_size, n, seed, truncation, classes)
        return DataLoader(batches, batch_size=None, num_workers=workers)

    def mixed(
        self,
        real: Dataset[Any],
        share: float,
        seed: int = 0,
        truncation: float = 1.0,
        classes: Wanted = None,
        n: int | None = None,
    ) -> "Mixed":
        """`real`, whose items are (image, target) in the form of `dataset`, with a `share` of synthetic images.

        By default every real image comes once, and as many synthetic ones as make the share; with `n` that many items.
        """
        return Mixed.of(self, real, share, seed, truncation, classes, n)

    def _numbers(self, n: int, seed: int, truncation: float, classes: Wanted, first: int) -> NDArray[np.int64] | None:
        _whole("seed", seed, 0, _MAX_SEED)
        if isinstance(truncation, bool) or not isinstance(truncation, int | float) or not 0 < truncation <= 1:
            raise RequestError(f"truncation must be a number above 0 and at most 1, got {truncation!r}")
        if self._G.classes is None:
            if classes is not None:
                raise RequestError("this generator is unconditional; call it without classes")
            return None
        if classes is None:
            return draw_classes(self._G, n, seed, first)
        asked = [classes] * n if isinstance(classes, str) else list(classes)
        known = {value: number for number, value in enumerate(self.classes)}
        unknown = [value for value in ([classes] if isinstance(classes, str) else asked) if value not in known]
        if unknown:
            raise RequestError(f"the generator draws no {self.label} {unknown[0]!r}; it draws {', '.join(known)}")
        if len(asked) != n:
            raise RequestError(f"{len(asked)} classes for {n} images; give one for each, or one for all")
        return np.array([known[value] for value in asked], np.int64)


class SyntheticImages(Dataset[Item]):
    """Images 0 to n - 1 of a seed: (image float32 (1, R, R) in [-1, 1], class number, -1 without classes)."""

    def __init__(self, source: Synthesiser, n: int, seed: int, truncation: float, classes: Wanted) -> None:
        _whole("n", n, 0, None)
        self._source, self._seed, self._truncation = source, seed, truncation
        self._classes = None if classes is None else [classes] * n if isinstance(classes, str) else list(classes)
        source._numbers(0 if n == 0 else n, seed, truncation, self._classes, 0)
        self._targets = source.targets(n, seed, self._classes)
        self._blocks: dict[int, Greys] = {}

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> Item:
        """Image and class number; equal to `sample(n, ...)[index]` in [-1, 1].

        Raises:
            IndexError: there is no such image.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        block, place = divmod(index % len(self), BLOCK)
        if block not in self._blocks:
            first = block * BLOCK
            n = min(BLOCK, len(self) - first)
            classes = None if self._classes is None else self._classes[first : first + n]
            self._blocks[block] = self._source.sample(n, self._seed, self._truncation, classes, first)
        return to_model(torch.from_numpy(self._blocks[block][place][None])), int(self._targets[index])


class _Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Batch k holds images k * B to k * B + B - 1; of W workers each draws every W-th batch."""

    def __init__(
        self, source: Synthesiser, batch_size: int, n: int | None, seed: int, truncation: float, classes: str | None
    ) -> None:
        self._source, self._size, self._n = source, batch_size, n
        self._seed, self._truncation, self._classes = seed, truncation, classes

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        batch, step = (worker.id, worker.num_workers) if worker else (0, 1)
        while self._n is None or batch * self._size < self._n:
            first = batch * self._size
            count = self._size if self._n is None else min(self._size, self._n - first)
            yield self._images(first, count)
            batch += step

    def _images(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        start = first - first % BLOCK  # whole blocks, so that every pixel is that of `sample`
        images = self._source.sample(first + count - start, self._seed, self._truncation, self._classes, start)
        targets = self._source.targets(count, self._seed, self._classes, first)
        return to_model(torch.from_numpy(images[first - start :])[:, None]), torch.from_numpy(targets)


class Mixed(Dataset[Any]):
    """Real and synthetic items (image, target), evenly interleaved; a loader with `shuffle=True` mixes them further.

    Attributes:
        share: of the items that are synthetic.
    """

    def __init__(self, real: Dataset[Any], synthetic: SyntheticImages, share: float, n: int) -> None:
        self._real, self._synthetic, self.share, self._n = real, synthetic, share, n
        # A loader cannot put numbers and tensors into one batch.
        target = real[0][1] if len(synthetic) < n else None
        self._target_type = target.dtype if isinstance(target, Tensor) else None

    @classmethod
    def of(
        cls,
        source: Synthesiser,
        real: Dataset[Any],
        share: float,
        seed: int,
        truncation: float,
        classes: Wanted,
        n: int | None,
    ) -> "Mixed":
        """See `Synthesiser.mixed`.

        Raises:
            RequestError: the share is not from 0 up to 1, or `real` is empty, has no length or other items.
        """
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise RequestError(f"share must be a number from 0 to 1, got {share!r}")
        if n is not None:
            _whole("n", n, 1, None)
        elif share == 1:
            raise RequestError("share 1 leaves no room for real images; say how many items by n, or use dataset()")
        there = len(real) if hasattr(real, "__len__") else 0
        if not there and share < 1:
            raise RequestError("the real data set is empty or has no length; give a map-style torch Dataset with items")
        if there and (not isinstance(real[0], tuple | list) or len(real[0]) != 2):
            raise RequestError("the items of the real data set must be (image, target), as those of dataset() are")
        total = round(there / (1 - share)) if n is None else n
        return cls(real, source.dataset(int(total * share), seed, truncation, classes), share, total)

    def __len__(self) -> int:
        return self._n

    def is_synthetic(self, index: int) -> bool:
        """Whether the item is synthetic."""
        return int((index + 1) * self.share) > int(index * self.share)

    def __getitem__(self, index: int) -> Any:
        """The item, in the form that its data set has; real ones come round again where there are fewer than asked.

        Raises:
            IndexError: there is no such item.
        """
        if not -self._n <= index < self._n:
            raise IndexError(f"item {index} of {self._n}")
        index %= self._n
        before = int(index * self.share)
        if self.is_synthetic(index):
            image, target = self._synthetic[before]
            return image, target if self._target_type is None else torch.tensor(target, dtype=self._target_type)
        return self._real[(index - before) % len(self._real)]  # type: ignore[arg-type]


def _whole(name: str, value: Any, low: int, high: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise RequestError(f"{name} must be a whole number of at least {low}, got {value!r}")
    if high is not None and value > high:
        raise RequestError(f"{name} must be at most {high}, got {value!r}")
