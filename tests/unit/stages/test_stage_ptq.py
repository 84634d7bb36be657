"""PTQ of a baseline that trials have in common."""

import pytest
import torch
from qat_case import CPU, Network, qat_config

from qatexp.data import load_data
from qatexp.stages import captures as kept
from qatexp.stages.context import Context
from qatexp.stages.ptq import ptq
from qatexp.store.stage_cache import StageCache


@pytest.fixture
def captures(monkeypatch):
    """How often a network was captured, with nothing kept from other tests."""
    calls = []

    def counted(model, example):
        calls.append(model)
        return capture(model, example)

    capture = kept.capture
    monkeypatch.setattr(kept, "capture", counted)
    monkeypatch.setattr(kept, "_kept", {})
    return calls


def quantized(folder, network, fingerprint):
    """What PTQ makes of a network in a trial of its own."""
    config = qat_config("lsq")
    context = Context(config, folder, StageCache(None, run=folder), lambda *_: None)
    context.data = load_data(config.dataset, seed=0, device=CPU, decoded_dir=None, trusted=[])
    context.device = CPU
    context.fingerprints["fp32"] = fingerprint
    return ptq(context, network).graph_module


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


def test_baselines_are_kept_until_they_take_too_much_memory(captures, monkeypatch, tmp_path):
    networks = {name: Network().eval() for name in "ab"}

    def trials(names):
        del captures[:]
        graphs = [quantized(tmp_path, networks[name], name) for name in names]
        return [graph.state_dict()["first.weight"] for graph in graphs]

    one, other = trials("ab")[:2]
    assert not torch.equal(one, other)
    assert all(map(torch.equal, trials("abab"), [one, other] * 2))
    assert captures == []
    size = sum(tensor.nbytes for tensor in kept._kept["a"].state_dict().values())
    monkeypatch.setattr(kept, "BUDGET_BYTES", 1.5 * size)
    networks["c"] = networks["a"]
    assert torch.equal(*trials("cc"))
    assert (len(captures), list(kept._kept)) == (1, ["c"])
    monkeypatch.setattr(kept, "BUDGET_BYTES", 0.5 * size)
    trials("aa")
    assert (len(captures), list(kept._kept)) == (2, [])
