"""A training that was cut off and continues is, bit for bit, one that never stopped."""

import io
import logging
import random

import numpy as np
import pytest
import torch
from torch import nn

from qatexp.config.schema import Select
from qatexp.store.checked import read_checked, write_checked
from qatexp.training import Checkpoints, Steering, checkpoint, train_
from qatexp.training.random_state import random_state, restore_random_state

CPU = torch.device("cpu")


class Cut(BaseException):
    """The end of a process."""


class Masked(nn.Module):
    """Keeps a state that it leaves out of `state_dict`, and draws from every generator."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        if not self.training:
            return x
        self.calls += 1
        return x * (1 + 0.01 * self.calls + 0.1 * random.random() + 0.1 * np.random.rand())


def network():
    """Draws random numbers in every step."""
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    layers = (nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.4), Masked(), nn.Linear(8, 2))
    return nn.Sequential(*layers)


class Counting(Steering):
    """Its loss depends on all the steps before."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def loss(self, logits, images, labels):
        return super().loss(logits, images, labels) * (1 + 0.1 * self.count)

    def after_step(self, step):
        self.count += 1

    def state(self):
        return {"count": self.count}

    def restore_(self, state):
        self.count = state["count"]


@pytest.fixture
def train(data, fabric, plan, tmp_path, monkeypatch):
    """Train from the start or the checkpoint; `cut` ends it within the epoch after that one."""
    whole = data.train_batches

    def run(*, cut=None, seconds=0.0, folder=tmp_path / "f00d.partial", **changes):
        def batches(*, epoch, **options):
            for number, batch in enumerate(whole(epoch=epoch, **options)):
                if cut is not None and (epoch, number) == (cut + 1, 2):
                    raise Cut
                yield batch

        monkeypatch.setattr(data, "train_batches", batches)
        model, told, resumed = network(), [], []
        given = {"epochs": 5, "select": Select.best, "weight_decay": 0.01, **changes}
        history = train_(
            model,
            plan(**given),
            data,
            fabric=fabric,
            name="fp32",
            seed=0,
            steering=Counting(),
            on_epoch=told.append,
            keeper=None if folder is None else Checkpoints(folder, seconds=seconds),
            on_resume=resumed.append,
        )
        return model.state_dict(), history, told, resumed

    return run


def same(first, second):
    """Weights, figures and what was told of the epochs."""
    return first[1:3] == second[1:3] and all(
        torch.equal(value, second[0][name]) for name, value in first[0].items()
    )


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_training_that_was_cut_off_continues_bit_for_bit(train, caplog, cut, optimizer):
    caplog.set_level(logging.INFO)
    changes = {"optimizer": {"_target_": f"torch.optim.{optimizer}"}}
    undisturbed = train(folder=None, **changes)
    with pytest.raises(Cut):
        train(cut=cut, **changes)
    continued = train(**changes)
    assert same(continued, undisturbed)
    assert (undisturbed[3], continued[3]) == ([], [cut])
    assert caplog.messages.count(f"fp32 continues after epoch {cut} of 5") == 1


def test_a_training_may_be_cut_off_several_times(train):
    for cut in (1, 2, 4):
        with pytest.raises(Cut):
            train(cut=cut)
    assert same(train(), train(folder=None))


def test_a_training_that_ended_continues_with_its_end(train):
    """It was cut off after its last epoch: what is left is the choice of weights."""
    undisturbed = train()
    continued = train()
    assert same(continued, undisturbed)
    assert continued[3] == [5]
    assert [row.kept for row in continued[1]].count(True) == 1


def test_checkpoints_change_nothing(train):
    assert same(train(), train(folder=None))


def test_a_cut_before_the_first_checkpoint_starts_anew(train, tmp_path):
    with pytest.raises(Cut):
        train(cut=3, seconds=3600)
    assert list(tmp_path.iterdir()) == []
    continued = train()
    assert continued[3] == []
    assert same(continued, train(folder=None))


def test_checkpoints_are_written_when_the_time_has_passed(train, tmp_path, monkeypatch):
    """Each epoch takes 10 seconds here: after 30, and 30 after that."""
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: next(clock))
    written = []

    def write(path, content):
        state = torch.load(io.BytesIO(bytes(content)), weights_only=True)
        written.append(len(state["training"]["history"]))

    monkeypatch.setattr(checkpoint, "write_checked", write)
    train(epochs=7, seconds=30)
    # The clock is read once more for each checkpoint.
    assert written == [3, 6]


def test_half_written_files_of_a_cut_are_removed(train, tmp_path):
    with pytest.raises(Cut):
        train(cut=1)
    folder = tmp_path / "f00d.partial"
    (folder / ".checkpoint.x1").write_bytes(b"half")
    train()
    assert [path.name for path in folder.iterdir()] == ["checkpoint"]


def shorten(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edited(change):
    def damage(path):
        content = torch.load(io.BytesIO(read_checked(path)), weights_only=True)
        change(content)
        file = io.BytesIO()
        torch.save(content, file)
        write_checked(path, file.getvalue())

    return damage


class Code:
    """An object, which only unpickling could rebuild."""


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(shorten, "does not have the content", id="cut"),
        pytest.param(flip, "does not have the content", id="one-bit"),
        pytest.param(edited(lambda c: c.update(layout=0)), "it has layout 0", id="layout"),
        pytest.param(edited(lambda c: c["training"].pop("random")), "'random'", id="a-part"),
        pytest.param(
            edited(lambda c: c["training"]["model"].pop("0.weight")), "Error(s)", id="model"
        ),
        pytest.param(edited(lambda c: c.update(more=Code())), "Weights only", id="code"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_set_aside(train, tmp_path, caplog, damage, reason):
    with pytest.raises(Cut):
        train(cut=3)
    folder = tmp_path / "f00d.partial"
    damage(folder / "checkpoint")
    caplog.clear()
    continued = train()
    (warning,) = (row.message for row in caplog.records if row.levelno == logging.WARNING)
    (aside,) = folder.glob("checkpoint.damaged-*")
    assert warning.startswith(f"checkpoint {aside} cannot be used (")
    assert reason in warning
    assert warning.endswith("); the training starts from its beginning")
    assert continued[3] == []
    assert same(continued, train(folder=None))


def test_all_generators_go_on_where_they_were():
    def draw():
        return random.gauss(0, 1), np.random.randn(), float(torch.rand(()))

    draw()  # gauss makes two numbers at a time, and keeps one
    state = random_state(CPU)
    expected = [draw() for _ in range(3)]
    restore_random_state(state, CPU)
    assert [draw() for _ in range(3)] == expected
