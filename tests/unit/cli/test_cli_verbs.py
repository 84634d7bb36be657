import json
import subprocess
import sys

import click
import pytest

from qatexp.cli import verbs
from qatexp.cli.verbs import run_verb
from qatexp.records import Record


@pytest.fixture
def said(capsys, monkeypatch, tmp_path):
    """Run a verb in an empty folder: exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments):
        code = run_verb(list(arguments))
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(["ui", "--nope"], "No such option", id="unknown option"),
        pytest.param(
            ["ui", "--port", "many"], "'many' is not a valid integer", id="wrong type of option"
        ),
        pytest.param(
            ["ui", "--port", "99999999"],
            "qatexp: port 99999999 is not possible; allowed: 1 to 65535.\n",
            id="port out of range",
        ),
        pytest.param(["compare", "--uri", "x"], "add --experiment=NAME", id="uri alone"),
        pytest.param(
            ["compare", "a", "--experiment", "x"],
            "--experiment=x and FOLDER=a exclude each other; give one",
            id="folder and experiment",
        ),
        pytest.param(
            ["ui", "--uri", "http://127.0.0.1:9"], "http://127.0.0.1:9", id="no server there"
        ),
    ],
)
def test_a_wrong_request_is_exit_code_2_and_one_line(said, tmp_path, arguments, text):
    code, out, error = said(*arguments)
    assert (code, out) == (2, "")
    assert error.startswith("qatexp: ")
    assert error.count("\n") == 1
    assert text in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["compare", "nope"], ["compare"]], ids=["missing", "none"])
def test_comparing_what_is_not_there_is_exit_code_2_and_one_line(said, tmp_path, arguments):
    code, out, error = said(*arguments)
    assert (code, out) == (2, "")
    assert error.startswith("qatexp: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_filter_is_exit_code_2_and_nothing_is_written(said, tmp_path):
    record = Record(name="x", status="finished", params={"qconfig.bits": 4})
    for number in ("0", "1"):
        (tmp_path / "s" / number).mkdir(parents=True)
        (tmp_path / "s" / number / "record.json").write_text(json.dumps(record.to_dict()))
    code, out, error = said("compare", "s", "--where", "bitz < 4", "--out", "new")
    assert (code, out) == (2, "")
    assert error.startswith("qatexp: --where=bitz < 4: unknown name bitz ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]
    code, out, error = said("compare", "s", "--where", "bits <= 4", "--out", "new/folder")
    assert (code, error) == (0, "")
    assert "wrote new/folder/compare.html" in out


def test_a_comparison_of_some_trials_leaves_that_of_all_alone(said, tmp_path):
    for number, bits in enumerate((8, 4, 4)):
        record = Record(name="x", status="finished", params={"qconfig.bits": bits, "seed": number})
        (tmp_path / "s" / str(number)).mkdir(parents=True)
        (tmp_path / "s" / str(number) / "record.json").write_text(json.dumps(record.to_dict()))
    assert said("compare", "s")[0] == 0
    whole = (tmp_path / "s" / "compare.md").read_text()
    code, out, _ = said("compare", "s", "--where", "bits == 4")
    assert code == 0
    assert "x: 2 of 3 trials where bits == 4 (4)" in out
    assert (tmp_path / "s" / "compare.md").read_text() == whole
    (folder,) = (tmp_path / "multirun" / "compare").iterdir()
    assert f"wrote {folder.relative_to(tmp_path)}/compare.md" in out


def test_a_comparison_whose_reader_goes_away_has_its_files(tmp_path):
    """``qatexp compare | head`` closes the pipe before the table has ended."""
    record = Record(name="x", status="failed", params={})
    (tmp_path / "s" / "0").mkdir(parents=True)
    (tmp_path / "s" / "0" / "record.json").write_text(json.dumps(record.to_dict()))
    command = [sys.executable, "-m", "qatexp", "compare", "s"]
    pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert process.returncode == 0
    assert "Broken" not in error
    assert (tmp_path / "s" / "compare.html").exists()


@pytest.mark.parametrize("verb", ["compare", "ui"])
def test_help_is_exit_code_0(said, verb):
    code, out, error = said(verb, "--help")
    assert (code, error) == (0, "")
    assert out.startswith(f"Usage: qatexp {verb} ")


def test_the_exit_code_of_a_verb_is_that_of_the_program(said, monkeypatch):
    monkeypatch.setattr("qatexp.tracking.ui.serve", lambda *_, **__: 3)
    assert said("ui") == (3, "", "")


def test_an_interrupt_shows_no_traceback(said, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("qatexp.tracking.ui.serve", interrupted)
    code, out, error = said("ui")
    assert (code, out, error.strip()) == (130, "", "")


def test_every_verb_is_known_to_the_entry_point():
    assert isinstance(verbs.verbs, click.Group)
    assert sorted(verbs.verbs.commands) == sorted(verbs.VERBS)
