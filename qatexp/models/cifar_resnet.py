"""The ResNets for 32x32 images of He et al. 2015 (arXiv:1512.03385, section 4.2).

Shortcuts are the paper's option A, which has no parameters. Parameters are named as in the
checkpoints that people share (GitHub akamaster/pytorch_resnet_cifar10), so that those load as
they are.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the name that everybody uses)

_WIDTHS = (16, 32, 64)


class PadShortcut(nn.Module):
    """Option A: take every second pixel and fill the new channels with zeros, on both sides.

    Args:
        channels: channels of the output, (N, channels / 2, H, W) -> (N, channels, H / 2, W / 2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.padding = channels // 4

    def forward(self, x: Tensor) -> Tensor:
        """Halve the image, double the channels."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut around them; `stride` 2 also doubles the channels."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity() if stride == 1 else PadShortcut(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """A ResNet of 6n + 2 layers in three stages of 16, 32 and 64 channels.

    Args:
        blocks: n, the number of blocks of each stage.
        num_classes: number of logits.
        in_channels: channels of the images.
    """

    def __init__(self, blocks: int, *, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], blocks)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks)
        self.linear = nn.Linear(_WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, in_channels, H, W), float, to logits (N, num_classes)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.adaptive_avg_pool2d(out, 1).flatten(1)
        return self.linear(out)  # type: ignore[no-any-return]


def cifar_resnet20(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-20: 269,722 parameters with 10 classes and 3 input channels."""
    return CifarResNet(3, num_classes=num_classes, in_channels=in_channels)


def cifar_resnet32(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-32: 464,154 parameters with 10 classes and 3 input channels."""
    return CifarResNet(5, num_classes=num_classes, in_channels=in_channels)


def cifar_resnet44(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-44: 658,586 parameters with 10 classes and 3 input channels."""
    return CifarResNet(7, num_classes=num_classes, in_channels=in_channels)


def cifar_resnet56(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-56: 853,018 parameters with 10 classes and 3 input channels."""
    return CifarResNet(9, num_classes=num_classes, in_channels=in_channels)


def _stage(in_channels: int, channels: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride=1 if in_channels == channels else 2)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))
