"""Normalisation: which mean and standard deviation, and their application on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from qatexp.config.schema import DatasetConfig
from qatexp.errors import ConfigError

# What networks pretrained on ImageNet expect; a convention for all photographs.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normaliser:
    """Turn uint8 images into float32: ``(images / 255 - mean) / std``, per channel."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], *, device: torch.device
    ) -> None:
        self.mean, self.std = mean, std
        exact_mean = torch.tensor(mean, dtype=torch.float64)
        exact_std = torch.tensor(std, dtype=torch.float64)
        # One multiplication and one addition, both in place.
        self._scale = (1 / (255 * exact_std)).to(device, torch.float32)[:, None, None]
        self._shift = (-exact_mean / exact_std).to(device, torch.float32)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        """Return a new, contiguous tensor of shape (N, C, H, W)."""
        converted = images.to(torch.float32, memory_format=torch.contiguous_format)
        return converted.mul_(self._scale).add_(self._shift)


def configured_normalisation(
    config: DatasetConfig, *, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the configured mean and std, None if neither is set.

    Raises:
        ConfigError: only one is set, their length is not the number of channels, or a std is not
            above 0.
    """
    if config.mean is None and config.std is None:
        return None
    if config.mean is None or config.std is None:
        missing = "mean" if config.mean is None else "std"
        raise ConfigError(
            f"dataset.{missing} is not set; dataset.mean and dataset.std belong together: set "
            "both, or neither to have them measured."
        )
    for key, values in (("mean", config.mean), ("std", config.std)):
        if len(values) != channels:
            raise ConfigError(
                f"dataset.{key}={values} has {len(values)} values; allowed: {channels}, one for "
                "each channel of the images."
            )
    if not all(value > 0 for value in config.std):
        raise ConfigError(f"dataset.std={config.std} is not possible; allowed: above 0.")
    return tuple(config.mean), tuple(config.std)


def conventional_normalisation(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return ImageNet's values for RGB, else 0.5, which maps to -1..1."""
    if channels == 3:
        return IMAGENET_MEAN, IMAGENET_STD
    return (0.5,) * channels, (0.5,) * channels
