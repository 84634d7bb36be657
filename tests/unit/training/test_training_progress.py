import io
import logging

import pytest
from rich.console import Console

from qatexp.training import progress
from qatexp.training.progress import reporter

LINE = "fp32 epoch 1/2  loss 0.5000  val top-1 97.50 %  (0.1 s)"


@pytest.fixture
def shown(monkeypatch):
    """Run two steps and one epoch on a terminal or on none: what the screen has seen."""

    def run(*, terminal, quiet=False):
        screen = io.StringIO()
        monkeypatch.setattr(
            progress, "Console", lambda **_: Console(file=screen, force_terminal=terminal)
        )
        with reporter("fp32", steps=2, quiet=quiet) as report:
            report.step(0.25)
            report.step(None)
            report.epoch(LINE)
        return screen.getvalue()

    return run


def test_a_terminal_shows_a_bar_with_the_loss(shown):
    seen = shown(terminal=True)
    assert "fp32" in seen
    assert "2/2" in seen
    assert "loss 0.250" in seen


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "log"])
def test_an_epoch_is_one_line_of_the_log(shown, caplog, terminal):
    with caplog.at_level(logging.INFO):
        shown(terminal=terminal)
    assert caplog.messages == [LINE]


def test_elsewhere_there_is_no_bar(shown):
    assert shown(terminal=False) == ""


def test_other_processes_than_the_first_say_nothing(shown, caplog):
    with caplog.at_level(logging.INFO):
        assert shown(terminal=True, quiet=True) == ""
    assert caplog.messages == []
