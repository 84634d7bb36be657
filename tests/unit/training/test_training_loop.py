import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from qatexp.config.schema import Decay, Select
from qatexp.errors import NonFiniteLossError, TrainingError
from qatexp.training import EpochLog, Steering, train_


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


class Watcher(Steering):
    """Notes when it is called, and a model's first weight at the time."""

    def __init__(self, model=None):
        super().__init__()
        self.model = model
        self.shares, self.steps, self.weights = [], [], []

    def before_step(self, share):
        self.shares.append(share)
        self._note()

    def after_step(self, step):
        self.steps.append(step)
        self._note()

    def _note(self):
        if self.model is not None:
            self.weights.append(self.model[0].weight.detach().clone())


@pytest.fixture
def train(data, fabric, plan):
    """Train a new network, or the one given; returns it with its history."""

    def run(model=None, *, name="fp32", seed=0, scales=(), steering=None, on_epoch=None, **to):
        model = network() if model is None else model
        history = train_(
            model,
            plan(**to),
            data,
            fabric=fabric,
            name=name,
            seed=seed,
            scales=scales,
            steering=steering,
            on_epoch=on_epoch,
        )
        return SimpleNamespace(model=model, history=history, weights=model.state_dict())

    return run


def test_training_learns(train):
    history = train().history
    losses = [row.loss for row in history]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.5 * losses[0]
    assert history[-1].val_top1 == 100
    assert [row.epoch for row in history] == [1, 2, 3]


def test_the_same_seed_gives_the_same_weights_bit_for_bit(train):
    first, second = train(seed=5), train(seed=5)
    assert first.history == second.history
    for name, value in first.weights.items():
        assert torch.equal(value, second.weights[name]), name
    other = train(seed=6)
    assert not torch.equal(first.weights["0.weight"], other.weights["0.weight"])


def test_the_weights_are_those_of_plain_torch(train, data):
    """Momentum, decay of the rate and weight decay are what a loop written by hand does."""
    trained = train(decay=Decay.linear, weight_decay=0.01, epochs=2).weights
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    step = 0
    for epoch in (1, 2):
        for images, labels in data.train_batches(epoch=epoch, seed=0):
            optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 8)
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    for name, value in model.state_dict().items():
        # The same operations in the same order: only the rate's rounding may differ.
        assert torch.allclose(value, trained[name], rtol=1e-6, atol=1e-7), name


def test_the_data_is_asked_for_each_epoch_with_the_seed_and_the_limit(train, data):
    train(seed=9, epochs=2, limit_batches=3)
    assert data.asked == [(1, 9, 0, 1, 3), (2, 9, 0, 1, 3)]


def test_a_limit_shortens_the_epochs_and_their_schedule(train):
    watcher = Watcher()
    history = train(epochs=2, limit_batches=1, steering=watcher, decay=Decay.linear).history
    assert watcher.shares == [0, 0.5]
    assert [row.lr for row in history] == pytest.approx([0.1, 0.05])


def test_a_limit_beyond_the_data_changes_nothing(train):
    assert train(limit_batches=99).history == train().history


def test_steering_is_called_around_every_step_with_the_share_and_the_number(train):
    watcher = Watcher()
    train(steering=watcher, epochs=3)
    assert watcher.shares == pytest.approx([step / 12 for step in range(12)])
    assert watcher.steps == list(range(12))


def test_steering_comes_before_and_after_the_step_changes_anything(train):
    model = network()
    watcher = Watcher(model)
    before = model[0].weight.detach().clone()
    train(model, steering=watcher, limit_batches=1, epochs=1)
    assert torch.equal(watcher.weights[0], before)
    assert torch.equal(watcher.weights[1], model[0].weight)
    assert not torch.equal(watcher.weights[1], before)


def test_steering_chooses_the_loss_and_reports_the_oscillation(train):
    class Constant(Steering):
        def loss(self, logits, images, labels):
            return 0 * logits.sum() + len(images)

        def end_epoch(self):
            return 0.25

    result = train(steering=Constant(), epochs=1, weight_decay=0.0)
    assert result.history[0].loss == 8  # images of a batch
    assert result.history[0].metrics()["oscillation"] == 0.25


def test_gradients_are_clipped_to_the_norm(train):
    """A step of plain SGD is no longer than the rate times the norm allowed."""
    model = network()
    before = [value.detach().clone() for value in model.parameters()]
    train(
        model,
        epochs=1,
        limit_batches=1,
        momentum=None,
        weight_decay=0.0,
        clip_grad_norm=0.01,
        warmup_epochs=0,
    )
    moved = [
        (new.detach() - old).square().sum()
        for new, old in zip(model.parameters(), before, strict=True)
    ]
    assert float(torch.stack(moved).sum().sqrt()) == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_no_epochs_leave_the_weights_and_end_in_eval_mode(train):
    before = network().state_dict()
    result = train(epochs=0, select=Select.best)
    assert result.history == []
    assert not result.model.training
    for name, value in before.items():
        assert torch.equal(value, result.weights[name]), name


