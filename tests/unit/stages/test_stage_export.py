"""A float network on its way to a file, and back."""

from types import SimpleNamespace

import torch
from qat_case import Network, qat_config

from qatexp.stages.context import Context
from qatexp.stages.export import export_fp32
from qatexp.store.stage_cache import StageCache


def test_an_exported_network_goes_back_to_its_device(tmp_path):
    """The control may teach QAT, whose images are on the GPU; `meta` stands for that here."""
    context = Context(qat_config("lsq"), tmp_path, StageCache(None, run=tmp_path), lambda *_: None)
    context.data = SimpleNamespace(example=lambda: torch.zeros(2, 3, 12, 12))
    context.device = torch.device("meta")
    context.fingerprints["control"] = "a"
    network = Network().eval()
    assert export_fp32(context, "control", network).is_file()
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
