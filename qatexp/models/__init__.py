"""Models: the members of the `model` group, and how any callable becomes a checked model."""

from __future__ import annotations

from qatexp.models.build import BuiltModel, build_model
from qatexp.models.cifar_resnet import (
    cifar_resnet20,
    cifar_resnet32,
    cifar_resnet44,
    cifar_resnet56,
)
from qatexp.models.digits_resnet import resnet8

__all__ = [
    "BuiltModel",
    "build_model",
    "cifar_resnet20",
    "cifar_resnet32",
    "cifar_resnet44",
    "cifar_resnet56",
    "resnet8",
]
