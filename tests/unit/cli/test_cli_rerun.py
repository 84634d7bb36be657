"""Exit codes and files of ``qatexp rerun``, with a pipeline that does nothing."""

import json
import logging
from dataclasses import replace

import pytest

from qatexp.cli.verbs import run_verb
from qatexp.config.parse import plain_config
from qatexp.records import Record, Variant

RECORD = Record(
    name="net-images",
    status="finished",
    params={},
    variants={"qat": Variant(90.0, 90.0, 0.5, 9, 9, 9, 0.5, 0.6, 1.0, 1.0)},
    environment={"threads": 1, "device": "cpu"},
)


@pytest.fixture
def outcome(points, tmp_path, monkeypatch, capsys):
    """Rerun a run whose pipeline now ends with a given record: exit code, outputs, verdict."""
    monkeypatch.chdir(tmp_path)
    (config,) = points("tracking=none")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "record.json").write_text(json.dumps(RECORD.to_dict()))
    (tmp_path / "old" / "config.json").write_text(json.dumps(plain_config(config)))
    handlers = list(logging.getLogger().handlers)

    def rerun(record, *arguments):
        monkeypatch.setattr("qatexp.rerun.replay.run", lambda *_, **__: record)
        code = run_verb(["rerun", "old", *arguments])
        out, error = capsys.readouterr()
        (file,) = tmp_path.glob("multirun/rerun/*/rerun.json")
        return code, out, error, json.loads(file.read_text())

    yield rerun
    logging.getLogger().handlers[:] = handlers


def test_equal_figures_are_exit_code_0(outcome):
    code, out, _, content = outcome(RECORD)
    assert code == 0
    assert "figures are equal, bit for bit" in out
    assert content["verdict"] == "equal"
    assert content["original"] == {"source": "folder old", "mlflow_run_id": None}


def test_another_figure_is_exit_code_1(outcome):
    other = replace(RECORD, variants={"qat": replace(RECORD.variants["qat"], top1=89.0)})
    code, out, _, content = outcome(other, "--set", "seed=1")
    assert code == 1
    assert "- seed was set on purpose: 0 -> 1" in out
    assert content["different"] == 1


def test_a_rerun_that_fails_is_exit_code_1_and_no_verdict(outcome):
    error = {"stage": "fp32", "kind": "training", "message": "the loss is not finite"}
    failed = replace(RECORD, status="failed", variants={}, error=error)
    code, out, said, content = outcome(failed)
    assert (code, out) == (1, "")
    assert "qatexp: fp32 failed: the loss is not finite\n" in said
    assert (content["verdict"], content["error"]) == ("failed", error)
