"""Trainings of several lengths share what they have in common, in whichever order they come."""

from dataclasses import replace

import pytest
from qat_case import CPU, Cut, CutData, calibrated, qat_config

from qatexp.config.schema import Decay, Select
from qatexp.quantization.graph_ops import copied
from qatexp.stages.context import HISTORY, OSCILLATION, WEIGHTS, Context
from qatexp.stages.train import train_stage, training_parts
from qatexp.store.stage_cache import StageCache

CONFIG = qat_config("lsq", decay=Decay.short, warmup_epochs=2.5, select=Select.best)


@pytest.fixture(scope="module")
def case():
    return calibrated(CONFIG)


@pytest.fixture
def train(case, tmp_path):
    """Train for so many epochs, with the stages that a cache has."""
    data, graph_module = case

    def run(epochs, *, cache, cut=None, **changes):
        qat = replace(CONFIG.schedule.qat, epochs=epochs, **changes)
        config = replace(CONFIG, schedule=replace(CONFIG.schedule, qat=qat))
        context = Context(config, tmp_path, StageCache(tmp_path / cache), lambda *_: None)
        context.data, context.device = CutData(data, cut), CPU
        model = copied(graph_module)
        parts = training_parts(config, data, "qat")

        def make(folder):
            train_stage(context, "qat", model, folder, parts=parts)

        with context.stage("qat", cacheable=True):
            folder = context.entry("qat", parts, make)
        context.files = [(folder / name).read_bytes() for name in (WEIGHTS, HISTORY, OSCILLATION)]
        return context

    return run


@pytest.mark.parametrize(
    ("lengths", "shared"),
    [
        pytest.param([1, 2, 4, 6], [0, 0, 1, 3], id="rising"),
        pytest.param([6, 4, 2, 1], [0, 3, 1, 0], id="falling"),
        pytest.param([4, 6, 2], [0, 3, 1], id="mixed"),
    ],
)
def test_trainings_of_other_lengths_share_their_first_epochs(train, lengths, shared):
    for length, first in zip(lengths, shared, strict=True):
        context = train(length, cache="together")
        assert context.data.epochs == list(range(first + 1, length + 1))
        assert context.shared == ({"qat": first} if first else {})
        assert context.resumed == {}
        assert context.files == train(length, cache=f"alone{length}").files


@pytest.mark.parametrize(("cut", "kind"), [(2, "stem"), (4, "decay")], ids=["stem", "decay"])
def test_a_training_with_a_stem_continues_where_it_was_cut_off(train, cut, kind):
    """It is its own state that it goes on from, not that of another one."""
    with pytest.raises(Cut):
        train(6, cache="cut", cut=cut, decay_epochs=3)
    context = train(6, cache="cut", decay_epochs=3)
    assert (context.resumed, context.shared) == ({"qat": cut}, {})
    assert context.files == train(6, cache="alone", decay_epochs=3).files


@pytest.mark.parametrize(
    "changes",
    [{"lr_scale": 0.25}, {"label_smoothing": 0.1}, {"select": Select.last}],
    ids=lambda changes: next(iter(changes)),
)
def test_trainings_that_differ_in_more_than_length_share_nothing(train, changes):
    train(3, cache="together")
    assert train(4, cache="together", **changes).shared == {}


def test_a_longer_decay_may_follow_the_same_stem(train):
    train(3, cache="together")
    context = train(6, cache="together", decay_epochs=3)
    assert context.shared == {"qat": 2}
    assert context.files == train(6, cache="alone", decay_epochs=3).files


def test_other_decays_share_nothing(train):
    for length in (2, 4):
        context = train(length, cache="together", decay=Decay.constant)
        assert context.shared == {}
