"""What the figures of layers are computed from, and so may be shared by."""

from dataclasses import replace

import pytest
from qat_case import CPU, Network, qat_config

from qatexp.config.schema import ActivationConfig, WeightConfig
from qatexp.data import load_data
from qatexp.stages.context import Context
from qatexp.stages.sensitivity import Subject
from qatexp.store.stage_cache import StageCache


@pytest.fixture
def subject(tmp_path):
    def make(**qconfig):
        config = qat_config("lsq")
        config = replace(config, qconfig=replace(config.qconfig, **qconfig))
        context = Context(config, tmp_path, StageCache(None), lambda *_: None)
        context.data = load_data(config.dataset, seed=0, device=CPU, decoded_dir=None, trusted=[])
        context.device = CPU
        context.fingerprints["fp32"] = "a"
        return Subject(context, Network())

    return make


def test_other_bits_share_the_figures_and_none_do_not(subject):
    """Tensors in float have no quantizers to try: their figures are empty."""
    parts = subject().parts()
    assert subject(weight=WeightConfig(bits=7)).parts() == parts
    assert subject(activation=ActivationConfig(bits=8)).parts() == parts
    assert subject(activation=ActivationConfig(bits=None)).parts() != parts
    assert subject(weight=WeightConfig(bits=None)).parts() != parts


def test_too_few_images_are_told_whether_figures_are_cached_or_not(subject):
    found = subject(auto=replace(qat_config("lsq").qconfig.auto, batches=1000))
    (warning,) = found.context.warnings
    assert warning.startswith("qconfig.auto.batches=1000 are more than the training images of ")
