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

PARAMS = ("qconfig.weight.bits", "schedule.qat.lr_scale", "schedule.qat.epochs")
ACCURACY, SIZE, LATENCY = "qat/deployed_top1", "qat/size_bytes", "qat/latency_ms_p50"
# As many columns as fit a window of 1600 pixels; MLflow sorts them by name and cuts them at 100.
METRICS = ("ptq/deployed_top1", ACCURACY, SIZE, LATENCY)
SECTION = "qatexp-section-tradeoff"

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

Open the saved view **qatexp: accuracy, size, latency** (menu above) to compare runs.
"""


def experiment_tags(*, since: int) -> dict[str, str]:
    """Tags that give the experiment its note, its kind of page and, where known, its saved view.

    Args:
        since: Creation time of the experiment in ms, so that the view is the same in every run.
    """
    tags = {
        "mlflow.note.content": NOTE,
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.experiment.primaryMetric.name": ACCURACY,
        "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    }
    return {**tags, VIEW_TAG: _saved_view(since)} if _is_known_version() else tags


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
    name = "qatexp: accuracy, size, latency"
    times = {"createdAt": since, "updatedAt": since}
    return json.dumps({"name": name, **times, "state": json.dumps(_state())})


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
        "compareRunSections": [_section()],
        "compareRunCharts": [
            _scatter("accuracy against size", x=SIZE),
            _scatter("accuracy against latency", x=LATENCY),
            _parallel("what drives accuracy"),
        ],
    }


def _section() -> dict[str, Any]:
    return {
        "uuid": SECTION,
        "name": "Trade-offs",
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
        "columns": 2,
        "cardHeight": 360,
    }


def _chart(kind: str, title: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": f"qatexp-{title.replace(' ', '-')}",
        "displayName": title,
        "metricSectionId": SECTION,
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        **fields,
    }


def _scatter(title: str, *, x: str) -> dict[str, Any]:
    xaxis, yaxis = {"key": x, "type": "METRIC"}, {"key": ACCURACY, "type": "METRIC"}
    return _chart("SCATTER", title, xaxis=xaxis, yaxis=yaxis)


def _parallel(title: str) -> dict[str, Any]:
    return _chart(
        "PARALLEL", title, selectedParams=list(PARAMS), selectedMetrics=[ACCURACY], showAllRuns=True
    )
