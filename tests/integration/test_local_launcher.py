"""Trials at the same time, each in a process of its own, give what a serial sweep gives."""

from __future__ import annotations

import pytest
from command import SMALL_SWEEP, Outcome, qatexp, trials

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("small sweep")]


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Outcome:
    home = tmp_path_factory.mktemp("local")
    return qatexp(home, *SMALL_SWEEP, "hydra/launcher=local", "hydra.launcher.slots=2")


def test_figures_are_those_of_a_serial_sweep(small_sweep, local):
    assert local.code == 0, local.err
    found = trials(local)
    for trial in found:
        (warning,) = (text for text in trial["warnings"] if "up to 1 other trials" in text)
        trial["warnings"] = tuple(text for text in trial["warnings"] if text != warning)
    expected = [{**trial, "warnings": tuple(trial["warnings"])} for trial in trials(small_sweep)]
    assert found == expected


def test_the_baseline_is_trained_once(local):
    assert sorted(record.cached["fp32"] for record in local.trial_records()) == [False, True]


def test_every_metric_reaches_the_store(local):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{local.home}/multirun/mlflow.db")
    for record in local.trial_records():
        run = client.get_run(record.mlflow_run_id)
        assert run.info.status == "FINISHED"
        missing = record.metrics().keys() - run.data.metrics.keys()
        assert missing == set()
        for stage in ("fp32", "qat"):
            assert len(client.get_metric_history(run.info.run_id, f"{stage}_epochs/loss")) == 1


def test_a_plain_terminal_has_a_line_for_each_start_and_end(local):
    for number, bits in enumerate((8, 2)):
        assert f"trial {number} starts: qconfig.bits={bits}" in local.err
        assert f"trial {number} finished after" in local.err
