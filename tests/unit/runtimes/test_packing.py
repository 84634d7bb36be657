"""Weights of few bits are stored in few bits, and computed in integers all the same."""

import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from qatexp.config.schema import (
    ActivationConfig,
    CalibrationConfig,
    ExportConfig,
    Pack,
    QConfig,
    WeightConfig,
)
from qatexp.errors import ExportError
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.prepare import prepare
from qatexp.runtimes import onnxruntime
from qatexp.runtimes.packing import weight_bytes


@pytest.fixture(scope="module")
def images():
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def converted(images, bits):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
    qconfig = QConfig(
        weight=WeightConfig(bits=bits), activation=ActivationConfig(bits=8), first_last_bits=None
    )
    graph_module = prepare(model, images, qconfig).graph_module
    calibrate_(graph_module, lambda: iter([images]), CalibrationConfig())
    return convert(fold(graph_module)[0])


def weight_types(path):
    tensors = onnx.load(path).graph.initializer
    names = {onnx.TensorProto.INT8: 8, onnx.TensorProto.INT4: 4, onnx.TensorProto.INT2: 2}
    return {names[item.data_type] for item in tensors if len(item.dims) >= 2}


@pytest.mark.parametrize("pack", [Pack.cast, Pack.none], ids=lambda pack: pack.name)
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_bytes_of_weights_are_known_before_they_are_written(images, tmp_path, bits, pack):
    """The prediction that a choice of bits under a size rests on."""
    config, paths = ExportConfig(pack=pack), [tmp_path / "narrow.onnx", tmp_path / "wide.onnx"]
    for path, used in zip(paths, (bits, 8), strict=True):
        onnxruntime.export(converted(images, used), images, path, config)
    narrow, wide = (path.stat().st_size for path in paths)
    counts = (16 * 3 * 9, 16 * 16 * 9, 5 * 16)
    saved = sum(weight_bytes(n, 8, config) - weight_bytes(n, bits, config) for n in counts)
    # Names differ by a few characters, and equal scales are stored once.
    assert wide - narrow == pytest.approx(saved, abs=60)


@pytest.mark.parametrize(
    ("bits", "stored", "opset"), [(8, 8, 21), (5, 8, 21), (4, 4, 21), (3, 4, 21), (2, 2, 25)]
)
def test_weights_take_the_narrowest_container_and_integer_kernels(
    images, tmp_path, bits, stored, opset
):
    model, path = converted(images, bits), tmp_path / "model.onnx"
    onnxruntime.export(model, images, path, ExportConfig())
    assert weight_types(path) == {stored}
    assert [item.version for item in onnx.load(path).opset_import if not item.domain] == [opset]
    assert onnxruntime.describe(path, images).macs_int_share == 1.0
    plain = tmp_path / "plain.onnx"
    onnxruntime.export(model, images, plain, ExportConfig(pack=Pack.none))
    assert weight_types(plain) == {8}
    output = onnxruntime.load(path, threads=1)(images)
    assert torch.equal(output, onnxruntime.load(plain, threads=1)(images))


def test_direct_packing_loads_but_computes_in_float_and_warns(images, tmp_path):
    model, path, config = converted(images, 4), tmp_path / "m.onnx", ExportConfig(pack=Pack.direct)
    onnxruntime.export(model, images, path, config)
    assert weight_types(path) == {4}
    (warning,) = onnxruntime.export_warnings(model, config)
    assert "export.pack=direct: ONNX Runtime computes layers with 4-bit weights in float" in warning
    assert onnxruntime.describe(path, images).macs_int_share < 1.0
    with torch.no_grad():
        # One step of the output where a tie is rounded otherwise.
        assert (onnxruntime.load(path, threads=1)(images) - model(images)).abs().max() < 0.1


def test_direct_packing_of_two_bits_is_refused(images, tmp_path):
    with pytest.raises(ExportError, match=r"export\.pack=direct is not possible with 2-bit"):
        onnxruntime.export(
            converted(images, 2), images, tmp_path / "m.onnx", ExportConfig(pack=Pack.direct)
        )
    assert list(tmp_path.iterdir()) == []


def test_an_older_opset_stores_two_bits_in_four_and_warns(images, tmp_path):
    model, path, config = converted(images, 2), tmp_path / "m.onnx", ExportConfig(opset=21)
    onnxruntime.export(model, images, path, config)
    assert weight_types(path) == {4}
    (warning,) = onnxruntime.export_warnings(model, config)
    assert "2-bit weights are stored in 4 bits; export.opset=25" in warning


@pytest.mark.parametrize(
    ("bits", "config", "size"),
    [
        pytest.param(8, ExportConfig(), 1001 + 60, id="8 and its zero point"),
        pytest.param(5, ExportConfig(), 1001, id="5 in 8"),
        pytest.param(3, ExportConfig(), 501 + 60, id="3 in 4"),
        pytest.param(2, ExportConfig(), 251 + 60, id="2"),
        pytest.param(2, ExportConfig(opset=21), 501 + 60, id="2 in 4 without INT2"),
        pytest.param(4, ExportConfig(pack=Pack.direct), 501, id="4 without Cast"),
        pytest.param(2, ExportConfig(pack=Pack.none), 1001, id="2 in 8"),
    ],
)
def test_bytes_are_those_of_the_container(bits, config, size):
    assert weight_bytes(1001, bits, config) == size


@pytest.mark.parametrize("pack", list(Pack), ids=lambda pack: pack.name)
@pytest.mark.parametrize("bits", [8, 4])
def test_a_session_of_default_options_has_nothing_to_warn_of(images, tmp_path, bits, pack, capfd):
    """Whoever deploys the file opens it without this package; 2 is ONNX Runtime's default."""
    path = tmp_path / "model.onnx"
    onnxruntime.export(converted(images, bits), images, path, ExportConfig(pack=pack))
    options = ort.SessionOptions()
    options.log_severity_level = 2
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert capfd.readouterr() == ("", "")
    graph = onnx.load(path).graph
    read = {name for node in graph.node for name in node.input}
    assert {item.name for item in graph.initializer} <= read
