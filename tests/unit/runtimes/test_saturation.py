"""Eight-bit products do not saturate, on whatever processor a file is measured."""

import onnx
import onnxruntime as ort
import pytest
import torch

from qatexp.config.schema import Backend, ExportConfig, Granularity, QConfig
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.prepare import prepare
from qatexp.runtimes import onnxruntime, sessions
from qatexp.runtimes.saturation import PRECISE_OPTION, can_saturate, lacks_vnni


def export(network, images, path, **options):
    config = QConfig(**options)
    graph_module = prepare(network, images, config).graph_module
    calibrate_(graph_module, lambda: iter([images]), config.calibration)
    converted = convert(fold(graph_module.eval())[0])
    onnxruntime.export(converted, images[:2], path, ExportConfig())
    return path


def low_bits(**options):
    config = QConfig(first_last_bits=None, **options)
    config.weight.bits = 6
    return {"weight": config.weight, "first_last_bits": None}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, True, id="8 bits"),
        pytest.param({"weight": QConfig().weight, "backend": Backend.xnnpack}, False, id="signed"),
        pytest.param({"backend": Backend.x86}, False, id="7-bit activations"),
        pytest.param(low_bits(), False, id="6-bit weights"),
    ],
)
def test_files_whose_products_fit_into_int16_are_told_from_others(
    network, images, tmp_path, options, expected
):
    path = export(network, images, tmp_path / "net.onnx", **options)
    assert can_saturate(onnx.load(path)) is expected


def test_a_float_file_cannot_saturate(exported):
    assert not can_saturate(onnx.load(exported))


@pytest.mark.parametrize("granularity", list(Granularity), ids=lambda item: item.name)
def test_a_file_loads_with_the_option_against_saturation(network, images, tmp_path, granularity):
    """Zero points that weights share made ONNX Runtime refuse it on processors without VNNI."""
    deep = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1), network).eval()
    config = QConfig()
    config.weight.granularity = granularity
    path = export(deep, images, tmp_path / "net.onnx", weight=config.weight)
    options = ort.SessionOptions()
    options.add_session_config_entry(*PRECISE_OPTION)
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_every_weight_of_8_bits_has_a_zero_point_of_its_own(network, images, tmp_path):
    deep = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1), network).eval()
    graph = onnx.load(export(deep, images, tmp_path / "net.onnx")).graph
    weights = {item.name for item in graph.initializer if item.data_type == onnx.TensorProto.INT8}
    readers = [n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in weights]
    assert len(readers) == 4
    assert len({node.input[2] for node in readers}) == 4


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param("fpu avx2 avx512f avx512_vnni", False, id="avx512_vnni"),
        pytest.param("fpu avx2 avx_vnni", False, id="avx_vnni"),
        pytest.param("fpu avx2 avx512f", True, id="avx512 without"),
    ],
)
def test_a_processor_is_known_by_its_flags(flags, expected):
    assert lacks_vnni({"model name": "any", "flags": flags}) is expected


@pytest.mark.parametrize("saturates", [True, False])
def test_the_option_is_set_and_told_where_it_is_needed(
    network, images, tmp_path, monkeypatch, saturates
):
    monkeypatch.setattr(sessions, "processor_saturates", lambda: saturates)
    path = export(network, images, tmp_path / "net.onnx")
    told = onnxruntime.session_options(path)
    entry = sessions.open_session(path, threads=1).get_session_options()
    assert told == (dict([PRECISE_OPTION]) if saturates else {})
    if saturates:
        assert entry.get_session_config_entry(PRECISE_OPTION[0]) == PRECISE_OPTION[1]
