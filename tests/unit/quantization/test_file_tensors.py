"""Tensor k of the converted model is tensor k of its file, and the reference predicts its codes."""

import numpy as np
import onnx
import pytest
import torch
import torchvision
from torch import nn

from qatexp.config.schema import Backend, ExportConfig, LayerRule, QConfig
from qatexp.models import cifar_resnet
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.prepare import prepare
from qatexp.runtimes import onnxruntime, reference
from qatexp.runtimes.codes import quantized_names


def exported(model, images, path, *, weight_bits=8, activation_bits=8, **options):
    """Calibrate, convert and export; returns the converted model."""
    config = QConfig(**options)
    config.weight.bits, config.activation.bits = weight_bits, activation_bits
    prepared = prepare(model, images, config).graph_module
    calibrate_(prepared, lambda: iter([images]), config.calibration)
    folded, _ = fold(prepared.eval())
    converted = convert(folded)
    onnxruntime.export(converted, images[:2], path, ExportConfig())
    return converted


def grids(path):
    """Scale and zero point of every QuantizeLinear in a file, in its order."""
    graph = onnx.load(path).graph
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    nodes = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    return [(float(constants[n.input[1]]), int(constants[n.input[2]])) for n in nodes]


def check_names(converted, path):
    quantize = torch.ops.quantized_decomposed.quantize_per_tensor.default
    nodes = [node for node in converted.graph.nodes if node.target is quantize]
    assert quantized_names(path) == tuple(f"q{index}" for index in range(len(nodes)))
    assert grids(path) == [(float(np.float32(n.args[1])), n.args[2]) for n in nodes]


def check_codes(path, images):
    """All codes and logits as the optimized runtime's; returns the reference's result."""
    found = reference.run(path, images)
    expected = onnxruntime.quantized_tensors(path, images, optimize=True)
    assert {*found.tensors, "logits"} == {*quantized_names(path), "logits"} == set(expected)
    for name, codes in found.tensors.items():
        different = int((codes != expected[name]).sum())
        assert different == 0, f"{different} of {codes.size} codes of {name} differ"
    np.testing.assert_array_equal(found.logits, expected["logits"])
    return found


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "backend"),
    [
        (8, 8, Backend.onnxruntime),
        (4, 4, Backend.onnxruntime),
        (2, 2, Backend.onnxruntime),
        (8, 8, Backend.xnnpack),
        (4, 4, Backend.xnnpack),
        (8, 8, Backend.fbgemm),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_reference_predicts_every_code(  # noqa: PLR0917  parametrized
    odd_net, images, tmp_path, weight_bits, activation_bits, backend
):
    path, bits = tmp_path / "model.onnx", (weight_bits, activation_bits)
    options = {"weight_bits": bits[0], "activation_bits": bits[1], "backend": backend}
    converted = exported(odd_net, images, path, **options)
    check_names(converted, path)
    assert check_codes(path, images).unmodelled == ()


def test_a_layer_in_float_is_named(odd_net, images, tmp_path):
    path = tmp_path / "model.onnx"
    rules = [LayerRule(match="grouped", skip=True)]
    check_names(exported(odd_net, images, path, layers=rules), path)
    assert reference.run(path, images).unmodelled == ("Conv node_conv2d_2",)


def swish_net():
    """MobileNetV3's block: values in float between quantized tensors, and a gate."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.gate = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 1)
            self.swish, self.sigmoid = nn.Hardswish(), nn.Hardsigmoid()
            self.head = nn.Linear(8, 5)

        def forward(self, x):
            x = self.swish(self.conv(x))
            x = x * self.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(x, 1)))
            return self.head(x.mean([2, 3]))

    torch.manual_seed(0)
    return Gated().eval()


def test_float_operators_between_quantizers_are_predicted_too(images, tmp_path):
    path = tmp_path / "model.onnx"
    check_names(exported(swish_net(), images, path), path)
    assert "HardSigmoid" in onnxruntime.describe(path, images[:1]).ops_float
    assert check_codes(path, images).unmodelled == ()


def vision(name, **options):
    torch.manual_seed(0)
    return getattr(torchvision.models, name)(num_classes=10, **options).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(cifar_resnet.cifar_resnet20, id="resnet20"),
        pytest.param(lambda: vision("mobilenet_v2"), id="mobilenet_v2"),
        pytest.param(lambda: vision("mobilenet_v3_small"), id="mobilenet_v3_small"),
        pytest.param(lambda: vision("shufflenet_v2_x0_5"), id="shufflenet_v2_x0_5"),
    ],
)
def test_real_networks_keep_names_and_kernels_and_codes(tmp_path, build):
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    check_names(exported(build().eval(), images, path), path)
    assert check_codes(path, images).unmodelled == ()
    # Reading the tensors changed nothing for what is computed from them.
    plain = onnxruntime.load(path, threads=1)(images)
    tensors = onnxruntime.quantized_tensors(path, images, optimize=True)
    assert torch.equal(plain, torch.from_numpy(tensors["logits"]))
