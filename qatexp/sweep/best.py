"""The end of a sweep: its best trial is named, kept in ``best.json``, and registered in MLflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qatexp.compare import Best, Objection, Sweep, best_trial
from qatexp.compare.pareto import pareto
from qatexp.compare.write import MARKDOWN_FILE
from qatexp.config.criteria import criteria
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError, TrackingError
from qatexp.store.atomic import write_text
from qatexp.tracking import Registered, Store, open_store, resolve_uri

log = logging.getLogger(__name__)

BEST_FILE = "best.json"
SCHEMA = 1
_FIGURES = ("deployed_top1", "val_top1", "size_bytes", "latency_ms_p50", "macs_int_share")
"""Tags of the registered version, named as in the record."""


def settle_best(
    sweep: Sweep,
    config: ExperimentConfig,
    *,
    store: Store | None,
    sweep_run: str | None,
    objection: Objection,
) -> list[str]:
    """Choose the best trial, register it where that is asked for, and write ``best.json``.

    A sweep that has the same best trial as before, by the same rule, keeps what is registered; if
    it goes on, it takes the alias back from a sweep that has ended since.

    Args:
        sweep: with all its trials.
        config: what they have in common.
        store: where they are logged; None where their parent run has ended already.
        sweep_run: their parent run in MLflow.
        objection: to trials that are no candidates; see `best_trial`.

    Returns:
        Lines for the user; none where no trial has finished, or none is a candidate.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        best = best_trial(sweep, criteria(config.sweep.select), objection=objection)
    except ConfigError as problem:
        log.warning("%s", problem)
        return []
    if best is None:
        return []
    content = _content(best, config)
    place = _place(best, config)
    kept = _kept(sweep.folder, content, place)
    told: list[str] = []
    if place is not None and best.record.mlflow_run_id is not None:
        kept, told = _registered(best, config, place, store=store, sweep_run=sweep_run, kept=kept)
    found = {**content, "registered": kept}
    write_text(sweep.folder / BEST_FILE, json.dumps(found, indent=1) + "\n")
    return [best.text, *_beside_the_front(sweep, best), *told]


def _beside_the_front(sweep: Sweep, best: Best) -> list[str]:
    """Why the best trial has no mark in the table above it, where it has none."""
    names = [trial.name for trial, _ in sweep.finished]
    marked = {names[index] for index in pareto([record for _, record in sweep.finished])}
    if best.trial.name in marked:
        return []
    return [
        f"trial {best.trial.name} is not on the front: the front goes by the test images and every "
        "digit of theirs, the rule by differences that are larger than noise"
    ]


def sweep_note(folder: Path, lines: Sequence[str]) -> str:
    """What the page of a sweep's parent run says: the best trial, then the comparison.

    Args:
        folder: of a sweep that has been compared.
        lines: from `settle_best`.
    """
    return "\n\n".join([*lines, (folder / MARKDOWN_FILE).read_text(encoding="utf-8")])


def _content(best: Best, config: ExperimentConfig) -> dict[str, Any]:
    """What decides whether a registration still holds, in JSON types."""
    return {
        "schema": SCHEMA,
        "trial": best.trial.name,
        "settings": best.settings,
        "select": list(config.sweep.select),
        "rule": list(best.rule),
        "variant": best.name,
        "file": f"{best.trial.name}/{best.variant.file}",
        "mlflow_run_id": best.record.mlflow_run_id,
        "figures": {name: getattr(best.variant, name) for name in _FIGURES},
    }


def _place(best: Best, config: ExperimentConfig) -> dict[str, str] | None:
    """Store, registered model and alias; None where nothing is to be registered."""
    tracking, registry = config.tracking, config.tracking.registry
    if not (tracking.enabled and registry.enabled):
        return None
    params = best.record.params
    model = registry.model or f"{params['model']}-{params['dataset']}"
    uri = resolve_uri(tracking, home=Path.cwd())
    return {"uri": uri, "model": model, "alias": registry.alias}


def _kept(
    folder: Path, content: dict[str, Any], place: dict[str, str] | None
) -> dict[str, Any] | None:
    """What an earlier end of this sweep has registered, if it is what this one would."""
    if place is None:
        return None
    try:
        earlier = json.loads((folder / BEST_FILE).read_text(encoding="utf-8"))
        registered = dict(earlier.pop("registered") or {})
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    same = earlier == content and place.items() <= registered.items() and "version" in registered
    return registered if same else None


def _registered(
    best: Best,
    config: ExperimentConfig,
    place: dict[str, str],
    *,
    store: Store | None,
    sweep_run: str | None,
    kept: dict[str, Any] | None,
) -> tuple[dict[str, Any] | None, list[str]]:
    """What is registered now, and lines on it: another sweep may have taken the alias since."""
    try:
        opened = store or open_store(config.tracking, home=Path.cwd())
        holder = opened.version_at(model=place["model"], alias=place["alias"])
    except TrackingError as problem:
        log.warning("whether the best trial is registered cannot be told: %s", problem)
        return kept, []
    if kept is not None and holder == kept["version"]:
        return kept, _told(kept)
    if kept is not None and holder is not None and store is None:
        # Nothing ran: the alias is that of the sweep which has ended last.
        version, model, alias = kept["version"], kept["model"], kept["alias"]
        text = f"registered as version {version} of {model}, whose alias {alias} is at {holder} now"
        return kept, [text]
    registered = _register(best, opened, place, sweep_run)
    lines = _told(registered)
    if store is None and sweep_run is not None and registered is not None:
        _replace_note(best, opened, sweep_run, lines)
    return registered, lines


def _replace_note(best: Best, store: Store, sweep_run: str, lines: Sequence[str]) -> None:
    """The sweep had ended before, and its page names the best trial of an earlier rule."""
    try:
        store.set_note(sweep_run, sweep_note(best.trial.folder.parent, [best.text, *lines]))
    except TrackingError as problem:
        log.warning("the page of the sweep still names its earlier best trial: %s", problem)


def _register(
    best: Best, store: Store, place: dict[str, str], sweep_run: str | None
) -> dict[str, Any] | None:
    """Register the file; a store that does not take it costs a warning, and no result."""
    tags = {
        **{name: getattr(best.variant, name) for name in _FIGURES},
        "qatexp.variant": best.name,
        "qatexp.trial": best.trial.name,
        "qatexp.settings": best.settings,
        "qatexp.select": ", ".join(best.rule),
        "qatexp.sweep_run": sweep_run,
    }
    tags = {name: value for name, value in tags.items() if value not in (None, "")}
    run_id = best.record.mlflow_run_id
    assert run_id is not None
    try:
        names = {"model": place["model"], "alias": place["alias"]}
        found = store.register(run_id, best.name, **names, tags=tags, note=best.text)
    except TrackingError as problem:
        log.warning("the best trial is not registered: %s", problem)
        return None
    return {**place, **asdict(found)}


def _told(registered: dict[str, Any] | None) -> list[str]:
    if registered is None:
        return []
    names = ("model", "version", "alias")
    found = Registered(**{name: registered[name] for name in names})
    return [f"registered as version {found.version} of {found.model}: {found.uri}"]
