"""A small ResNet for the 8x8 digits: three residual blocks of 16, 32 and 64 channels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the name that everybody uses)

_WIDTHS = (16, 32, 64)


class ProjectionBlock(nn.Module):
    """Two 3x3 convolutions; a 1x1 convolution carries the shortcut where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet8(nn.Module):
    """Stem, three blocks, global average pool and one linear layer.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
    """

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.blocks = nn.Sequential(
            ProjectionBlock(_WIDTHS[0], _WIDTHS[0], 1),
            ProjectionBlock(_WIDTHS[0], _WIDTHS[1], 2),
            ProjectionBlock(_WIDTHS[1], _WIDTHS[2], 2),
        )
        self.linear = nn.Linear(_WIDTHS[2], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W), float, to logits (N, num_classes)."""
        out = self.blocks(F.relu(self.bn1(self.conv1(x))))
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)
        return self.linear(out)  # type: ignore[no-any-return]


def resnet8(num_classes: int = 10, in_channels: int = 1) -> ResNet8:
    """ResNet-8: 77,754 parameters with 10 classes and 1 input channel."""
    return ResNet8(num_classes=num_classes, in_channels=in_channels)
