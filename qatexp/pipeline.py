"""One experiment, from configuration to record, in the order in which data flows."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from torch import nn

from qatexp.config.parse import flat_params, plain_config
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import PrunedError, QatexpError, TrackingError
from qatexp.figures import accuracy_by_variant, training_curves
from qatexp.quantization.inventory import summary
from qatexp.records import CONFIG_FILE, RECORD_FILE, Record
from qatexp.records.ending import ending_of
from qatexp.stages.allocation import allocate_bits
from qatexp.stages.context import Context, open_context
from qatexp.stages.data import data
from qatexp.stages.deploy import DEPLOY_FILE, write_deployment
from qatexp.stages.environment import environment
from qatexp.stages.evaluate import Candidate, quantized
from qatexp.stages.export import ARTIFACTS, convert_and_export, export_fp32
from qatexp.stages.fp32 import control, fp32
from qatexp.stages.gate import train_quantized
from qatexp.stages.measure import measure
from qatexp.stages.memory import memory_errors
from qatexp.stages.ptq import ptq
from qatexp.store.atomic import write_text
from qatexp.tracking import RunLog

log = logging.getLogger(__name__)
details_log = logging.getLogger("qatexp.details")
"""Configured to go to the run's log file alone."""


def run(
    config: ExperimentConfig,
    folder: Path,
    *,
    tracker: RunLog | None = None,
    fingerprints: Mapping[str, str] | None = None,
) -> Record:
    """Run one experiment and leave its record in `folder`, whether it succeeds or fails.

    Args:
        config: the checked configuration.
        folder: the run's folder; it exists.
        tracker: the open MLflow run; None logs nothing. It is finished here.
        fingerprints: further ones for the record, beside those of the stages.

    Returns:
        The record of a finished run, or of one that was pruned, or failed with a `QatexpError`.

    Raises:
        Exception: anything else is a defect of the program; the record says failed.
        KeyboardInterrupt: the run was interrupted; so says the record, for a `SystemExit` too.
    """
    record = Record(
        name=config.name,
        status="running",
        params=flat_params(config),
        mlflow_run_id=None if tracker is None else tracker.run_id,
        fingerprints=dict(fingerprints or {}),
    )
    write_record(record, folder)
    write_text(folder / CONFIG_FILE, json.dumps(plain_config(config), indent=2) + "\n")
    context = open_context(config, folder, tracker)
    context.fingerprints |= record.fingerprints
    try:
        with memory_errors():
            record = _run_stages(context, record)
    except PrunedError as problem:
        log.info("%s is pruned %s", context.current, problem)
        context.discard_checkpoints(context.current)
        record = _failed(context, record, problem)
    except QatexpError as problem:
        shown = log if config.debug.traceback else details_log
        shown.error("%s failed", context.current, exc_info=True)
        record = _failed(context, record, problem)
    except BaseException as problem:
        if not isinstance(problem, Exception):
            shown = log if config.debug.traceback else details_log
            shown.error("%s was interrupted", context.current, exc_info=True)
        _conclude(_failed(context, record, problem), context, tracker)
        raise
    return _conclude(record, context, tracker)


def _run_stages(context: Context, record: Record) -> Record:
    """The experiment: data, FP32, PTQ, QAT, then convert, export and measure every variant."""
    data(context)
    baseline = fp32(context)
    candidates = {"fp32": Candidate(baseline, export_fp32(context, "fp32", baseline))}
    has_target = context.config.target.max_drop is not None
    if not has_target and context.config.schedule.qat.epochs > 0:
        candidates |= _control(context, baseline)
    choice = allocate_bits(context, baseline)
    prepared = ptq(context, baseline)
    candidates["ptq"] = quantized(convert_and_export(context, "ptq", prepared.graph_module))
    trained, target = train_quantized(context, prepared, candidates)
    if trained is not None:
        candidates["qat"] = quantized(trained.deployment)
        # Only after a target is reached is it known how long the control has to train.
        candidates |= _control(context, baseline) if has_target else {}
    variants, parity = measure(context, candidates)
    write_deployment(context, variants)
    oscillation = {} if trained is None else {"oscillation": trained.oscillation}
    chosen = {} if choice is None else choice.summary(context, prepared.plan, variants)
    return replace(
        _with_progress(context, record),
        status="finished",
        variants=variants,
        parity=parity,
        target=target,
        quantization=summary(prepared.plan) | oscillation | chosen,
        data=context.data.summary(),
        environment=environment(context.device),
    )


def _control(context: Context, baseline: nn.Module) -> dict[str, Candidate]:
    if not context.config.schedule.control:
        return {}
    longer = control(context, baseline)
    return {"control": Candidate(longer, export_fp32(context, "control", longer))}


