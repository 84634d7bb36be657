"""Runs, sweeps and artifacts in MLflow; the only package that imports it, and only when needed.

Importing mlflow takes one to three seconds, so every import of it sits inside a function.
"""

from __future__ import annotations

from qatexp.tracking.fetch import fetch_texts
from qatexp.tracking.overrides import OVERRIDES_TAG, overrides_text
from qatexp.tracking.preflight import check_reachable
from qatexp.tracking.reading import LoggedRun, LoggedRuns, read_runs
from qatexp.tracking.registry import Registered
from qatexp.tracking.run import RunLog
from qatexp.tracking.store import Store, begin_store, open_store
from qatexp.tracking.termination import sigterm_raises
from qatexp.tracking.ui import ui_hint
from qatexp.tracking.uri import resolve_uri
from qatexp.tracking.view import ANALYSIS_KIND, RERUN_KIND

__all__ = [
    "ANALYSIS_KIND",
    "OVERRIDES_TAG",
    "RERUN_KIND",
    "LoggedRun",
    "LoggedRuns",
    "Registered",
    "RunLog",
    "Store",
    "begin_store",
    "check_reachable",
    "fetch_texts",
    "open_store",
    "overrides_text",
    "read_runs",
    "resolve_uri",
    "sigterm_raises",
    "ui_hint",
]
