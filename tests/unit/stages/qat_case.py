"""A small QAT for the tests of stages: 5 steps an epoch, an odd number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from qatexp.config.schema import (
    ActivationConfig,
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    QatSchedule,
    QConfig,
    QuantizerName,
    ScheduleConfig,
    TrainerConfig,
    WeightConfig,
)
from qatexp.data import ImageData, load_data
from qatexp.quantization.prepare import prepare
from qatexp.stages.calibration import calibrate_on_
from qatexp.training import seed_everything

CPU = torch.device("cpu")


class Cut(BaseException):
    """The end of a process."""


class Network(nn.Module):
    """With dropout, which draws random numbers in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=2)
        self.dropout = nn.Dropout(0.3)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x)).mean([2, 3])
        return self.last(self.dropout(x))


def qat_config(quantizer: str, **schedule: Any) -> ExperimentConfig:
    """QAT at few bits on a few synthetic images, with a checkpoint after every epoch."""
    dataset = DatasetConfig(
        "qatexp.data.sources.synthetic",
        batch_size=16,
        val_fraction=0.2,
        image_size=12,
        options={"num_classes": 4, "images": 100, "test_images": 8},
    )
    qconfig = QConfig(
        weight=WeightConfig(bits=2),
        activation=ActivationConfig(bits=3),
        quantizer=QuantizerName[quantizer],
    )
    qat = QatSchedule(lr_scale=0.5, **schedule)
    return ExperimentConfig(
        "x",
        ModelConfig("a.b"),
        dataset,
        device="cpu",
        qconfig=qconfig,
        schedule=ScheduleConfig(qat=qat),
        trainer=TrainerConfig(checkpoint_seconds=0.0),
    )


def calibrated(config: ExperimentConfig) -> tuple[ImageData, fx.GraphModule]:
    """The data of a configuration, and the graph that its QAT starts from."""
    data = load_data(config.dataset, seed=0, device=CPU, decoded_dir=None, trusted=[])
    seed_everything(1)
    graph_module = prepare(Network().eval(), data.example().cpu(), config.qconfig).graph_module
    calibrate_on_(graph_module, config, data)
    return data, graph_module


class CutData:
    """Data whose training batches end with the process, within the epoch after `cut`."""

    def __init__(self, data: ImageData, cut: int | None) -> None:
        self._data, self._cut = data, cut
        self.epochs: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def train_batches(self, *, epoch: int, **options: Any) -> Any:
        self.epochs.append(epoch)
        for number, batch in enumerate(self._data.train_batches(epoch=epoch, **options)):
            if self._cut is not None and (epoch, number) == (self._cut + 1, 3):
                raise Cut
            yield batch
