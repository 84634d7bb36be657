import io
import logging
import subprocess
import sys

import pytest

from qatexp.cli.console import ConsoleHandler, complain


def test_lines_go_to_the_standard_error_of_the_moment(monkeypatch):
    """A progress bar replaces `sys.stderr` while it lives, to keep lines and bar apart."""
    handler = ConsoleHandler()
    record = logging.LogRecord("qatexp", logging.INFO, __file__, 1, "epoch %d", (3,), None)
    streams = io.StringIO(), io.StringIO()
    for stream in streams:
        monkeypatch.setattr(sys, "stderr", stream)
        handler.emit(record)
        handler.flush()
    assert [stream.getvalue() for stream in streams] == ["epoch 3\n", "epoch 3\n"]
    assert handler.stream is streams[1]


def test_the_handler_does_not_close_standard_error(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    ConsoleHandler().close()
    assert not stream.closed


def test_a_complaint_is_one_line_on_standard_error(capsys):
    complain("seed=-1 is not possible")
    assert capsys.readouterr() == ("", "qatexp: seed=-1 is not possible\n")


def test_a_warning_that_all_trials_share_is_shown_once(monkeypatch):
    """Every trial of a serial sweep has a handler of its own, in one process."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    shared = ("qatexp", logging.WARNING, __file__, 1, "this processor is %s", ("old",), None)
    own = ("qatexp", logging.WARNING, __file__, 1, "this processor is %s", ("hot",), None)
    for facts in (shared, shared, own):
        ConsoleHandler().emit(logging.LogRecord(*facts))
    assert stream.getvalue() == "this processor is old\nthis processor is hot\n"


TALKATIVE = """
import sys
from pathlib import Path
from rich.console import Console
from qatexp.cli.console import outlive_readers
outlive_readers()
input()  # until the reader is gone
Console().print("table")
print("line", flush=True)
print("note", file=sys.stderr)
Path("done").touch()
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_does_not_end_the_work(tmp_path, stream):
    """``| head`` closes its pipe."""
    command = [sys.executable, "-c", TALKATIVE]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as process:
        getattr(process, stream).close()
        setattr(process, stream, None)
        out, error = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "done").exists()
    assert (out, error) == ((None, "note\n") if stream == "stdout" else ("table\nline\n", None))
