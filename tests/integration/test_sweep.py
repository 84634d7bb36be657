"""A sweep from the command line, with trials that fail."""

from __future__ import annotations

import json
import re

import pytest
from command import qatexp

from qatexp.records import load_record

pytestmark = pytest.mark.slow


def records(sweep):
    folder = sweep.runs("sweep")[0]
    return [load_record(path) for path in sorted(folder.iterdir()) if path.name.isdigit()]


def test_failed_trials_do_not_stop_the_others(sweep):
    assert sweep.code == 1
    statuses = [record.status for record in records(sweep)]
    assert statuses == ["finished", "failed", "finished", "failed"]
    assert "Traceback" not in sweep.err


def test_a_failed_trial_says_where_and_why(sweep):
    failed = records(sweep)[1]
    assert failed.error["stage"] == "qat"
    assert failed.error["kind"] == "non_finite_loss"
    assert "not finite" in failed.error["message"]
    assert "schedule.qat.lr_scale" in failed.error["message"]


def test_the_baseline_is_trained_once(sweep, first_run):
    """The single run before has trained it already; every trial takes it from there."""
    assert all(record.cached["fp32"] for record in records(sweep))
    assert len({record.fingerprints["fp32"] for record in records(sweep)}) == 1


def test_the_sweep_ends_with_a_comparison(sweep):
    folder = sweep.runs("sweep")[0]
    assert {"compare.csv", "compare.md", "compare.html", "pareto.png"} <= {
        path.name for path in folder.iterdir()
    }
    printed = " ".join(sweep.out.split())
    assert "2 failed" in printed
    assert "the loss of qat is not finite in epoch 1" in printed
    assert re.fullmatch(r"MLflow pages: \S*qatexp ui", sweep.out.strip().splitlines()[-1])


def test_trials_are_nested_under_one_closed_parent(sweep, home):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/multirun/mlflow.db")
    runs = [client.get_run(record.mlflow_run_id) for record in records(sweep)]
    (parent_id,) = {run.data.tags["mlflow.parentRunId"] for run in runs}
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED", "FINISHED", "FAILED"]
    parent = client.get_run(parent_id)
    assert parent.info.status == "FAILED"
    assert parent.data.metrics["sweep/trials"] == 4
    assert "compare.md" in {item.path for item in client.list_artifacts(parent_id)}
    assert runs[0].info.run_name == "0: bits=8 lr_scale=0.1 (resnet8-digits)"


def test_the_best_trial_is_registered_by_the_rule_that_is_printed(sweep, home):
    from mlflow import MlflowClient

    best = json.loads((sweep.runs("sweep")[0] / "best.json").read_text())
    assert f"best: qat of trial {best['trial']} (" in sweep.out
    assert "by max val_top1 (within " in sweep.out
    assert "registered as version 1 of resnet8-digits: models:/resnet8-digits@best" in sweep.out
    client = MlflowClient(f"sqlite:///{home}/multirun/mlflow.db")
    version = client.get_model_version_by_alias("resnet8-digits", "best")
    record = records(sweep)[int(best["trial"])]
    assert version.run_id == record.mlflow_run_id == best["mlflow_run_id"]
    assert float(version.tags["deployed_top1"]) == record.variants["qat"].deployed_top1
    (parent,) = client.search_runs(
        ["1"], f"attributes.run_id = '{version.tags['qatexp.sweep_run']}'"
    )
    assert parent.data.tags["mlflow.note.content"].startswith("best: qat of trial")


def test_a_warning_that_all_trials_share_is_shown_once(sweep):
    """On a processor with VNNI there is none of them."""
    warned = [record for record in records(sweep) if "no VNNI" in " ".join(record.warnings)]
    assert sweep.err.count("this processor has no VNNI") == min(len(warned), 1)


def test_compare_writes_the_same_files_again(sweep, home):
    outcome = qatexp(home, "compare", str(sweep.runs("sweep")[0]))
    assert outcome.code == 0, outcome.err
    assert "compare.csv" in outcome.out


def test_one_bad_point_stops_a_sweep_before_it_starts(tmp_path):
    outcome = qatexp(tmp_path, "-m", "qconfig.bits=8,4,9")
    assert outcome.code == 2
    assert "qconfig.bits=9" in outcome.err
    assert not (tmp_path / "multirun").exists()
