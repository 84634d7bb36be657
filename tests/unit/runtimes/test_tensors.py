import logging

import numpy as np
import pytest
import torch
from torch import nn

from qatexp.config.schema import ExportConfig, QConfig
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.prepare import prepare
from qatexp.runtimes import onnxruntime, reference, tensors
from qatexp.runtimes.codes import quantized_names


@pytest.fixture(scope="module")
def converted(images):
    """A converted network with 4-bit activations."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU()
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()
    config = QConfig()
    config.activation.bits = 4
    prepared = prepare(model, images, config).graph_module
    calibrate_(prepared, lambda: iter([images]), config.calibration)
    return convert(fold(prepared.eval())[0])


@pytest.fixture(scope="module")
def quantized(converted, images, tmp_path_factory):
    path = tmp_path_factory.mktemp("quantized") / "model.onnx"
    onnxruntime.export(converted, images[:2], path, ExportConfig())
    return path


@pytest.mark.parametrize("optimize", [True, False], ids=["optimized", "as written"])
def test_codes_come_with_the_logits_of_the_plain_file(quantized, images, optimize):
    before = quantized.read_bytes()
    found = onnxruntime.quantized_tensors(quantized, images, optimize=optimize)
    assert quantized.read_bytes() == before
    assert tuple(found) == ("logits", *quantized_names(quantized))
    logits = onnxruntime.load(quantized, threads=1, optimize=optimize)(images)
    assert torch.equal(torch.from_numpy(found["logits"]), logits)
    assert {found[name].dtype for name in quantized_names(quantized)} == {np.dtype(np.uint8)}


def test_codes_of_few_bits_are_those_behind_the_clip(quantized, images):
    loud = onnxruntime.quantized_tensors(quantized, images * 100, optimize=True)
    assert int(loud["q1"].max()) == 15


def test_a_file_of_one_image_takes_many(converted, images, quantized, tmp_path):
    path = tmp_path / "fixed.onnx"
    onnxruntime.export(converted, images, path, ExportConfig(dynamic_batch=False))
    expected = onnxruntime.quantized_tensors(quantized, images, optimize=True)
    found = onnxruntime.quantized_tensors(path, images, optimize=True)
    predicted = reference.run(path, images)
    for name, codes in expected.items():
        np.testing.assert_array_equal(found[name], codes)
        known = predicted.logits if name == "logits" else predicted.tensors[name]
        np.testing.assert_array_equal(known, codes)


def test_a_float_file_has_no_quantized_tensors(exported, images):
    assert quantized_names(exported) == ()
    assert set(onnxruntime.quantized_tensors(exported, images, optimize=True)) == {"logits"}


def test_a_tensor_whose_exposure_changes_a_fusion_is_left_out(
    quantized, images, monkeypatch, caplog
):
    """No graph that this package writes is known to do so: the runtime's answer is faked."""
    kernels = tensors._kernels

    def with_one_kernel_more(model, names, path):
        return kernels(model, names, path) + tensors.Counter({"Conv": "q1" in names})

    monkeypatch.setattr(tensors, "_kernels", with_one_kernel_more)
    with caplog.at_level(logging.WARNING):
        found = onnxruntime.quantized_tensors(quantized, images, optimize=True)
    assert "q1" not in found
    assert {"q0", "q2"} <= set(found)
    assert caplog.messages == [
        "model.onnx: left out of the tensors, as reading them changes what ONNX Runtime fuses: q1"
    ]
