"""The baseline: computed once for all trials that start from the same one."""

from dataclasses import replace

import pytest
import torch
from qat_case import CPU
from safetensors.torch import save_file

from qatexp.config.schema import (
    DatasetConfig,
    ExperimentConfig,
    Fp32Schedule,
    ModelConfig,
    ScheduleConfig,
)
from qatexp.data import load_data
from qatexp.models import build_model
from qatexp.stages.context import Context
from qatexp.stages.fp32 import fp32
from qatexp.store.stage_cache import StageCache

MODEL = ModelConfig("qatexp.models.resnet8")
DATASET = DatasetConfig(
    "qatexp.data.sources.synthetic",
    batch_size=16,
    image_size=8,
    options={"num_classes": 4, "images": 32, "test_images": 8},
)


@pytest.fixture
def checkpoint(tmp_path):
    """A file with all weights of the model."""
    built = build_model(MODEL, num_classes=4, in_channels=3, image_size=(8, 8), trusted=[])
    path = tmp_path / "weights.safetensors"
    save_file({k: v.clone() for k, v in built.model.state_dict().items()}, path)
    return str(path)


@pytest.fixture
def baseline(tmp_path):
    """Make or take the baseline of a run: its fingerprint, and whether it was there."""

    def run(*, seed, epochs=0, checkpoint=None):
        config = ExperimentConfig(
            "x",
            replace(MODEL, checkpoint=checkpoint),
            DATASET,
            seed=seed,
            device="cpu",
            schedule=ScheduleConfig(fp32=Fp32Schedule(epochs=epochs)),
        )
        context = Context(config, tmp_path, StageCache(tmp_path / "cache"), lambda *_: None)
        context.data = load_data(DATASET, seed=seed, device=CPU, decoded_dir=None, trusted=[])
        context.device = CPU
        model = fp32(context)
        return context.fingerprints["fp32"], context.cached["fp32"], model

    return run


def test_seeds_share_a_baseline_that_is_taken_from_a_file_as_it_is(baseline, checkpoint):
    first, cached, model = baseline(seed=0, checkpoint=checkpoint)
    again, cached_again, same = baseline(seed=1, checkpoint=checkpoint)
    assert (first, cached, cached_again) == (again, False, True)
    for key, value in model.state_dict().items():
        assert torch.equal(value, same.state_dict()[key])


def test_seeds_do_not_share_a_baseline_that_is_trained(baseline, checkpoint):
    first, _, _ = baseline(seed=0, epochs=1, checkpoint=checkpoint)
    other, cached, _ = baseline(seed=1, epochs=1, checkpoint=checkpoint)
    assert first != other
    assert not cached


def test_seeds_do_not_share_a_baseline_with_weights_that_are_drawn(baseline):
    first, _, _ = baseline(seed=0)
    other, cached, _ = baseline(seed=1)
    assert first != other
    assert not cached
