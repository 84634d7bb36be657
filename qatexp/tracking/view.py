"""A ready page of the experiment: runs with accuracy, size and latency, and their trade-offs.

The page is what MLflow calls a shared view, kept in a tag of the experiment. The format belongs to
MLflow's own pages (read from version 3.17's, tried in a browser) and is no public interface.
"""

from __future__ import annotations

import json
import logging
from typing import Any

logger = logging.getLogger(__name__)

VIEW_ID = "qatexp-tradeoff"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_ID}"
KNOWN_MAJOR_VERSION = 3
KIND_TAG = "qatexp.kind"
SWEEP_KIND, ANALYSIS_KIND, RERUN_KIND = "sweep", "analysis", "rerun"
SUPERSEDED_TAG = "qatexp.superseded"
"""Of a run whose trial was started again."""

PARAMS = ("qconfig.weight.bits", "schedule.qat.lr_scale", "schedule.qat.epochs")
ACCURACY, SIZE, LATENCY = "qat/deployed_top1", "qat/size_bytes", "qat/latency_ms_p50"
PTQ_ACCURACY = "ptq/deployed_top1"
# As many columns as fit a window of 1600 pixels; MLflow sorts them by name and cuts them at 100.
METRICS = (PTQ_ACCURACY, ACCURACY, SIZE, LATENCY)
TRADE_OFFS, CURVES = "Trade-offs", "Training curves"
VIEW_NAME = "qatexp: accuracy, size, latency"

NOTE = """\
Accuracy, size and latency of the **exported files**: `fp32`, after training (`ptq`), `qat`.

| metric | meaning |
|---|---|
| `*/deployed_top1` | percent of the test images, the exported file in its runtime |
| `*/size_bytes` | bytes of the exported file |
| `*/latency_ms_p50` | median time of one call, in ms |
| `*/latency_speedup` | against `fp32`, measured in turns in one process |
| `parity/top1_agreement` | share of images on which training and deployment agree |
| `*_epochs/…` | training curves |
"""
# Its first line is all that MLflow shows of a note that is folded.
LINKS = "**Compare the runs: [charts]({charts}) · [table]({table})** (saved view *{name}*)\n\n"


def experiment_tags(experiment_id: str, *, since: int) -> dict[str, str]:
    """Tags that give the experiment its note, its kind of page and, where known, its saved view.

    Args:
        experiment_id: of the experiment, for the links of its note.
        since: Creation time of the experiment in ms, so that the view is the same in every run.
    """
    is_known = _is_known_version()
    tags = {
        "mlflow.note.content": _links(experiment_id) + NOTE if is_known else NOTE,
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": ACCURACY,
        "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    }
    return {**tags, VIEW_TAG: _saved_view(since)} if is_known else tags


def _links(experiment_id: str) -> str:
    # Without the slash in front they hold behind whatever address the server has.
    charts = page_path(experiment_id, charts=True).lstrip("/")
    table = page_path(experiment_id).lstrip("/")
    return LINKS.format(charts=charts, table=table, name=VIEW_NAME)


def page_path(experiment_id: str, *, charts: bool = False) -> str:
    """Path of the saved view behind the server's address: the table of runs, or the charts."""
    mode = "CHART" if charts else "TABLE"
    # Without the last part MLflow opens its menu for language models.
    query = f"viewStateShareKey={VIEW_ID}&compareRunsMode={mode}&workflowType=machine_learning"
    return f"/#/experiments/{experiment_id}/runs?{query}"


def _is_known_version() -> bool:
    import mlflow

    known = int(mlflow.__version__.partition(".")[0]) == KNOWN_MAJOR_VERSION
    if not known:
        logger.warning("the saved view is left out: unknown MLflow version %s", mlflow.__version__)
    return known


def _saved_view(since: int) -> str:
    times = {"createdAt": since, "updatedAt": since}
    return json.dumps({"name": VIEW_NAME, **times, "state": json.dumps(_state())})


def _state() -> dict[str, Any]:
    columns = [f"params.`{name}`" for name in PARAMS] + [f"metrics.`{name}`" for name in METRICS]
    return {
        "searchFilter": " AND ".join(
            f"tags.`{KIND_TAG}` != '{kind}'" for kind in (SWEEP_KIND, ANALYSIS_KIND)
        ),
        # Any order but by date: by date MLflow folds the trials under their sweep, out of sight.
        "orderByKey": f"metrics.`{ACCURACY}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "runsHiddenMode": "SHOWALL",
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "compareRunSections": [_section(TRADE_OFFS), _section(CURVES)],
        "compareRunCharts": [
            _scatter("accuracy against size", x=SIZE),
            _scatter("accuracy against latency", x=LATENCY),
            _parallel("what drives accuracy"),
            _scatter("what QAT regains over PTQ", x=PTQ_ACCURACY),
            *(_curves(stage, *names) for stage in ("qat", "fp32") for names in _CURVES),
        ],
    }


_CURVES = (("loss", "val_loss"), ("val_top1",))
"""Metrics by epoch that share a chart: training and validation loss; validation accuracy."""


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": _uuid(name),
        "name": name,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": 2,
        "cardHeight": 360,
    }


def _uuid(name: str) -> str:
    return f"qatexp-{name.lower().replace(' ', '-')}"


def _chart(kind: str, title: str, section: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": _uuid(title),
        "displayName": title,
        "metricSectionId": _uuid(section),
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        **fields,
    }


def _scatter(title: str, *, x: str) -> dict[str, Any]:
    xaxis, yaxis = {"key": x, "type": "METRIC"}, {"key": ACCURACY, "type": "METRIC"}
    return _chart("SCATTER", title, TRADE_OFFS, xaxis=xaxis, yaxis=yaxis)


def _parallel(title: str) -> dict[str, Any]:
    chosen = {"selectedParams": list(PARAMS), "selectedMetrics": [ACCURACY]}
    return _chart("PARALLEL", title, TRADE_OFFS, **chosen, showAllRuns=True)


def _curves(stage: str, *names: str) -> dict[str, Any]:
    keys = [f"{stage}_epochs/{name}" for name in names]
    return _chart(
        "LINE",
        f"{stage} by epoch: {', '.join(names)}",
        CURVES,
        metricKey=keys[0],
        selectedMetricKeys=keys,
        xAxisKey="step",
        xAxisScaleType="linear",
        scaleType="linear",
        useGlobalXaxisKey=False,
        lineSmoothness=0,
        useGlobalLineSmoothing=False,
    )
