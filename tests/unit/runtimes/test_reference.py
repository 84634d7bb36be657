"""The reference predicts the optimized runtime code for code, operator by operator."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from qatexp.runtimes import onnxruntime, reference

TYPES = pytest.mark.parametrize("dtype", [np.uint8, np.int8], ids=["unsigned", "signed"])
SEEDS = range(8)
CHANNELS, SIZE = 5, 7


def random_grid(rng, dtype, name):
    """Scale and zero point of one tensor, anywhere in the range of the type."""
    info = np.iinfo(dtype)
    scale = np.float32(round(rng.uniform(0.005, 0.05), 4))  # short numbers meet in ties
    zero_point = np.array(rng.integers(info.min, info.max + 1), dtype)
    return {f"{name}_scale": scale, f"{name}_zero": zero_point}


def quantizer(name, value):
    parameters = [f"{name}_scale", f"{name}_zero"]
    return [
        helper.make_node("QuantizeLinear", [value, *parameters], [name]),
        helper.make_node("DequantizeLinear", [name, *parameters], [f"{name}_value"]),
    ]


def save(path, nodes, constants, outputs=("q2_value",)):
    batch = ["batch", "channels", "height", "width"]
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, batch)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    opset = helper.make_opsetid("", 21)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)


def between_quantizers(path, operator, dtype, seed, *, inputs=2, grids=None, **attributes):
    """A file: the two halves of the image quantized apart, the operator, a third quantizer."""
    rng = np.random.default_rng(seed)
    values = {}
    for name in ("q0", "q1", "q2"):
        values |= random_grid(rng, dtype, name)
    values |= grids or {}
    read = ["q0_value", "q1_value"][:inputs]
    nodes = [
        helper.make_node("Split", ["images"], ["left", "right"], axis=1, num_outputs=2),
        *quantizer("q0", "left"),
        *(quantizer("q1", "right") if inputs == 2 else []),
        helper.make_node(operator, read, ["result"], **attributes),
        *quantizer("q2", "result"),
    ]
    save(path, nodes, values)


def compare(path, images):
    """Run both; returns the reference's result where all codes and logits are equal."""
    expected = onnxruntime.quantized_tensors(path, images, optimize=True)
    found = reference.run(path, images)
    for name, codes in found.tensors.items():
        different = int((codes != expected[name]).sum())
        assert different == 0, f"{different} of {codes.size} codes of {name} differ"
    np.testing.assert_array_equal(found.logits, next(iter(expected.values())))
    assert {"q0", "q2"} <= set(found.tensors) <= set(expected)
    return found


