"""The path of qatexp in a few calls, on images that serve for calibration and for training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, fx, nn

from qatexp.config.schema import ExportConfig, QConfig
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.prepare import prepare
from qatexp.runtimes import onnxruntime


def qconfig(weight_bits=8, activation_bits=8, **options) -> QConfig:
    config = QConfig(**options)
    config.weight.bits, config.activation.bits = weight_bits, activation_bits
    return config


def trained(model: nn.Module, images: Tensor, config: QConfig, *, steps=3) -> fx.GraphModule:
    """Prepare, calibrate and train a few real steps."""
    graph_module = prepare(model, images, config).graph_module
    calibrate_(graph_module, lambda: iter([images]), config.calibration)
    train_(graph_module, images, steps=steps)
    graph_module.eval()(images)
    return graph_module


def train_(graph_module: fx.GraphModule, images: Tensor, *, steps: int, lr=0.001) -> None:
    torch.manual_seed(0)  # of dropout, and of the images that the scales' gradients are read from
    optimizer = torch.optim.SGD(graph_module.parameters(), lr=lr)
    graph_module.train()
    labels = torch.arange(len(images)) % 5
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(graph_module(images), labels).backward()
        optimizer.step()


def deployed(model: nn.Module, images: Tensor, config: QConfig, path: Path) -> fx.GraphModule:
    """Train, fold, convert and write a file; returns the converted graph."""
    folded, _ = fold(trained(model, images, config))
    converted = convert(folded)
    onnxruntime.export(converted, images[:2], path, ExportConfig())
    return converted
