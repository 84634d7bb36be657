"""Integer codes of one model at its stages: the same ones, from training to conversion."""

import pytest
import torch

from qatexp.config.schema import ActivationConfig, CalibrationConfig, QConfig, WeightConfig
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.codes import (
    converted_codes,
    fake_quantized_codes,
    moved_weight_codes,
    quantized_layers,
)
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.prepare import prepare, weight_quantizers


@pytest.fixture(params=[8, 2])
def prepared(request, odd_net, images):
    bits = request.param
    qconfig = QConfig(weight=WeightConfig(bits=bits), activation=ActivationConfig(bits=bits))
    graph_module = prepare(odd_net, images, qconfig).graph_module
    calibrate_(graph_module, lambda: iter([images]), CalibrationConfig())
    return graph_module


def test_folded_and_converted_models_hold_the_same_codes(prepared, images):
    folded, _ = fold(prepared)
    codes, logits = fake_quantized_codes(folded, images)
    by_layer, converted_logits = converted_codes(convert(folded), images)
    assert torch.equal(logits, converted_logits)
    names = quantized_layers(folded)
    assert {names[name] for name in codes} == {name for name, _ in by_layer}
    # Views repeat a quantizer of the converted graph: the first of a name is the one computed.
    found = dict(reversed(by_layer))
    for name, tensor in codes.items():
        assert torch.equal(tensor, found[names[name]].to(tensor.dtype)), names[name]


def test_folding_moves_no_weight_code_whatever_the_gammas_are(prepared):
    assert moved_weight_codes(prepared, fold(prepared)[0]) == 0


def test_a_weight_that_moves_is_counted(prepared):
    folded, _ = fold(prepared)
    weight = list(weight_quantizers(folded))[-1][1]
    with torch.no_grad():
        flat = weight.view(-1)
        largest = int(flat.abs().argmax())
        flat[largest] = 0.0
    assert moved_weight_codes(prepared, folded) == 1
