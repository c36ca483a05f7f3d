"""The FID network is the published one, weight for weight and number for number."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mammogan.errors import EvaluationError
from mammogan.evaluation.frechet import frechet_distance
from mammogan.evaluation.inception import load_inception


def test_features_equal_those_of_the_published_network(net, network_file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        published = torch.jit.load(str(network_file)).eval()
    x = torch.randn(3, 3, 299, 299, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    x[1] = x[1, :1] * torch.linspace(0, 1, 299)  # three equal channels, as of a grey image
    x[2] = -1  # black
    with torch.inference_mode():
        expected = published(x)
        found = net(x)
    assert found.shape == (3, 2048)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    assert expected.max() > 1


def test_the_published_doctest_value_of_torchmetrics_comes_out(net):
    # torchmetrics 1.9.0, image/fid.py: 12.6388 with 64 features after the first pooling, seed 42. There the
    # network draws its first weights, later replaced, before the images are drawn.
    torch.manual_seed(42)
    for convolution in (module for module in net.modules() if isinstance(module, nn.Conv2d)):
        nn.Conv2d(convolution.in_channels, convolution.out_channels, convolution.kernel_size, bias=False)
    nn.Linear(2048, 1008)
    real = torch.randint(0, 200, (100, 3, 299, 299), dtype=torch.uint8)
    fake = torch.randint(100, 255, (100, 3, 299, 299), dtype=torch.uint8)

    def first_features(images: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            batches = [net.layers[:4]((batch.float() - 128) / 128) for batch in images.split(4)]
            return torch.cat([maps.mean(dim=(2, 3)) for maps in batches]).numpy()

    assert frechet_distance(first_features(real), first_features(fake)) == pytest.approx(12.6388, abs=5e-5)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"no archive")
    with pytest.raises(EvaluationError, match=r"weights\.pt is not the FID network"):
        load_inception(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # making the foreign archive takes TorchScript
def test_another_network_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.jit.script(nn.Sequential(nn.Conv2d(1, 1, 3))).save(str(path))
    with pytest.raises(EvaluationError, match="1 convolutions where the FID network has 94"):
        load_inception(path)
