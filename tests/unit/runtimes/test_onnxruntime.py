import numpy as np
import pytest
import torch
from onnx import helper

from qatexp.errors import ExportError
from qatexp.runtimes import onnxruntime

ONE = np.float32(0.05)
ZERO = np.uint8(128)


@pytest.mark.parametrize("count", [1, 3], ids=["one", "three"])
@pytest.mark.parametrize("optimize", [True, False], ids=["optimized", "as written"])
def test_a_file_computes_what_the_network_does_for_any_batch(
    network, images, exported, count, optimize
):
    predict = onnxruntime.load(exported, threads=1, optimize=optimize)
    with torch.no_grad():
        expected = network(images[:count])
    found = predict(images[:count])
    assert (found.shape, found.dtype) == ((count, 5), torch.float32)
    # Sums of 27 float32 products, in another order.
    assert torch.allclose(found, expected, atol=1e-5)


def test_images_may_lie_in_memory_in_any_order(images, exported):
    predict = onnxruntime.load(exported, threads=1)
    other = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(predict(other), predict(images))


def test_a_call_without_arguments_runs_the_file(images, exported):
    call = onnxruntime.caller(exported, images, threads=1)
    predict = onnxruntime.load(exported, threads=1)
    assert np.array_equal(call()[0], predict(images).numpy())


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda path, _: onnxruntime.load(path, threads=1), id="load"),
        pytest.param(lambda path, x: onnxruntime.caller(path, x, threads=1), id="caller"),
        pytest.param(onnxruntime.describe, id="describe"),
    ],
)
def test_a_file_that_is_damaged_is_an_error_in_words(tmp_path, images, exported, use):
    path = tmp_path / "cut.onnx"
    path.write_bytes(exported.read_bytes()[:-200])
    with pytest.raises(ExportError, match=r"^ONNX Runtime refuses cut\.onnx: "):
        use(path, images)


def test_a_file_that_is_missing_is_an_error_in_words(tmp_path):
    with pytest.raises(ExportError, match=r"^ONNX Runtime refuses nope\.onnx: .*doesn't exist"):
        onnxruntime.load(tmp_path / "nope.onnx", threads=1)


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda path, x: onnxruntime.load(path, threads=1)(x), id="load"),
        pytest.param(lambda path, x: onnxruntime.caller(path, x, threads=1)(), id="caller"),
        pytest.param(onnxruntime.describe, id="describe"),
    ],
)
def test_images_that_the_file_does_not_take_are_an_error_in_one_line(images, exported, use):
    with pytest.raises(ExportError) as problem:
        use(exported, images[..., :5])
    text = str(problem.value)
    start = "ONNX Runtime cannot run network.onnx on images [3, 3, 8, 5]: "
    assert text.startswith(start)
    assert "Got invalid dimensions" in text
    assert "\n" not in text


def test_the_size_is_that_on_disk(exported):
    assert onnxruntime.stored_bytes(exported) == len(exported.read_bytes())


def test_a_float_file_computes_nothing_in_integers(images, exported):
    found = onnxruntime.describe(exported, images[:1])
    assert found.macs_int_share == 0
    assert found.ops_int == {}
    assert found.ops_float == {"FusedConv": 1, "Gemm": 1, "GlobalAveragePool": 1}


def quantized(name, source):
    """Nodes that quantize a tensor to uint8 and back."""
    return [
        helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [name]),
    ]


def weight(channels):
    return {
        "w_q": np.ones((channels, 3, 3, 3), np.int8),
        "w_scale": np.full(channels, 0.1, np.float32),
        "bias": np.arange(channels, dtype=np.float32),
    }


CONV = [
    helper.make_node("DequantizeLinear", ["w_q", "w_scale"], ["w"], axis=0),
    helper.make_node("Conv", ["x", "w", "bias"], ["y"], pads=[1, 1, 1, 1]),
]
SCALES = {"scale": ONE, "zero": ZERO}


def test_a_quantized_convolution_runs_in_integers(save, images):
    nodes = [*quantized("x", "images"), *CONV, *quantized("logits", "y")]
    path = save(nodes, 4, {**SCALES, **weight(4)})
    found = onnxruntime.describe(path, images[:1])
    assert found.macs_int_share == 1
    assert found.ops_int == {"QLinearConv": 1}
    assert found.ops_float == {}


def test_the_share_weighs_layers_by_their_multiplications(save, images):
    """An integer 3x3 convolution to 4 channels, and a float 1x1 from them to 2."""
    nodes = [
        *quantized("x", "images"),
        *CONV,
        *quantized("z", "y"),
        helper.make_node("Conv", ["z", "w2"], ["logits"]),
    ]
    constants = {**SCALES, **weight(4), "w2": np.ones((2, 4, 1, 1), np.float32)}
    found = onnxruntime.describe(save(nodes, 2, constants), images[:1])
    integer, real = 64 * 4 * 27, 64 * 2 * 4
    assert found.macs_int_share == pytest.approx(integer / (integer + real))
    assert found.ops_int == {"QLinearConv": 1}
    assert found.ops_float == {"Conv": 1}


def test_a_quantized_concatenation_runs_in_integers(save, images):
    """Its first input is a float scale, and not the data."""
    nodes = [
        *quantized("x", "images"),
        *CONV,
        *quantized("z", "y"),
        helper.make_node("Concat", ["x", "z"], ["both"], axis=1),
        *quantized("logits", "both"),
    ]
    found = onnxruntime.describe(save(nodes, 7, {**SCALES, **weight(4)}), images[:1])
    assert found.ops_int == {"QLinearConcat": 1, "QLinearConv": 1}
    assert found.ops_float == {}


def test_a_quantized_sum_runs_in_integers(save, images):
    nodes = [
        *quantized("x", "images"),
        *CONV,
        *quantized("z", "y"),
        helper.make_node("Add", ["x", "z"], ["sum"]),
        *quantized("logits", "sum"),
    ]
    found = onnxruntime.describe(save(nodes, 3, {**SCALES, **weight(3)}), images[:1])
    assert found.ops_int == {"QLinearAdd": 1, "QLinearConv": 1}
    assert found.ops_float == {}


def test_a_file_without_multiplications_has_no_share(save, images):
    path = save([helper.make_node("Relu", ["images"], ["logits"])], 3, {})
    assert onnxruntime.describe(path, images).macs_int_share == 0


def test_describing_leaves_no_profile_behind(exported, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnxruntime.describe(exported, images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "x", "weight", "output", "macs"),
    [
        pytest.param("Conv", [1, 8, 8, 8], [16, 8, 2, 2], [1, 16, 4, 4], 8192, id="conv"),
        pytest.param(
            "ConvTranspose",
            [1, 8, 4, 4],
            [8, 16, 2, 2],
            [1, 16, 8, 8],
            8 * 16 * 64,
            id="transposed",
        ),
        pytest.param("Gemm", [2, 8], [8, 5], [2, 5], 80, id="linear"),
    ],
)
def test_multiply_accumulates_are_those_of_the_arithmetic(kind, x, weight, output, macs):
    event = {
        "op_name": kind,
        "input_type_shape": [{"float": x}, {"float": weight}],
        "output_type_shape": [{"float": output}],
    }
    assert onnxruntime._macs(event) == macs
