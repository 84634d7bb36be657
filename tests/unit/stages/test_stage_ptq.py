"""PTQ of a baseline that trials have in common."""

import pytest
import torch
from qat_case import CPU, Network, qat_config

from qatexp.data import load_data
from qatexp.stages import ptq as stage
from qatexp.stages.context import Context
from qatexp.store.stage_cache import StageCache


@pytest.fixture
def captures(monkeypatch):
    """How often a network was captured, with nothing kept from other tests."""
    calls = []

    def counted(model, example):
        calls.append(model)
        return capture(model, example)

    capture = stage.capture
    monkeypatch.setattr(stage, "capture", counted)
    monkeypatch.setattr(stage, "_captured", {})
    return calls


def quantized(folder, network, fingerprint):
    """What PTQ makes of a network in a trial of its own."""
    config = qat_config("lsq")
    context = Context(config, folder, StageCache(None, run=folder), lambda *_: None)
    context.data = load_data(config.dataset, seed=0, device=CPU, decoded_dir=None, trusted=[])
    context.device = CPU
    context.fingerprints["fp32"] = fingerprint
    return stage.ptq(context, network).graph_module


def test_trials_with_one_baseline_capture_it_once_and_share_nothing(captures, tmp_path):
    network = Network().eval()
    first = quantized(tmp_path, network, "a")
    before = {name: value.clone() for name, value in first.state_dict().items()}
    with torch.no_grad():
        for parameter in first.parameters():  # as its QAT would
            parameter.add_(1.0)
    second = quantized(tmp_path, network, "a")
    assert len(captures) == 1
    after = second.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_another_baseline_is_captured_itself(captures, tmp_path):
    networks = [Network().eval() for _ in range(2)]
    found = [quantized(tmp_path, net, name) for net, name in zip(networks, "ab", strict=True)]
    assert len(captures) == 2
    weights = [graph.state_dict()["first.weight"] for graph in found]
    assert not torch.equal(*weights)
    assert len(stage._captured) == 1