def scripted(monkeypatch, val):
    """Let validation find these figures, and keep the weights that each was found with."""
    seen = []

    def evaluate(model, batches):
        assert len(list(batches)) == 4
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        top1, loss = val[len(seen) - 1]
        return SimpleNamespace(top1=top1, loss=loss)

    monkeypatch.setattr("qatexp.training.loop.evaluate", evaluate)
    return seen


@pytest.mark.parametrize(
    ("select", "val", "kept"),
    [
        pytest.param(Select.best, [(50.0, 0.1), (70.0, 0.9), (60.0, 0.1)], 1, id="best"),
        pytest.param(Select.best, [(70.0, 0.5), (70.0, 0.3), (70.0, 0.4)], 1, id="loss of ties"),
        pytest.param(Select.best, [(70.0, 0.5), (70.0, 0.5), (60.0, 0.1)], 1, id="last of equals"),
        pytest.param(Select.best, [(0.0, 0.1), (0.0, 0.2), (0.0, 0.3)], 0, id="zero is a figure"),
        pytest.param(Select.last, [(70.0, 0.1), (60.0, 0.2), (50.0, 0.3)], 2, id="last"),
    ],
)
def test_the_epoch_that_is_asked_for_is_kept(train, monkeypatch, select, val, kept):
    """Batch-norm statistics included: they are part of what validation measured."""
    seen = scripted(monkeypatch, val)
    result = train(select=select)
    assert [(row.val_top1, row.val_loss) for row in result.history] == val
    marked = [index for index, row in enumerate(result.history) if row.kept]
    assert marked == ([kept] if select is Select.best else [])
    for name, value in seen[kept].items():
        assert torch.equal(value, result.weights[name]), name
    assert not torch.equal(seen[0]["0.weight"], seen[2]["0.weight"])
    assert not result.model.training


def test_without_validation_images_the_last_epoch_is_kept(train, data):
    data.val = 0
    result = train(select=Select.best)
    assert [row.val_top1 for row in result.history] == [None, None, None]
    assert result.history[0].metrics().keys() == {"loss", "lr"}


def test_validation_does_not_change_the_training(train, data):
    with_val = train().weights
    data.val = 0
    for name, value in train().weights.items():
        assert torch.equal(value, with_val[name]), name


def test_every_epoch_is_told_when_it_ends(train):
    told = []
    history = train(on_epoch=told.append).history
    assert told == history
    assert set(told[0].metrics()) == {"loss", "lr", "val_top1", "val_loss"}


def test_figures_that_are_zero_are_figures():
    assert EpochLog(1, 0.0, 0.0, 0.0, 0.0).metrics() == {
        "loss": 0.0,
        "lr": 0.0,
        "val_top1": 0.0,
        "val_loss": 0.0,
    }


def test_learned_scales_have_a_decay_of_their_own(train):
    """Neither has a gradient of its own, so that decay alone could move them."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)
            self.scale = nn.Parameter(torch.ones(()))
            self.other = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.layer(x) + 0 * self.scale + 0 * self.other

    model = Scaled()
    train(model, scales=[model.scale], weight_decay=0.1)
    assert model.scale.item() == 1
    assert model.other.item() < 1


@pytest.mark.parametrize(
    ("name", "knob"),
    [
        ("fp32", "schedule.fp32.lr"),
        ("qat", "schedule.qat.lr_scale"),
        ("control", "schedule.qat.lr_scale"),
    ],
    ids=["fp32", "qat", "control"],
)
def test_a_loss_that_is_not_finite_ends_the_training_in_words(train, data, name, knob):
    data.images[3] = float("nan")
    with pytest.raises(TrainingError) as problem:
        train(name=name)
    text = str(problem.value)
    assert re.fullmatch(
        rf"the loss of {name} is not finite in epoch 1, step [1-4] of 4 "
        rf"\(learning rate 0\.\d+\); try a smaller {re.escape(knob)}",
        text,
    )


@pytest.mark.parametrize("norm", [None, 1.0], ids=["free", "clipped"])
def test_a_rate_that_is_far_too_large_is_noticed(train, norm):
    """Also where gradients are clipped: that knows no bound for what is not finite."""
    with pytest.raises(NonFiniteLossError, match=r"is not finite in epoch \d, step \d of 4 "):
        train(lr=1e30, epochs=3, clip_grad_norm=norm)


def test_a_gradient_that_is_not_finite_is_told_as_a_loss(train, data):
    data.images[3] = float("nan")
    with pytest.raises(NonFiniteLossError, match="is not finite in epoch 1"):
        train(clip_grad_norm=1.0)


class Auxiliary(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x), self.layer(x)


def test_a_model_with_several_outputs_is_refused_in_words(train):
    with pytest.raises(TrainingError) as problem:
        train(Auxiliary())
    assert str(problem.value) == (
        "the model returns tuple in training, not logits; models with auxiliary outputs have to "
        "be built without them, e.g. +model.aux_logits=false"
    )


def test_label_smoothing_changes_the_loss(train):
    assert train(label_smoothing=0.2).history[0].loss != train().history[0].loss
