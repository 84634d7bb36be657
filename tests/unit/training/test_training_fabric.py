import random

import numpy as np
import pytest
import torch

from qatexp.config.schema import TrainerConfig
from qatexp.errors import ConfigError
from qatexp.training import device_of, make_fabric, seed_everything, stage_seed


def test_the_seed_of_a_stage_is_pinned():
    """Another value would change every result."""
    assert stage_seed(0, "fp32") == 2_865_502_129
    assert stage_seed(1, "qat") == 2_608_737_195


def test_stages_and_runs_have_seeds_of_their_own():
    seeds = {stage_seed(seed, stage) for seed in range(4) for stage in ("fp32", "ptq", "qat")}
    assert len(seeds) == 12


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**70], ids=["zero", "32 bits", "larger"])
def test_the_seed_of_a_stage_fits_every_library(seed):
    found = stage_seed(seed, "fp32")
    assert 0 <= found < 2**32
    seed_everything(found)


def test_seeding_repeats_all_random_numbers():
    def draw():
        return random.random(), np.random.random(), torch.rand(1).item()

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_the_cpu_is_always_there():
    assert device_of("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("visible", "kind"), [(0, "cpu"), (2, "cuda")], ids=["without GPU", "with GPUs"]
)
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, visible, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible > 0)
    assert device_of("auto").type == kind


@pytest.mark.parametrize(("name", "visible"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_gpu_that_is_not_there_is_an_error_in_words(monkeypatch, name, visible):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    with pytest.raises(ConfigError) as problem:
        device_of(name)
    assert str(problem.value) == (
        f"device={name}: {visible} GPUs are visible; use device=cpu, device=auto or another number."
    )


def test_a_gpu_that_is_there_is_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("cuda:1") == torch.device("cuda", 1)


def test_a_precision_that_is_not_possible_is_an_error_in_words():
    with pytest.raises(ConfigError) as problem:
        make_fabric(TrainerConfig(precision="8-bit"), torch.device("cpu"))
    assert str(problem.value).startswith("trainer.devices=1, trainer.precision=8-bit on cpu: ")
    assert "\n" not in str(problem.value)


def test_a_precision_is_never_replaced_by_another():
    """Fabric trains in bfloat16 where float16 is asked for on a CPU, and only warns."""
    with pytest.raises(ConfigError) as problem:
        make_fabric(TrainerConfig(precision="16-mixed"), torch.device("cpu"))
    assert str(problem.value) == (
        "trainer.precision=16-mixed is not possible on cpu; allowed there: 32-true, bf16-mixed."
    )


def test_convolutions_keep_full_precision_on_a_gpu():
    """TF32 is cuDNN's default: codes are then simulated with 10 bits of a mantissa."""
    torch.backends.cudnn.allow_tf32 = True
    seed_everything(0)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_bfloat16_runs_on_the_cpu():
    fabric = make_fabric(TrainerConfig(precision="bf16-mixed"), torch.device("cpu"))
    module = fabric.setup(torch.nn.Linear(2, 2))
    assert module(torch.ones(1, 2)).dtype == torch.float32
    assert fabric.world_size == 1
