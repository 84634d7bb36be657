"""One experiment from the command line: what it prints, writes and logs."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from command import SHORT, comparable, qatexp

from qatexp.records import load_record

pytestmark = pytest.mark.slow


def test_the_command_succeeds_and_shows_the_table(first_run):
    assert first_run.code == 0, first_run.err
    for word in ("fp32", "control", "ptq", "qat", "top-1", "speedup", "parity"):
        assert word in first_run.out.lower()
    assert "Traceback" not in first_run.err
    assert "Warning" not in first_run.err + first_run.out


def test_the_run_folder_holds_what_the_contract_says(first_run):
    folder = first_run.folder
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {".hydra/config.yaml", ".hydra/overrides.yaml", "qatexp.log", "record.json"} <= names
    assert {f"artifacts/{v}.onnx" for v in ("fp32", "control", "ptq", "qat")} <= names


def test_the_record_holds_what_the_contract_says(first_run):
    content = json.loads((first_run.folder / "record.json").read_text())
    assert content["schema"] == 1
    assert content["status"] == "finished"
    assert {
        "mlflow_run_id", "name", "params", "variants", "parity", "seconds", "cached",
        "fingerprints", "environment",
    } <= set(content)  # fmt: skip
    assert set(content["variants"]) == {"fp32", "control", "ptq", "qat"}
    assert {
        "top1", "deployed_top1", "loss", "params", "size_bytes", "size_ideal_bytes",
        "latency_ms_p50", "latency_ms_p95", "latency_speedup", "macs_int_share",
    } <= set(content["variants"]["qat"])  # fmt: skip
    assert content["params"]["schedule.qat.lr_scale"] == 0.1
    assert content["params"]["qconfig.bits"] == 8


def test_the_deployed_file_does_what_was_trained(first_run):
    record = first_run.record()
    qat = record.variants["qat"]
    assert record.variants["fp32"].deployed_top1 > 90
    assert abs(qat.top1 - qat.deployed_top1) <= 0.3  # one of 359 images
    assert record.parity.top1_agreement >= 0.995
    assert qat.macs_int_share == 1.0
    assert qat.ops_float == {}
    assert qat.size_bytes < 0.3 * record.variants["fp32"].size_bytes


def test_every_variant_is_in_mlflow(first_run, home):
    from mlflow import MlflowClient

    record = first_run.record()
    client = MlflowClient(f"sqlite:///{home}/multirun/mlflow.db")
    run = client.get_run(record.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["qat/deployed_top1"] == record.variants["qat"].deployed_top1
    assert run.data.params["qconfig.weight.bits"] == "8"
    epochs = client.get_metric_history(record.mlflow_run_id, "fp32_epochs/loss")
    assert [point.step for point in epochs] == [1, 2, 3]
    artifacts = {item.path for item in client.list_artifacts(record.mlflow_run_id)}
    assert {"record.json", "config.json", "figures"} <= artifacts
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"


def test_the_same_command_gives_the_same_record_bit_for_bit(first_run, home):
    again = qatexp(home, *SHORT, "schedule.control=true", "name=first", "cache.enabled=false")
    assert again.code == 0, again.err
    first, second = load_record(first_run.folder), again.record()
    assert not any(second.cached.values())
    assert comparable(first) == comparable(replace(second, params=first.params))


def test_cached_stages_give_the_same_record(first_run, home):
    again = qatexp(home, *SHORT, "schedule.control=true", "name=first")
    assert again.code == 0, again.err
    second = again.record()
    assert all(second.cached[stage] for stage in ("fp32", "ptq", "qat", "export_qat"))
    assert comparable(load_record(first_run.folder)) == comparable(second)


def test_epochs_of_cached_trainings_are_logged_too(first_run, home):
    from mlflow import MlflowClient

    qatexp(home, *SHORT)
    runs = sorted((home / "multirun" / "single").iterdir())
    client = MlflowClient(f"sqlite:///{home}/multirun/mlflow.db")
    run_id = load_record(runs[-1]).mlflow_run_id
    assert len(client.get_metric_history(run_id, "fp32_epochs/loss")) == 3


def test_tracking_can_be_switched_off(tmp_path):
    outcome = qatexp(tmp_path, "tracking=none", "debug=fast", "measure.rounds=2")
    assert outcome.code == 0, outcome.err
    assert outcome.record().mlflow_run_id is None
    assert not (tmp_path / "multirun" / "mlflow.db").exists()
