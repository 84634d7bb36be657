"""Sensitivities and bits chosen under a budget, from the command line."""

from __future__ import annotations

import csv

import pytest
from command import qatexp

pytestmark = pytest.mark.slow

FAST = ("schedule.fp32.epochs=3", "measure.rounds=3", "qconfig.auto.batches=1")
ANALYSIS = (*FAST, "qconfig.auto.choices=[2,4,8]")


@pytest.fixture(scope="module")
def analysis(home):
    return qatexp(home, "analyze", *ANALYSIS)


def test_analyze_leaves_table_plot_and_mlflow_run(analysis, home):
    from mlflow import MlflowClient

    assert analysis.code == 0, analysis.err
    (folder,) = analysis.runs("analyze")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {"sensitivity.csv", "sensitivity.md", "figures/sensitivity.png", "qatexp.log"} <= names
    with (folder / "sensitivity.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 * 2 * 3
    assert "blocks.1.shortcut.0" in analysis.out
    client = MlflowClient(f"sqlite:///{home}/multirun/mlflow.db")
    experiment = client.get_experiment_by_name("qatexp").experiment_id
    (run,) = client.search_runs([experiment], "tags.`qatexp.kind` = 'analysis'")
    assert run.info.status == "FINISHED"
    steps = [p.step for p in client.get_metric_history(run.info.run_id, "weight/conv1/sqnr_db")]
    assert steps == [2, 4, 8]
    artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"sensitivity.csv", "sensitivity.md", "figures"} <= artifacts


def test_bits_under_a_size_reach_the_file_that_was_predicted(analysis, home):
    """Trained in two processes, which prepare the model anew: they have to see the chosen bits."""
    outcome = qatexp(
        home, *ANALYSIS, "qconfig.auto.budget=size_bytes", "qconfig.auto.target=33000",
        "schedule.qat.epochs=1", "tracking=none", "trainer.devices=2", "trainer.threads=1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    record = outcome.record()
    auto = record.quantization["auto"]
    assert auto["predicted"]["size_bytes"] <= auto["target"] == 33000
    size = record.variants["qat"].size_bytes
    assert size == pytest.approx(auto["predicted"]["size_bytes"], rel=0.02)
    assert auto["reached"]["size_bytes"] == max(size, record.variants["ptq"].size_bytes)
    layers = record.quantization["layers"]
    ends = {"weight_bits": 8, "activation_bits": 8, "granularity": "per_channel"}
    assert layers["conv1"] == layers["linear"] == ends
    assert len({bits["weight_bits"] for bits in layers.values()}) > 1
    assert {bits["activation_bits"] for bits in layers.values()} == {8}
    assert record.params["qconfig.layers"] == []


def test_bit_operations_share_the_sensitivities_and_hold_for_rules(analysis, home):
    outcome = qatexp(
        home, *ANALYSIS, "qconfig.auto.budget=bops", "qconfig.auto.target_bits=4",
        "qconfig.layers=[{match: blocks.0.conv1, weight_bits: 3}]",
        "schedule.qat.epochs=0", "tracking=none",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    record = outcome.record()
    assert record.cached["sensitivity_weight"]
    assert record.cached["sensitivity_activation"]
    auto = record.quantization["auto"]
    assert auto["reached"]["bops"] == auto["predicted"]["bops"] <= auto["target"]
    assert auto["predicted"]["kl"] <= auto["uniform"]["predicted"]["kl"]
    layers = record.quantization["layers"]
    assert layers["blocks.0.conv1"]["weight_bits"] == 3
    shared = {layers[f"blocks.1.{name}"]["activation_bits"] for name in ("conv1", "shortcut.0")}
    assert len(shared) == 1


def test_an_impossible_target_says_what_is_possible(analysis, home):
    outcome = qatexp(
        home, *ANALYSIS, "qconfig.auto.budget=size_bytes", "qconfig.auto.target=1000",
        "tracking=none",
    )  # fmt: skip
    assert outcome.code == 1
    message = outcome.record().error["message"]
    assert message.startswith(
        "qconfig.auto.target=1,000 is not possible with size_bytes; allowed: at least 2"
    )


def test_analyze_refuses_a_wrong_key_before_anything_is_written(tmp_path):
    outcome = qatexp(tmp_path, "analyze", "qconfig.autos=1")
    assert outcome.code == 2
    assert "qconfig.autos is not a key" in outcome.err
    assert list(tmp_path.iterdir()) == []
