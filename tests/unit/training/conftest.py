from dataclasses import dataclass, field

import pytest
import torch

from qatexp.config.schema import Decay, Select, TrainerConfig
from qatexp.training import TrainPlan, make_fabric


@dataclass
class Points:
    """Points of two classes, which a linear layer can tell apart; 4 batches of 8."""

    images: torch.Tensor
    labels: torch.Tensor
    val: int = 16
    asked: list = field(default_factory=list)

    def steps_per_epoch(self):
        return len(self.images) // 8

    def train_batches(self, *, epoch, seed, rank=0, world_size=1, limit=None):
        self.asked.append((epoch, seed, rank, world_size, limit))
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        order = torch.randperm(len(self.images), generator=generator)
        for chosen in order.split(8)[: self.steps_per_epoch() if limit is None else limit]:
            yield self.images[chosen], self.labels[chosen]

    def eval_batches(self, split):
        assert split == "val"
        yield from zip(
            self.images[: self.val].split(5), self.labels[: self.val].split(5), strict=True
        )

    def size(self, split):
        return {"train": len(self.images), "val": self.val}[split]


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(32) % 2
    images = torch.randn(32, 4, generator=generator) + 3.0 * labels[:, None]
    return Points(images, labels)


@pytest.fixture
def fabric():
    return make_fabric(TrainerConfig(), torch.device("cpu"))


@pytest.fixture
def plan():
    """Make a plan: the defaults, with changes."""

    def make(**changes):
        values = {
            "epochs": 3,
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 0.0,
            "warmup_epochs": 0.0,
            "decay": Decay.cosine,
            "label_smoothing": 0.0,
            "select": Select.last,
            "optimizer": {"_target_": "torch.optim.SGD"},
        }
        return TrainPlan(**{**values, **changes})

    return make