@pytest.fixture
def images():
    return torch.randn(4, 2 * CHANNELS, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@TYPES
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("operator", "options"),
    [
        ("Add", {}),
        ("Mul", {}),
        ("Concat", {"axis": 1}),
        ("GlobalAveragePool", {"inputs": 1}),
        ("LeakyRelu", {"inputs": 1, "alpha": 0.3}),
        ("Sigmoid", {"inputs": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_operator_gives_the_codes_of_the_fused_kernel(  # noqa: PLR0917  parametrized
    images, tmp_path, operator, options, dtype, seed
):
    path = tmp_path / "model.onnx"
    between_quantizers(path, operator, dtype, seed, **options)
    assert onnxruntime.describe(path, images).ops_int == {f"QLinear{operator}": 1}
    assert compare(path, images).unmodelled == ()


def test_a_sum_rounds_as_two_fused_multiply_adds_do(tmp_path):
    """All pairs of codes, on grids where the order and every rounding on the way show at ties."""
    scales = {"q0_scale": 0.0498, "q1_scale": 0.0192, "q2_scale": 0.0132}
    zeros = {"q0_zero": 70, "q1_zero": 224, "q2_zero": 69}
    grids = {name: np.float32(value) for name, value in scales.items()}
    grids |= {name: np.array(value, np.uint8) for name, value in zeros.items()}
    left = (torch.arange(256) - 70).view(1, 1, 256, 1) * 0.0498
    right = (torch.arange(256) - 224).view(1, 1, 1, 256) * 0.0192
    images = torch.cat([item.expand(1, 1, 256, 256) for item in (left, right)], dim=1)
    path = tmp_path / "model.onnx"
    between_quantizers(path, "Add", np.uint8, 0, grids=grids)
    tensors = compare(path, images).tensors
    assert len({*zip(tensors["q0"].flat, tensors["q1"].flat, strict=True)}) == 256 * 256


@TYPES
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [0, 1], ids=["without padding", "with padding"])
def test_an_average_pool_sums_in_the_order_of_the_kernel(images, tmp_path, dtype, seed, count):
    path = tmp_path / "model.onnx"
    pool = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    between_quantizers(path, "AveragePool", dtype, seed, inputs=1, count_include_pad=count, **pool)
    assert onnxruntime.describe(path, images).ops_int == {"QLinearAveragePool": 1}
    assert compare(path, images).unmodelled == ()


def layer_between_quantizers(path, dtype, seed, weight, bias, *, conv, grids=None):
    """A file: the left half of the image quantized, a layer with integer weights, a quantizer."""
    rng = np.random.default_rng(seed)
    values = random_grid(rng, dtype, "q0") | random_grid(rng, dtype, "q2")
    channels = len(weight)
    values["scales"] = rng.uniform(0.001, 0.004, channels).astype(np.float32)
    values |= {"weight": weight, "zeros": np.zeros(channels, np.int8), "bias": bias} | (grids or {})
    read = ["q0_value"]
    nodes = [
        helper.make_node("Split", ["images"], ["left", "right"], axis=1, num_outputs=2),
        *quantizer("q0", "left"),
        helper.make_node("DequantizeLinear", ["weight", "scales", "zeros"], ["w"], axis=0),
    ]
    if conv is None:
        nodes.append(helper.make_node("Flatten", ["q0_value"], ["flat"]))
        nodes += quantizer_like("q0", "flat")
        read = ["flat_codes_value"]
        nodes.append(helper.make_node("Gemm", [*read, "w", "bias"], ["result"], transB=1))
    else:
        nodes.append(helper.make_node("Conv", [*read, "w", "bias"], ["result"], **conv))
    save(path, [*nodes, *quantizer("q2", "result")], values)


def quantizer_like(name, value):
    """Quantize a view of a tensor on that tensor's grid."""
    parameters = [f"{name}_scale", f"{name}_zero"]
    codes = f"{value}_codes"
    return [
        helper.make_node("QuantizeLinear", [value, *parameters], [codes]),
        helper.make_node("DequantizeLinear", [codes, *parameters], [f"{codes}_value"]),
    ]


def conv_attributes(*, pads=0, stride=1, dilation=1, group=1):
    return {
        "kernel_shape": [3, 3],
        "pads": [pads, pads, pads + 1, pads] if pads else [0] * 4,
        "strides": [stride] * 2,
        "dilations": [dilation] * 2,
        "group": group,
    }


@TYPES
@pytest.mark.parametrize(
    "conv",
    [
        pytest.param(conv_attributes(), id="plain"),
        pytest.param(conv_attributes(pads=1), id="padded with the zero point, unevenly"),
        pytest.param(conv_attributes(pads=1, stride=2), id="strided"),
        pytest.param(conv_attributes(pads=1, dilation=2), id="dilated"),
        pytest.param(conv_attributes(pads=1, group=CHANNELS), id="depthwise"),
        pytest.param(None, id="linear"),
    ],
)
def test_a_layer_gives_the_codes_of_the_fused_kernel(images, tmp_path, dtype, conv):
    rng = np.random.default_rng(1)
    inputs = CHANNELS * SIZE * SIZE if conv is None else CHANNELS // conv["group"]
    shape = (2 * CHANNELS, inputs) if conv is None else (2 * CHANNELS, inputs, 3, 3)
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    bias = rng.normal(0, 1, 2 * CHANNELS).astype(np.float32)
    path = tmp_path / "model.onnx"
    layer_between_quantizers(path, dtype, 2, weight, bias, conv=conv)
    assert onnxruntime.describe(path, images).macs_int_share == 1.0
    assert compare(path, images).unmodelled == ()


def test_sums_beyond_the_integers_of_float32_stay_exact(tmp_path):
    """Products that reach 80 million on the way and cancel, up to a few units, in the end."""
    half, size = CHANNELS * 32 * 16, 32
    rng = np.random.default_rng(1)
    positive = rng.integers(64, 128, (12, half)).astype(np.int8)
    weight = np.concatenate([positive, -positive], axis=1)
    images = torch.full((4, 2 * CHANNELS, size, size), 100.0)
    images[:, CHANNELS - 1, -1, -1] = torch.tensor([2.51, 2.52, 2.53, 2.54])  # codes 251 to 254
    grids = {
        "q0_scale": np.float32(0.01),
        "q0_zero": np.array(0, np.uint8),
        "q2_scale": np.float32(4e-5),
        "q2_zero": np.array(0, np.uint8),
        "scales": np.full(12, 0.001, np.float32),
    }
    path = tmp_path / "model.onnx"
    bias = np.zeros(12, np.float32)
    layer_between_quantizers(path, np.uint8, 2, weight, bias, conv=None, grids=grids)
    assert len(np.unique(compare(path, images).tensors["q2"])) > 10


def test_a_kernel_that_is_not_modelled_is_named(images, tmp_path):
    path = tmp_path / "model.onnx"
    between_quantizers(path, "Softmax", np.uint8, 0, inputs=1, axis=1)
    assert reference.run(path, images).unmodelled == ("Softmax",)


def test_more_images_than_a_portion_are_all_there(tmp_path):
    path = tmp_path / "model.onnx"
    between_quantizers(path, "Add", np.uint8, 0)
    images = torch.randn(150, 2 * CHANNELS, SIZE, SIZE)
    assert len(compare(path, images).tensors["q2"]) == 150
