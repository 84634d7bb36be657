import json

import pytest

from qatexp.records import Variant
from qatexp.tracking.view import VIEW_TAG, experiment_tags, page_path
from qatexp.training.epochs import EpochLog


@pytest.fixture
def state():
    view = json.loads(experiment_tags("7", since=5)[VIEW_TAG])
    assert (view["createdAt"], view["updatedAt"]) == (5, 5)
    return json.loads(view["state"])


def test_the_view_is_the_same_every_time():
    assert experiment_tags("7", since=5) == experiment_tags("7", since=5)


def test_the_table_lists_accuracy_size_and_latency(state):
    assert state["selectedColumns"] == [
        "params.`qconfig.weight.bits`",
        "params.`schedule.qat.lr_scale`",
        "params.`schedule.qat.epochs`",
        "metrics.`ptq/deployed_top1`",
        "metrics.`qat/deployed_top1`",
        "metrics.`qat/size_bytes`",
        "metrics.`qat/latency_ms_p50`",
    ]


def test_the_trials_are_not_folded_away(state):
    """Ordered by date, MLflow shows the sweep alone and hides its trials below it."""
    assert state["orderByKey"] == "metrics.`qat/deployed_top1`"
    assert state["searchFilter"] == (
        "tags.`qatexp.kind` != 'sweep' AND tags.`qatexp.kind` != 'analysis'"
    )


def test_the_charts_show_the_trade_offs(state):
    charts = {chart["displayName"]: chart for chart in state["compareRunCharts"]}
    size, latency = charts["accuracy against size"], charts["accuracy against latency"]
    assert (size["xaxis"]["key"], size["yaxis"]["key"]) == ("qat/size_bytes", "qat/deployed_top1")
    assert latency["xaxis"]["key"] == "qat/latency_ms_p50"
    assert charts["what drives accuracy"]["selectedParams"][0] == "qconfig.weight.bits"
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in charts.values()} == sections
    assert len({chart["uuid"] for chart in charts.values()}) == len(charts)


def test_the_curves_are_metrics_that_trainings_log(state):
    """A chart of a metric that nobody logs would be hidden, and nobody would know."""
    epoch = EpochLog(1, 0.1, 0.1, 90.0, 0.2, 0.0).metrics()
    curves = [chart for chart in state["compareRunCharts"] if chart["type"] == "LINE"]
    keys = [key.split("_epochs/") for chart in curves for key in chart["selectedMetricKeys"]]
    assert [stage for stage, _ in keys] == ["qat"] * 3 + ["fp32"] * 3
    assert {name for _, name in keys} == {"loss", "val_loss", "val_top1"} <= set(epoch)


def test_the_note_links_to_the_view():
    first = experiment_tags("7", since=5)["mlflow.note.content"].splitlines()[0]
    assert f"[charts]({page_path('7', charts=True)[1:]})" in first
    assert f"[table]({page_path('7')[1:]})" in first


def test_the_metrics_of_the_view_are_fields_of_the_record(state):
    names = [name.strip("`") for name in " ".join(state["selectedColumns"]).split("metrics.")[1:]]
    fields = {name.strip().strip("`").partition("/")[2] for name in names}
    assert fields <= set(Variant.__dataclass_fields__)


def test_an_unknown_version_of_mlflow_gets_no_view(monkeypatch, caplog):
    monkeypatch.setattr("mlflow.__version__", "4.0.0")
    tags = experiment_tags("7", since=5)
    assert VIEW_TAG not in tags
    assert "viewStateShareKey" not in tags["mlflow.note.content"]
    assert caplog.messages == ["the saved view is left out: unknown MLflow version 4.0.0"]


def test_pages():
    assert page_path("7") == (
        "/#/experiments/7/runs?viewStateShareKey=qatexp-tradeoff"
        "&compareRunsMode=TABLE&workflowType=machine_learning"
    )
    assert "compareRunsMode=CHART" in page_path("7", charts=True)
