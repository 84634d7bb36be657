"""One layer at a time: which is measured, against what, and that nothing else is quantized."""

import pytest
import torch
from torch import nn

from qatexp.config.schema import CalibrationConfig, CalibrationMethod, QConfig
from qatexp.quantization.calibrate import observe
from qatexp.quantization.prepare import prepare
from qatexp.quantization.sensitivity import (
    MOST_DB,
    activation_sensitivities,
    compare,
    open_bench,
    weight_sensitivities,
)
from qatexp.quantization.sites import find_sites, shared_inputs

MSE = CalibrationMethod.mse


def bench_of(model, images):
    prepared = prepare(model.eval(), images[:2], QConfig())
    sites = find_sites(prepared.graph_module)
    labels = torch.zeros(len(images), dtype=torch.int64)
    return open_bench(prepared.graph_module, sites, [(images, labels)])


@pytest.fixture
def bench(odd_net, images):
    return bench_of(odd_net, images)


def fragile_net():
    """The third layer reads a small difference of nearly equal channels of the second."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)] + [nn.Conv2d(3, 2, 1)]
    with torch.no_grad():
        layers[1].weight[1] = layers[1].weight[0] + 0.02 * torch.randn(3, 3, 3)
        layers[2].weight.copy_(torch.tensor([[20.0, -20, 0], [-20, 20, 0]]).view(2, 3, 1, 1))
    head = nn.Linear(8, 5)
    head.weight.data.sign_()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), head)


@pytest.mark.parametrize("bits", [3, 4])
def test_a_layer_made_fragile_on_purpose_ranks_first(images, bits):
    found = weight_sensitivities(bench_of(fragile_net(), images), [bits], MSE)
    damage = {row.layer: row.damage for row in found}
    assert max(damage, key=lambda name: damage[name].kl) == "1"
    assert min(damage, key=lambda name: damage[name].sqnr_db) == "1"


def test_the_reference_is_the_fp32_model(bench, odd_net, images):
    # A graph orders its operations as the model does; only batch norm is another kernel call.
    torch.testing.assert_close(bench.reference, odd_net(images).detach(), rtol=1e-4, atol=1e-5)


def test_every_layer_is_measured_at_all_bits_and_fewer_bits_cost_more(bench):
    rows = list(weight_sensitivities(bench, [2, 4, 8], MSE))
    names = ["stem", "depthwise", "grouped", "head"]
    assert [row.layer for row in rows] == [name for name in names for _ in range(3)]
    for start in range(0, len(rows), 3):
        ratios = [row.damage.sqnr_db for row in rows[start : start + 3]]
        assert ratios == sorted(ratios)


def test_all_quantizers_are_off_again_afterwards(bench, images):
    list(weight_sensitivities(bench, [2], MSE))
    assert torch.equal(bench.graph_module(images), bench.reference)


def test_layers_that_read_one_tensor_get_equal_figures(bench, images):
    assert shared_inputs(bench.sites)["depthwise"] == shared_inputs(bench.sites)["grouped"]
    qconfig = QConfig()
    choose = observe(bench.graph_module, lambda: iter([images]), CalibrationConfig())
    rows = activation_sensitivities(bench, [2, 8], choose=choose, qconfig=qconfig)
    damage = {(row.layer, row.bits): row.damage for row in rows}
    for bits in (2, 8):
        assert damage["depthwise", bits] == damage["grouped", bits]
    for name in ("stem", "depthwise", "head"):
        assert damage[name, 2].sqnr_db + 10 < damage[name, 8].sqnr_db


def test_ends_and_multiply_accumulates_of_the_layers(bench):
    found = {site.name: (site.at_end, site.macs) for site in bench.sites}
    assert found == {
        "stem": (True, 12 * 12 * 8 * 3 * 9),
        "depthwise": (False, 6 * 6 * 8 * 9),
        "grouped": (False, 6 * 6 * 8 * 4 * 9),
        "head": (True, 5 * 16),
    }


def test_equal_logits_are_no_damage():
    logits, labels = torch.randn(8, 5), torch.zeros(8, dtype=torch.int64)
    damage = compare(logits, logits, labels)
    assert (damage.kl, damage.loss_increase, damage.top1_drop) == (0.0, 0.0, 0.0)
    assert damage.sqnr_db == pytest.approx(MOST_DB)


def test_damage_of_logits_by_hand():
    reference = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    damage = compare(reference, logits, torch.tensor([0, 0]))
    assert damage.top1_drop == 50.0
    assert damage.sqnr_db == pytest.approx(6.0206, abs=1e-4), "signal 4, noise 1"
    assert damage.kl == pytest.approx(0.0600571, abs=1e-6)
    assert damage.loss_increase == pytest.approx(0.3100573, abs=1e-6)
