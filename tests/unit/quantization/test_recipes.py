"""What training does beside the steps: progressive bits, oscillation, statistics found anew."""

import copy

import pytest
import torch
from torch import nn

from qatexp.config.schema import (
    ActivationConfig,
    CalibrationConfig,
    QConfig,
    WeightConfig,
)
from qatexp.quantization.batch_norm import BatchNorm
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.grids import bits_of
from qatexp.quantization.oscillation import OscillationWatch
from qatexp.quantization.prepare import activation_quantizers, prepare, weight_quantizers
from qatexp.quantization.progressive import ProgressiveBits
from qatexp.quantization.reestimate import reestimate_batch_norm_


@pytest.fixture
def graph(odd_net, images):
    qconfig = QConfig(
        weight=WeightConfig(bits=2), activation=ActivationConfig(bits=3), first_last_bits=8
    )
    graph_module = prepare(odd_net, images, qconfig).graph_module
    calibrate_(graph_module, lambda: iter([images]), CalibrationConfig())
    return graph_module


def all_bits(graph_module):
    activations = {bits_of(item) for _, item in activation_quantizers(graph_module)}
    return {bits_of(item) for item, _ in weight_quantizers(graph_module)}, activations


def progressive(graph_module, images, bits, share=0.5):
    def calibrate():
        calibrate_(graph_module, lambda: iter([images]), CalibrationConfig())
        graph_module.train()

    return ProgressiveBits(graph_module, bits, qconfig=QConfig(), share=share, calibrate_=calibrate)


def test_bits_fall_step_by_step_to_the_ones_asked_for(graph, images):
    schedule = progressive(graph, images, [8, 4])
    seen = []
    for share in (0.0, 0.24, 0.25, 0.49, 0.5, 1.0):
        schedule.advance_(share)
        seen.append(all_bits(graph))
    wide, middle, narrow = ({8}, {8}), ({4, 8}, {4, 8}), ({2, 8}, {3, 8})
    assert seen == [wide, wide, middle, middle, narrow, narrow]


def test_the_last_bits_start_where_calibration_puts_them(graph, images):
    expected = copy.deepcopy(graph.state_dict())
    schedule = progressive(graph, images, [6])
    schedule.advance_(0.0)
    changed = graph.state_dict()
    assert any(not torch.equal(value, changed[name]) for name, value in expected.items())
    schedule.advance_(0.9)
    for name, value in graph.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_without_wider_bits_nothing_is_touched(graph, images):
    expected = copy.deepcopy(graph.state_dict())

    def never():
        raise AssertionError("ranges must stay as they are")

    schedule = ProgressiveBits(graph, [], qconfig=QConfig(), share=0.5, calibrate_=never)
    for share in (0.0, 0.6):
        schedule.advance_(share)
    for name, value in graph.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_oscillation_counts_the_weights_that_change_their_code(graph):
    watch = OscillationWatch(graph, steps_per_epoch=4)
    quantizer, weight = next(iter(weight_quantizers(graph)))
    watch.after_step(0)
    with torch.no_grad():
        # One filter of eight jumps to the other end of its range, all others stay.
        weight[3] = -weight[3].sign() * quantizer.scale.max() * 1000
    watch.after_step(1)
    shares = watch.end_epoch()
    assert shares["stem"] == pytest.approx(1 / 8)
    assert [name for name, share in shares.items() if share > 0] == ["stem"]
    assert watch.end_epoch() == {}


def test_statistics_found_anew_are_those_of_the_batches(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(400, 2))
    graph_module = prepare(model.eval(), images, QConfig()).graph_module
    calibrate_(graph_module, lambda: iter([images]), CalibrationConfig())
    module = next(item for item in graph_module.modules() if isinstance(item, BatchNorm))
    module.frozen = True
    batches = [images[:8], images[8:]]
    reestimate_batch_norm_(graph_module, batches)
    assert module.frozen
    assert not module.training
    seen = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    graph_module.train()  # in evaluation the batch norm would read the output of folded weights
    for batch in batches:
        graph_module(batch)
    handle.remove()
    means = torch.stack([x.mean([0, 2, 3]) for x in seen]).mean(0)
    variances = torch.stack([x.var([0, 2, 3]) for x in seen]).mean(0)
    assert torch.allclose(module.running_mean, means, atol=1e-5)
    assert torch.allclose(module.running_var, variances, rtol=1e-4)
