"""The FID network: Inception-v3 up to its last pooling, as TensorFlow's model of 2015-12-05 computes it.

Szegedy et al. 2016 (arXiv:1512.00567) describe the architecture; the weights are those of Heusel et al.
2017 (arXiv:1706.08500). Three details of the 2015 model differ from the later one and matter for the score:
average pooling leaves the padding out of the mean, the last block pools by maximum, batch norm has no scale.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mammogan.errors import EvaluationError

INPUT_PX = 299
FEATURES = 2048

_BN_EPSILON = 1e-3  # tf.nn.batch_norm_with_global_normalization in the graph of 2015-12-05
_CONVOLUTIONS = 94


class Inception(nn.Module):
    """Images (N, 3, 299, 299), float32, (grey level - 128) / 128 -> pool3 features (N, 2048), float32."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _Convolution(3, 32, 3, stride=2, padding=0),  # (N, 32, 149, 149)
            _Convolution(32, 32, 3, padding=0),
            _Convolution(32, 64, 3),
            nn.MaxPool2d(3, 2),  # (N, 64, 73, 73)
            _Convolution(64, 80, 1),
            _Convolution(80, 192, 3, padding=0),
            nn.MaxPool2d(3, 2),  # (N, 192, 35, 35)
            _block_35(192, pooled=32),
            _block_35(256, pooled=64),
            _block_35(288, pooled=64),
            _reduction_35(288),  # (N, 768, 17, 17)
            _block_17(768, inner=128),
            _block_17(768, inner=160),
            _block_17(768, inner=160),
            _block_17(768, inner=192),
            _reduction_17(768),  # (N, 1280, 8, 8)
            _block_8(1280, _average_pool()),
            _block_8(2048, nn.MaxPool2d(3, 1, padding=1)),  # (N, 2048, 8, 8)
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pool3 features of `x`."""
        features: Tensor = self.layers(x)
        return features


def load_inception(path: Path) -> Inception:
    """The network with the weights in `path` (weights.find_weights), in eval mode, on the CPU.

    Batch norm is folded into the convolutions and the memory format is channels_last: the same features to
    1e-5 in about half the time (docs/metrics-protocol.md).

    Raises:
        EvaluationError: `path` is not the FID network.
    """
    net = Inception()
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    tensors = _read_tensors(path)
    weights = [name for name in tensors if name.endswith(".weight")]
    if len(weights) != _CONVOLUTIONS:
        raise EvaluationError(
            f"{path} holds {len(weights)} convolutions where the FID network has {_CONVOLUTIONS};"
            " fetch it again with `mammogan weights`"
        )
    # The file and this module list the convolutions in the same order.
    for convolution, name in zip(convolutions, weights, strict=True):
        weight, bias = _fold(tensors, name.removesuffix(".weight"))
        assert convolution.bias is not None
        if convolution.weight.shape != weight.shape:
            raise EvaluationError(
                f"{path}: {name} has shape {tuple(weight.shape)}, expected {tuple(convolution.weight.shape)};"
                " fetch the FID network again with `mammogan weights`"
            )
        convolution.weight.data = weight.float().contiguous(memory_format=torch.channels_last)
        convolution.bias.data = bias.float()
    return net.eval().requires_grad_(False)


class _Convolution(nn.Conv2d):
    """Convolution with its folded batch norm, then ReLU; keeps the size unless `padding` says otherwise."""

    def __init__(
        self,
        channels: int,
        maps: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        same = (height // 2, width // 2)
        super().__init__(channels, maps, kernel, stride, same if padding is None else padding)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu_()


class _Branches(nn.ModuleList):
    """The same input through each branch, concatenated along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


def _average_pool() -> nn.Module:
    return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)


def _block_35(channels: int, pooled: int) -> nn.Module:
    return _Branches(
        [
            _Convolution(channels, 64, 1),
            nn.Sequential(_Convolution(channels, 48, 1), _Convolution(48, 64, 5)),
            nn.Sequential(_Convolution(channels, 64, 1), _Convolution(64, 96, 3), _Convolution(96, 96, 3)),
            nn.Sequential(_average_pool(), _Convolution(channels, pooled, 1)),
        ]
    )


def _reduction_35(channels: int) -> nn.Module:
    return _Branches(
        [
            _Convolution(channels, 384, 3, stride=2, padding=0),
            nn.Sequential(
                _Convolution(channels, 64, 1),
                _Convolution(64, 96, 3),
                _Convolution(96, 96, 3, stride=2, padding=0),
            ),
            nn.MaxPool2d(3, 2),
        ]
    )


def _block_17(channels: int, inner: int) -> nn.Module:
    row, column = (1, 7), (7, 1)
    return _Branches(
        [
            _Convolution(channels, 192, 1),
            nn.Sequential(
                _Convolution(channels, inner, 1),
                _Convolution(inner, inner, row),
                _Convolution(inner, 192, column),
            ),
            nn.Sequential(
                _Convolution(channels, inner, 1),
                _Convolution(inner, inner, column),
                _Convolution(inner, inner, row),
                _Convolution(inner, inner, column),
                _Convolution(inner, 192, row),
            ),
            nn.Sequential(_average_pool(), _Convolution(channels, 192, 1)),
        ]
    )


def _reduction_17(channels: int) -> nn.Module:
    return _Branches(
        [
            nn.Sequential(_Convolution(channels, 192, 1), _Convolution(192, 320, 3, stride=2, padding=0)),
            nn.Sequential(
                _Convolution(channels, 192, 1),
                _Convolution(192, 192, (1, 7)),
                _Convolution(192, 192, (7, 1)),
                _Convolution(192, 192, 3, stride=2, padding=0),
            ),
            nn.MaxPool2d(3, 2),
        ]
    )


def _block_8(channels: int, pool: nn.Module) -> nn.Module:
    return _Branches(
        [
            _Convolution(channels, 320, 1),
            nn.Sequential(_Convolution(channels, 384, 1), _row_and_column()),
            nn.Sequential(_Convolution(channels, 448, 1), _Convolution(448, 384, 3), _row_and_column()),
            nn.Sequential(pool, _Convolution(channels, 192, 1)),
        ]
    )


def _row_and_column() -> nn.Module:
    return _Branches([_Convolution(384, 384, (1, 3)), _Convolution(384, 384, (3, 1))])


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Names and tensors in the TorchScript archive, in the order of the file."""
    try:
        with warnings.catch_warnings():
            # The archive is the published form of the weights; nothing of it is run.
            warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
            archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as err:
        reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        raise EvaluationError(f"{path} is not the FID network ({reason}); fetch it with `mammogan weights`") from None
    tensors: dict[str, Tensor] = archive.state_dict()
    return tensors


def _fold(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Weight and bias, float64, of the convolution `name` followed by its batch norm."""
    weight, beta, mean, var = (tensors[f"{name}.{part}"].double() for part in ("weight", "beta", "mean", "var"))
    scale = (var + _BN_EPSILON).rsqrt()  # (maps,)
    return weight * scale[:, None, None, None], beta - mean * scale
