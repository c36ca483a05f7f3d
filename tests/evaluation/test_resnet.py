"""RadImageNet's network computes what torchvision computes with the same weights."""

import numpy as np
import pytest
import torch
from random_weights import random_weights

from mammogan.errors import EvaluationError
from mammogan.evaluation.resnet import ResNet50, build_resnet

# torchvision 0.28.0, resnet50 without its last layer, with these weights: the first four features of each image
OF_TORCHVISION = [[0.17020813, 0.05751775, 0.67414451, 0.7457577], [0.14416449, 0.11485252, 0.6628022, 0.60549921]]


def test_features_equal_those_of_torchvision():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 64, 64), dtype=np.float32))
    found = build_resnet(random_weights(ResNet50().state_dict()), "a file")(x)
    assert found.shape == (2, 2048)
    assert found[:, :4].numpy() == pytest.approx(np.array(OF_TORCHVISION), abs=1e-4)


def test_another_file_is_refused():
    with pytest.raises(EvaluationError, match=r"a file is not RadImageNet's ResNet50\.pt: Missing key"):
        build_resnet({"conv1.weight": torch.zeros(1)}, "a file")