def _with_progress(context: Context, record: Record) -> Record:
    data_warnings = context.data.warnings if hasattr(context, "data") else []
    return replace(
        record,
        seconds=dict(context.seconds),
        cached=dict(context.cached),
        fingerprints=dict(context.fingerprints),
        kept_epochs={
            name: row.epoch for name, rows in context.histories.items() for row in rows if row.kept
        },
        val_top1_by_epoch=_validation(context),
        resumed=dict(context.resumed),
        shared=dict(context.shared),
        warnings=(*data_warnings, *context.warnings),
    )


def _validation(context: Context) -> dict[str, list[float]]:
    """Percent of the validation images by epoch, of trainings with a validation split."""
    found = {name: [row.val_top1 for row in rows] for name, rows in context.histories.items()}
    curves = {name: [top1 for top1 in curve if top1 is not None] for name, curve in found.items()}
    return {name: curve for name, curve in curves.items() if curve}


def _failed(context: Context, record: Record, problem: BaseException) -> Record:
    status, error = ending_of(problem, context.current)
    return replace(_with_progress(context, record), status=status, error=error)


def write_record(record: Record, folder: Path) -> None:
    """Write ``record.json`` atomically."""
    write_text(folder / RECORD_FILE, record.to_json())


def _conclude(record: Record, context: Context, tracker: RunLog | None) -> Record:
    """Draw and log; what fails of that costs only a warning.

    The record says finished last of all, so that a process that is killed on the way leaves a
    trial that runs again, and never a finished one with an open MLflow run. Whatever fails, that
    run ends with the record's own status, figures and error.
    """
    write_record(replace(record, status="running"), context.folder)
    try:
        figures = _draw(record, context)
        if tracker is not None:
            _track(record, figures, context, tracker)
    except QatexpError as problem:
        record = _warned(record, problem)
    except BaseException as problem:
        # The figures are complete; what is missing in MLflow must not go unsaid.
        cut = TrackingError(f"drawing and logging were cut off by {type(problem).__name__}")
        record = _warned(record, cut)
        raise
    finally:
        if tracker is not None:
            record = _finish(record, tracker)
        write_record(record, context.folder)
    return record


def _warned(record: Record, problem: QatexpError) -> Record:
    log.warning("%s", problem)
    return replace(record, warnings=(*record.warnings, str(problem)))


def _finish(record: Record, tracker: RunLog) -> Record:
    try:
        tracker.finish(status=_status(record), metrics=record.metrics(), tags=_tags(record))
    except QatexpError as problem:
        return _warned(record, problem)
    return record


def _status(record: Record) -> Literal["FINISHED", "FAILED", "KILLED"]:
    """Name the end of a run as MLflow does."""
    ends: dict[str, Literal["FINISHED", "KILLED"]]
    ends = {"finished": "FINISHED", "interrupted": "KILLED", "pruned": "KILLED"}
    return ends.get(record.status, "FAILED")


def _track(record: Record, figures: list[Path], context: Context, tracker: RunLog) -> None:
    """Hand record, figures and models to MLflow."""
    if record.status == "finished":
        tracker.log_dataset(
            name=context.config.dataset.name,
            digest=context.data.fingerprint,
            profile=context.data.summary(),
        )
        example = context.data.example(1).cpu().numpy()
        for name, variant in record.variants.items():
            tracker.log_model(context.folder / variant.file, name=name, input_example=example)
        tracker.log_artifacts([context.folder / ARTIFACTS / DEPLOY_FILE])
    with TemporaryDirectory() as folder:
        write_record(record, Path(folder))
        tracker.log_artifacts([Path(folder) / RECORD_FILE, context.folder / CONFIG_FILE])
    tracker.log_artifacts(figures, folder="figures")


def _draw(record: Record, context: Context) -> list[Path]:
    figures = context.folder / "figures"
    if not context.histories and not record.variants:
        return []
    figures.mkdir(exist_ok=True)
    drawn = []
    history = {
        name: [{"epoch": float(row.epoch), **row.metrics()} for row in rows]
        for name, rows in context.histories.items()
        if rows
    }
    if history:
        drawn.append(figures / "training_curves.png")
        training_curves(history, drawn[-1])
    if record.variants:
        drawn.append(figures / "accuracy_by_variant.png")
        accuracy_by_variant(record, drawn[-1])
    return drawn


def _tags(record: Record) -> Mapping[str, str]:
    tags = {"qatexp.status": record.status}
    commit = record.environment.get("git_commit")
    if commit is not None:
        tags["mlflow.source.git.commit"] = str(commit)
    if record.error is not None:
        tags["qatexp.error"] = f"{record.error['stage']}: {record.error['message']}"
    if record.warnings:
        tags["qatexp.warnings"] = "; ".join(record.warnings)
    return tags
