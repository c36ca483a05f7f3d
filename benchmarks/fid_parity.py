"""FID and KID of mammogan beside those of torch-fidelity, and torchmetrics' published values, from the same weights.

For developers, in an environment of its own (benchmarks/README.md), since torch-fidelity asks for torchvision, which
would replace torch. It is installed without what it asks for, and torchvision is stood in for by empty modules: no line
of it takes part in these numbers.

The published tensors are put under torch-fidelity's names; its last layer, which the file lacks, is filled with NaN,
so that no Inception Score can come out by accident. Images are brought to 299 px and whole grey levels before, so
that neither side resizes; what their resizes make of the tiles themselves is printed beside. Sets: phantoms, and real
mammograms where `--images` names a folder. The last line is one JSON object; `worst` is the largest relative
difference of an FID.
"""

import argparse
import importlib.machinery
import importlib.metadata
import sys
import tempfile
import types
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mammogan.data.phantom import draw
from mammogan.evaluation import weights
from mammogan.evaluation.features import features
from mammogan.evaluation.frechet import frechet_distance
from mammogan.evaluation.inception import Inception, load_inception
from mammogan.evaluation.kernel import kernel_distance
from measuring import last_line

Tiles = NDArray[np.uint8]

TILE_PX = 128
SUBSETS = 400
PHANTOMS = "phantoms, density B against D"
HALVES = "real mammograms, half against half"
BLURRED = "real mammograms against blurred ones"
OWN_RESIZE = {PHANTOMS, HALVES}


