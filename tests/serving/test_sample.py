"""Drawing by class and in another number format; what else `sample` promises is in tests/models/test_models.py."""

import copy
import csv
import json

import numpy as np
import pytest
import torch

from mammogan.config import GenerateConfig
from mammogan.models import Classes, build
from mammogan.models.generator import Generator
from mammogan.serving.generate import generate
from mammogan.serving.images import png
from mammogan.serving.sample import draw_classes, drawing, sample
from small_networks import with_contrast

CANCER = Classes("cancer", ("0", "1"), (0.75, 0.25))


class FlatOfItsClass(Generator):
    """Draws class 0 black and class 1 white, and remembers what it was asked for."""

    z_dim, resolution, classes = 3, 32, CANCER

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.asked = []
        self.eval()

    def forward(self, z, classes=None, *, truncation=1.0, noise=None):
        self.asked.append((z, classes))
        return (2.0 * classes - 1)[:, None, None, None].expand(-1, 1, 32, 32)


def whites(images: torch.Tensor) -> list[int]:
    return [int(image.float().mean() > 127) for image in images]


def test_each_image_of_a_conditional_generator_has_the_class_of_its_index():
    G = FlatOfItsClass()
    drawn = draw_classes(G, 40, seed=7)
    assert whites(sample(G, 40, seed=7)) == drawn.tolist()
    assert whites(sample(G, 5, seed=7, first=20)) == drawn[20:25].tolist()
    assert draw_classes(G, 5, seed=7, first=20).tolist() == drawn[20:25].tolist()


def test_classes_are_drawn_as_often_as_in_training():
    drawn = draw_classes(FlatOfItsClass(), 2000, seed=1)
    assert drawn.dtype == np.int64
    assert drawn.mean() == pytest.approx(0.25, abs=0.04)  # four standard errors


def test_the_class_does_not_follow_from_the_latent():
    G = FlatOfItsClass()
    sample(G, 2000, seed=1)
    z, classes = (torch.cat(parts) for parts in zip(*G.asked, strict=True))
    for each in z.T:
        assert abs(np.corrcoef(each, classes)[0, 1]) < 0.1


def test_classes_that_are_asked_for_are_drawn_whatever_the_split():
    G = FlatOfItsClass()
    asked = np.array([1, 1, 0, 1, 0, 0, 1], np.int64)
    assert whites(sample(G, 7, seed=7, batch_size=3, classes=asked)) == asked.tolist()
    assert [len(z) for z, _ in G.asked] == [3, 3, 3]


def test_classes_of_another_number_are_refused():
    with pytest.raises(ValueError, match="expected one for each of the 3 images"):
        sample(FlatOfItsClass(), 3, seed=7, classes=np.array([0, 1], np.int64))


def test_an_unconditional_generator_has_no_classes(generator):
    with pytest.raises(ValueError, match="unconditional"):
        sample(generator, 1, seed=7, classes=np.array([0], np.int64))
    with pytest.raises(ValueError, match="unconditional"):
        draw_classes(generator, 1, seed=7)


def test_the_networks_of_mammogan_are_drawn_by_class(train_config):
    torch.manual_seed(0)
    conditional = {
        model: build(train_config.model_copy(update={"model": model}), 32, CANCER)[0].eval()
        for model in ("dcgan", "stylegan")
    }
    with_contrast(conditional["dcgan"])
    for G in conditional.values():
        benign, cancer = (sample(G, 3, seed=7, classes=np.full(3, number)) for number in (0, 1))
        assert not torch.equal(benign, cancer)
        drawn = sample(G, 3, seed=7)
        assert torch.equal(
            drawn, torch.where(torch.from_numpy(draw_classes(G, 3, 7))[:, None, None, None] == 1, cancer, benign)
        )


def test_a_synthetic_set_lists_the_class_of_each_image(tmp_path, stamp):
    G = FlatOfItsClass()
    generate(GenerateConfig(n_images=20, seed=7, truncation=1.0), G, stamp, tmp_path / "set")
    with (tmp_path / "set" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["file", "index", "seed", "cancer", "manifest_id", "sha256"]
    assert [int(row["cancer"]) for row in rows] == draw_classes(G, 20, 7).tolist()
    first = png(sample(G, 1, 7)[0, 0].numpy(), stamp, 7, 0, 1.0, {"cancer": rows[0]["cancer"]})
    assert (tmp_path / "set" / rows[0]["file"]).read_bytes() == first


def test_fp32_is_the_generator_itself_and_bf16_a_copy_that_draws_nearly_the_same(generator):
    G = with_contrast(copy.deepcopy(generator))
    assert drawing(G, "fp32") is G
    half = drawing(G, "bf16")
    images, rough = (sample(each, 20, seed=7).int() for each in (G, half))
    assert 0 < (images - rough).abs().float().mean() < 0.5
    assert torch.equal(rough[16:], sample(half, 4, seed=7, first=16).int())


def test_the_set_tells_the_number_format_it_was_drawn_in(tmp_path, generator, stamp):
    config = GenerateConfig(n_images=2, seed=7, truncation=1.0)
    for precision in ("fp32", "bf16"):
        generate(config, generator, stamp, tmp_path / precision, precision)
        assert json.loads((tmp_path / precision / "manifest.json").read_text())["precision"] == precision


def test_a_number_format_that_loses_bits_or_is_unknown_is_refused(generator, monkeypatch):
    with pytest.raises(ValueError, match="unknown number format fp8; known are fp32, bf16"):
        drawing(generator, "fp8")
    monkeypatch.setattr(generator, "bits", 16)
    with pytest.raises(ValueError, match="eight of the 16 bits"):
        drawing(generator, "bf16")
