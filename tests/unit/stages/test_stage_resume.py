"""QAT that was cut off and continues: its recipe's state is more than the model's tensors."""

import copy
import json
import logging

import pytest
import torch
from torch import nn

from qatexp.config.schema import (
    ActivationConfig,
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    ProgressiveConfig,
    QatSchedule,
    QConfig,
    QuantizerName,
    ScheduleConfig,
    Select,
    TrainerConfig,
    WeightConfig,
)
from qatexp.data import load_data
from qatexp.quantization.prepare import prepare
from qatexp.stages.calibration import calibrate_on_
from qatexp.stages.context import HISTORY, OSCILLATION, WEIGHTS, Context
from qatexp.stages.train import train_stage
from qatexp.store.stage_cache import StageCache
from qatexp.training import seed_everything

CPU = torch.device("cpu")
EPOCHS = 6
RECIPES = {
    "lsq": {
        "select": Select.last,
        "progressive": ProgressiveConfig(bits=[8, 4], share=0.6),
        "freeze_bn_at": 0.7,
        "freeze_observers_at": 0.4,
        "reestimate_bn": 2,
    },
    "minmax_ema": {"select": Select.best, "freeze_bn_at": 0.5, "freeze_observers_at": 0.4},
    "pact": {"select": Select.best, "freeze_bn_at": 0.9, "momentum": None},
}
"""By quantizer: what each of them steers, with a cut before and after each change."""


class Cut(BaseException):
    """The end of a process."""


class Network(nn.Module):
    """With dropout, which draws random numbers in every step."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=2)
        self.dropout = nn.Dropout(0.3)
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x)).mean([2, 3])
        return self.last(self.dropout(x))


def config_of(quantizer):
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
    qat = QatSchedule(epochs=EPOCHS, lr_scale=0.5, **RECIPES[quantizer])
    return ExperimentConfig(
        "x",
        ModelConfig("a.b"),
        dataset,
        device="cpu",
        qconfig=qconfig,
        schedule=ScheduleConfig(qat=qat),
        trainer=TrainerConfig(checkpoint_seconds=0.0),
    )


@pytest.fixture(scope="module", params=list(RECIPES))
def prepared(request):
    """A calibrated graph with its configuration and data, for each recipe."""
    config = config_of(request.param)
    data = load_data(config.dataset, seed=0, device=CPU, decoded_dir=None, trusted=[])
    seed_everything(1)
    graph_module = prepare(Network().eval(), data.example().cpu(), config.qconfig).graph_module
    calibrate_on_(graph_module, config, data)
    return config, data, graph_module


@pytest.fixture
def train(prepared, tmp_path, monkeypatch):
    """Make the stage qat of a cache; `cut` ends it within the epoch after that one."""
    config, data, graph_module = prepared
    whole = data.train_batches

    def run(*, cache, cut=None):
        def batches(*, epoch, **options):
            for number, batch in enumerate(whole(epoch=epoch, **options)):
                if cut is not None and (epoch, number) == (cut + 1, 3):
                    raise Cut
                yield batch

        monkeypatch.setattr(data, "train_batches", batches)
        told = []
        store = StageCache(tmp_path / cache)
        context = Context(config, tmp_path, store, lambda name, row: told.append((name, row)))
        context.data, context.device = data, CPU
        model = copy.deepcopy(graph_module)

        def make(folder):
            train_stage(context, "qat", model, folder)

        with context.stage("qat", cacheable=True):
            context.told, context.made = told, context.entry("qat", {}, make)
        return context

    return run


@pytest.mark.parametrize("cut", range(1, EPOCHS))
def test_qat_that_was_cut_off_continues_bit_for_bit(train, tmp_path, caplog, cut):
    caplog.set_level(logging.INFO)
    undisturbed = train(cache="undisturbed")
    assert undisturbed.data.steps_per_epoch() == 5  # odd: codes are compared across epochs
    with pytest.raises(Cut):
        train(cache="cut", cut=cut)
    (left,) = (path for path in (tmp_path / "cut" / "qat").iterdir() if path.suffix != ".lock")
    assert left.suffix == ".partial"
    continued = train(cache="cut")
    assert f"qat continues after epoch {cut} of {EPOCHS}" in caplog.messages
    for name in (WEIGHTS, HISTORY, OSCILLATION):
        assert (continued.made / name).read_bytes() == (undisturbed.made / name).read_bytes(), name
    assert any(json.loads((continued.made / OSCILLATION).read_text()).values())
    assert continued.told == undisturbed.told
    assert (undisturbed.resumed, continued.resumed) == ({}, {"qat": cut})
    assert not left.exists()


def test_a_stage_from_the_cache_was_not_continued(train):
    with pytest.raises(Cut):
        train(cache="cut", cut=2)
    assert train(cache="cut").resumed == {"qat": 2}
    again = train(cache="cut")
    assert (again.cached["qat"], again.resumed) == (True, {})
