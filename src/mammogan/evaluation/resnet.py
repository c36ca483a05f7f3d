"""ResNet-50 up to its last pooling, as RadImageNet's PyTorch file holds it.

He et al. 2015 (arXiv:1512.03385), the stride of a block on its 3 x 3 convolution; the weights are those of Mei et al.
2022 (RadImageNet, doi:10.1148/ryai.210315). Modules are called as in the published file (`ResNet50.pt`).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from mammogan.errors import EvaluationError

FEATURES = 2048


class ResNet50(nn.Module):
    """Images (N, 3, 224, 224), float32, in [-1, 1] -> pooled features (N, 2048), float32."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),  # (N, 64, 56, 56)
            _stage(64, 64, blocks=3, stride=1),
            _stage(256, 128, blocks=4, stride=2),
            _stage(512, 256, blocks=6, stride=2),
            _stage(1024, 512, blocks=3, stride=2),  # (N, 2048, 7, 7)
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pooled features of `x`."""
        found: Tensor = self.backbone(x).flatten(1)
        return found


def build_resnet(tensors: Mapping[str, Tensor], called: str) -> ResNet50:
    """The network with `tensors` in it, in eval mode; `called` names their file in errors.

    Raises:
        EvaluationError: they are not RadImageNet's ResNet-50.
    """
    net = ResNet50()
    try:
        net.load_state_dict(dict(tensors))
    except RuntimeError as err:
        raise EvaluationError(
            f"{called} is not RadImageNet's ResNet50.pt: {str(err).splitlines()[1].strip()[:200]}"
        ) from None
    return net.eval().requires_grad_(False)


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * inner)
        changes = stride > 1 or channels != 4 * inner
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner))
            if changes
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        added: Tensor = self.bn3(self.conv3(y)) + self.downsample(x)
        return added.relu()


def _stage(channels: int, inner: int, blocks: int, stride: int) -> nn.Module:
    later = [_Bottleneck(4 * inner, inner, 1) for _ in range(blocks - 1)]
    return nn.Sequential(_Bottleneck(channels, inner, stride), *later)
