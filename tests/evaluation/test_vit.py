"""DINOv2's network computes what the transformers library computes with the same weights."""

import numpy as np
import pytest
import torch
from random_weights import random_weights

from mammogan.errors import EvaluationError
from mammogan.evaluation.vit import ViT, build_vit

# transformers 4.57.6, Dinov2Model of Dinov2Config(hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
# image_size=56, patch_size=14), with these weights: the first four numbers of each image's class token
OF_TRANSFORMERS = {
    56: [[0.22458695, 0.94717413, -1.46269953, 0.94003934], [0.86242974, 1.58619082, -0.52686733, -0.47626677]],
    84: [[0.44734314, 1.04234874, -1.87695158, 1.01492751], [0.7315789, 0.68475389, 1.12845159, 0.7659421]],
}


def published() -> dict[str, torch.Tensor]:
    return random_weights({**ViT(128, 2, 4).state_dict(), "embeddings.mask_token": torch.zeros(1, 128)})


@pytest.mark.parametrize("px", OF_TRANSFORMERS)  # 84 px: positions are interpolated
def test_class_tokens_equal_those_of_transformers(px):
    x = torch.from_numpy(np.random.default_rng(px).standard_normal((2, 3, px, px), dtype=np.float32))
    found = build_vit(published(), "a file")(x)
    assert found.shape == (2, 128)
    assert found[:, :4].numpy() == pytest.approx(np.array(OF_TRANSFORMERS[px]), abs=1e-4)


@pytest.mark.parametrize(("dims", "depth", "millions"), [(384, 12, 22), (768, 12, 87), (1024, 24, 304)])
def test_sizes_have_as_many_weights_as_published(dims, depth, millions):  # arXiv:2304.07193, table 17, with positions
    with torch.device("meta"):
        net = ViT(dims, depth, 37)
    assert sum(weights.numel() for weights in net.parameters()) == pytest.approx(millions * 1e6, abs=5e5)


@pytest.mark.parametrize("missing", ["embeddings.position_embeddings", "layernorm.bias"])
def test_another_file_is_refused(missing):
    tensors = published()
    del tensors[missing]
    with pytest.raises(EvaluationError, match=r"a file (holds no|does not fit a) DINOv2"):
        build_vit(tensors, "a file")
