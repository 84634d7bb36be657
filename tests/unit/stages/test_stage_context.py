"""What a run says and keeps of its stages."""

import logging

import pytest

from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig
from qatexp.stages.context import Context, load_history, save_history
from qatexp.store.stage_cache import StageCache
from qatexp.training import EpochLog

HISTORY = [EpochLog(1, 0.5, 0.1, 90.0, 0.3, kept=True), EpochLog(2, 0.4, 0.05, 80.0, 0.4)]


@pytest.fixture
def context(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    config = ExperimentConfig("x", ModelConfig("a.b"), DatasetConfig("a.b"))
    return Context(config, tmp_path, StageCache(tmp_path / "stages"), lambda *_: None)


def test_a_history_comes_back_from_its_file_with_the_epoch_that_was_kept(tmp_path):
    save_history(HISTORY, tmp_path)
    assert load_history(tmp_path) == HISTORY


def test_a_stage_from_the_cache_takes_one_line(context, caplog):
    for _ in range(2):
        with context.stage("ptq", cacheable=True):
            context.entry("ptq", {}, lambda _: None)
    context_lines = [text.split(" in ")[0] for text in caplog.messages]
    assert context_lines == ["ptq ...", "ptq done", "ptq done"]
    assert caplog.messages[-1].endswith(" s (from the cache)")


@pytest.mark.parametrize(
    ("cached", "lines"),
    [
        pytest.param(False, ["fp32 keeps epoch 1 of 2, the best on validation"], id="trained"),
        pytest.param(True, [], id="from-the-cache"),
    ],
)
def test_the_end_of_a_training_says_which_epoch_was_kept(context, caplog, cached, lines):
    context.cached["fp32"] = cached
    context.add_history("fp32", HISTORY)
    assert caplog.messages == lines