def stand_in_for_torchvision() -> None:
    """Empty modules under the names that torch-fidelity imports when it is imported."""
    names = {
        "torchvision": (),
        "torchvision.datasets": ("CIFAR10", "CIFAR100", "STL10"),
        "torchvision.transforms": (),
        "torchvision.transforms.functional": (),
    }
    for name, classes in names.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        for each in classes:
            setattr(module, each, type(each, (), {}))
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def under_their_names(file: Path, folder: Path) -> Path:
    """The published tensors as torch-fidelity's file, whose convolutions stand in the same order."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        published: dict[str, Tensor] = torch.jit.load(str(file)).state_dict()  # type: ignore[no-untyped-call]
    ours = [name.removesuffix(".weight") for name in published if name.endswith(".weight")]
    empty = folder / "empty.pth"
    torch.save({}, empty)

    class Unfilled(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, tensors: object) -> None:
            """Leave the weights as they are drawn."""

    built = Unfilled("names", ["2048"], feature_extractor_weights_path=str(empty)).state_dict()
    theirs = [name.removesuffix(".conv.weight") for name in built if name.endswith(".conv.weight")]
    tensors = {"fc.weight": torch.full((1008, 2048), torch.nan), "fc.bias": torch.full((1008,), torch.nan)}
    for name, mine in zip(theirs, ours, strict=True):
        beta = published[f"{mine}.beta"]
        tensors |= {
            f"{name}.conv.weight": published[f"{mine}.weight"],
            f"{name}.bn.weight": torch.ones_like(beta),
            f"{name}.bn.bias": beta,
            f"{name}.bn.running_mean": published[f"{mine}.mean"],
            f"{name}.bn.running_var": published[f"{mine}.var"],
            f"{name}.bn.num_batches_tracked": torch.zeros((), dtype=torch.long),
        }
    path = folder / "inception-2015-12-05.pth"
    torch.save(tensors, path)
    return path


class Colours(torch.utils.data.Dataset[Tensor]):
    """Grey images as torch-fidelity takes them, uint8 (3, H, W)."""

    def __init__(self, images: Tiles) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.images[index]).expand(3, -1, -1).contiguous()


def compared(net: Inception, real: Tiles, fake: Tiles, their_file: Path) -> dict[str, Any]:
    """The scores of both on two sets of images, uint8 (N, H, W)."""
    from torch_fidelity import calculate_metrics

    x, y = (features(net, side, 32, lambda _: None) for side in (real, fake))
    n = min(len(real), len(fake))
    found = calculate_metrics(
        input1=Colours(fake),
        input2=Colours(real),
        cuda=False,
        fid=True,
        kid=True,
        kid_subsets=SUBSETS,
        kid_subset_size=n // 2,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(their_file),
        batch_size=32,
        verbose=False,
        save_cpu_ram=True,
    )
    theirs = {"fid": found["frechet_inception_distance"], "kid": found["kernel_inception_distance_mean"]}
    # subsets of one size at random: their mean estimates the U-statistic over all images, within this error
    error = found["kernel_inception_distance_std"] / np.sqrt(SUBSETS)
    ours = {"fid": frechet_distance(x, y), "kid": kernel_distance(x, y)}
    return {
        "n_real": len(real),
        "n_fake": len(fake),
        "fid": ours["fid"],
        "fid_torch_fidelity": theirs["fid"],
        "fid_relative_difference": abs(ours["fid"] / theirs["fid"] - 1),
        "kid": ours["kid"],
        "kid_torch_fidelity": theirs["kid"],
        "kid_standard_errors_apart": abs(ours["kid"] - theirs["kid"]) / error,
    }


def doctests(net: Inception) -> dict[str, Any]:
    """The values that torchmetrics 1.9.0 prints in its documentation, from our network and our distances.

    There the network draws its first weights, later replaced, from the same seed before the images are drawn.
    """
    first = sets_of_doctest(net)
    pooled = [
        torch.cat([net.layers[:4](scaled(batch)).mean(dim=(2, 3)) for batch in torch.split(side, 4)]) for side in first
    ]
    fid = frechet_distance(*(side.numpy() for side in pooled))
    real, fake = (
        torch.cat([net(scaled(batch)) for batch in torch.split(side, 4)]).numpy() for side in sets_of_doctest(net)
    )
    drawn = [kernel_distance(*(side[torch.randperm(100)[:50].numpy()] for side in (real, fake))) for _ in range(100)]
    return {
        "fid_64": {"published": 12.6388, "here": fid},
        "kid_mean": {"published": 0.0312, "here": float(np.mean(drawn))},
        "kid_sd": {"published": 0.0025, "here": float(np.std(drawn))},
    }


def sets_of_doctest(net: Inception) -> list[Tensor]:
    torch.manual_seed(42)
    for convolution in (module for module in net.modules() if isinstance(module, torch.nn.Conv2d)):
        torch.nn.Conv2d(convolution.in_channels, convolution.out_channels, convolution.kernel_size, bias=False)  # type: ignore[arg-type]
    torch.nn.Linear(2048, 1008)
    return [torch.randint(low, high, (100, 3, 299, 299), dtype=torch.uint8) for low, high in ((0, 200), (100, 255))]


def scaled(batch: Tensor) -> Tensor:
    return (batch.float() - 128) / 128


def phantoms(first: int, n: int, density: str) -> Tiles:
    drawn = [draw(seed, "L", "CC", density, "none", 2 * TILE_PX)[0] for seed in range(first, first + n)]
    return sized(drawn, TILE_PX)


def mammograms(folder: Path) -> Tiles:
    files = sorted(file for file in folder.iterdir() if file.suffix == ".png")
    return sized([np.asarray(Image.open(file).convert("L")) for file in files], TILE_PX)


def sized(images: Iterable[Tiles], px: int) -> Tiles:
    """Whole grey levels (N, px, px)."""
    resized = [Image.fromarray(image).resize((px, px), Image.Resampling.BICUBIC) for image in images]
    return np.stack([np.asarray(image) for image in resized])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, metavar="DIR", help="also a folder of PNG mammograms, in two halves")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the JSON object here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stand_in_for_torchvision()
    file = weights.find_weights(None)
    net = load_inception(file)
    sets = {PHANTOMS: (phantoms(0, 32, "B"), phantoms(32, 24, "D"))}
    if options.images:
        real = mammograms(options.images)
        sets[HALVES] = (real[::2], real[1::2])
        blurred = sized(sized(real[1::2], TILE_PX // 4), TILE_PX)
        sets[BLURRED] = (real[::2], blurred)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        theirs = under_their_names(file, Path(folder))
        for name, (real, fake) in sets.items():
            at_299 = [sized(side, 299) for side in (real, fake)]
            rows[name] = compared(net, at_299[0], at_299[1], theirs)
            if name in OWN_RESIZE:
                own = compared(net, real, fake, theirs)
                rows[name]["fid_own_resize"] = {"mammogan": own["fid"], "torch_fidelity": own["fid_torch_fidelity"]}
            print(name, rows[name])
        published = doctests(net)
    print(published)
    versions = {name: importlib.metadata.version(name) for name in ("torch-fidelity", "numpy", "scipy")}
    worst = max(row["fid_relative_difference"] for row in rows.values())
    last_line({"bench": "fid_parity", "worst": worst, "sets": rows, "torchmetrics": published, **versions}, options.out)


if __name__ == "__main__":
    main()
