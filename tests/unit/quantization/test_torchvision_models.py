"""Architectures that no one wrote for quantization: the promise has to hold for all of them."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from qatexp.config.schema import ExportConfig, QConfig
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.prepare import prepare
from qatexp.runtimes import onnxruntime

pytestmark = pytest.mark.slow

OPTIONS = {"googlenet": {"aux_logits": False, "init_weights": False}}


def build(name) -> nn.Module:
    """A network whose batch norms have the statistics of a trained one."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, num_classes=10, **OPTIONS.get(name, {}))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return model.eval()


@pytest.mark.parametrize(
    "name",
    [
        "googlenet",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
    ],
)
def test_what_is_folded_is_what_is_converted_and_deployed(name, tmp_path):
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    config = QConfig()
    prepared = prepare(build(name), images, config).graph_module
    calibrate_(prepared, lambda: iter([images]), config.calibration)
    folded, _ = fold(prepared)
    converted = convert(folded)
    with torch.no_grad():
        expected = folded(images)
        assert torch.equal(converted(images), expected)
    path = tmp_path / "model.onnx"
    onnxruntime.export(converted, images[:2], path, ExportConfig())
    found = onnxruntime.load(path, threads=1, optimize=False)(images)
    assert (found.argmax(1) == expected.argmax(1)).sum() >= 6
    assert onnxruntime.describe(path, images[:1]).macs_int_share >= 0.9
