"""What Hydra calls for every run: one experiment in its folder."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from omegaconf import DictConfig

from qatexp.cli.console import INTERRUPTED, complain
from qatexp.config.parse import Parser, flat_params
from qatexp.config.schema import ExperimentConfig
from qatexp.config.variables import PARENT_RUN, TRIAL
from qatexp.errors import QatexpError, StoreError
from qatexp.records import CONFIG_FINGERPRINT, Record, load_record
from qatexp.results.trials import short_names
from qatexp.sweep.identity import trial_fingerprint
from qatexp.sweep.trial import (
    attempt,
    earlier_run,
    end_with_parent,
    own_overrides,
    planned_fingerprint,
    skipped,
    too_many_failures,
)

log = logging.getLogger(__name__)

_parser = Parser()
"""Of this process: trials of one sweep differ in little, which alone is typed anew."""


def task(composed: DictConfig) -> None:
    """Run one experiment; a single run that fails ends the process with exit code 1.

    A failed trial of a sweep returns as usual: its record says failed, the others go on, and the
    sweep's end sets the exit code.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if TRIAL in os.environ:
        end_with_parent()
    config = _parser.parse(composed)
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    single = hydra.mode is RunMode.RUN and TRIAL not in os.environ
    if not single and too_many_failures(folder, config.sweep.max_failures):
        _skip(config, folder)
        return
    # What comes next, loading torch and mlflow, takes seconds.
    text = "%s, seed %d, on device=%s, in %s"
    log.info(text, config.name, config.seed, config.device, os.path.relpath(folder))
    try:
        with attempt(config, folder):
            record = run_tracked(config, folder, overrides=list(hydra.overrides.task))
    except QatexpError as problem:
        if config.debug.traceback and single:
            raise
        if config.debug.traceback:  # an exception would be lost in what Hydra returns to a sweeper
            log.exception("this trial failed")
        complain(str(problem))
        record = None
    except (KeyboardInterrupt, SystemExit) as stop:
        _tell_of_interrupt(config, folder)
        code = stop.code if isinstance(stop, SystemExit) else INTERRUPTED
        raise SystemExit(code) from None
    except Exception:
        if single:
            raise
        # A defect in one trial must not cost the others; its record says failed already.
        log.exception("this trial failed")
        return
    if single:
        if record is not None:
            _show(record, folder)
        if record is None or record.status != "finished":
            raise SystemExit(1)


def run_tracked(config: ExperimentConfig, folder: Path, *, overrides: list[str]) -> Record:
    """Run an experiment inside an MLflow run, where tracking is enabled."""
    from qatexp.tracking import (
        OVERRIDES_TAG,
        begin_store,
        open_store,
        overrides_text,
        sigterm_raises,
    )

    begin_store(config.tracking, home=Path.cwd())
    from qatexp.pipeline import run  # loads torch

    with ExitStack() as stack:
        stack.enter_context(sigterm_raises())
        tracker = None
        if config.tracking.enabled:
            store = open_store(config.tracking, home=Path.cwd())
            if (earlier := earlier_run(folder)) is not None:
                store.supersede(earlier)
            if PARENT_RUN not in os.environ:  # a sweep does so itself, once
                store.close_dead_runs()
            tracker = stack.enter_context(
                store.start_run(
                    name=_run_name(config, folder, overrides),
                    params=flat_params(config),
                    tags={"qatexp.folder": str(folder), OVERRIDES_TAG: overrides_text(overrides)},
                    parent_run_id=os.environ.get(PARENT_RUN),
                )
            )
        fingerprints = {
            CONFIG_FINGERPRINT: planned_fingerprint(folder) or trial_fingerprint(config)
        }
        return run(config, folder, tracker=tracker, fingerprints=fingerprints)


def _skip(config: ExperimentConfig, folder: Path) -> None:
    from qatexp.pipeline import write_record

    record = skipped(config.name, flat_params(config), config.sweep.max_failures)
    write_record(record, folder)
    log.warning("trial %s is %s", folder.name, record.error and record.error["message"])


def _tell_of_interrupt(config: ExperimentConfig, folder: Path) -> None:
    """One line, and where the run has got to; the traceback is in the log already."""
    where = ""
    with suppress(StoreError):  # it may not have got as far as a record
        error = load_record(folder).error
        where = "" if error is None else f" in {error['stage']}"
    kept = "finished stages are kept, the same command goes on from there"
    if not config.cache.enabled:
        kept = "with cache.enabled=false the same command starts anew"
    complain(f"interrupted{where}; {kept}")
    complain(f"the run's folder is {os.path.relpath(folder)}")


def _run_name(config: ExperimentConfig, folder: Path, overrides: list[str]) -> str:
    """Name a run by what the user asked for: the overrides, with keys as short as they can be.

    A trial goes by its number and by what it has of its own: lists and legends cut names short.
    """
    is_trial = PARENT_RUN in os.environ
    words = own_overrides(folder, overrides) if is_trial else overrides
    parts = [item.partition("=") for item in words if "=" in item]
    keys = short_names([key for key, _, _ in parts])
    values = [value for _, _, value in parts]
    short = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
    name = [f"{folder.name}:", *short, f"({config.name})"] if is_trial else [config.name, *short]
    return " ".join(name)[:250]


def _show(record: Record, folder: Path) -> None:
    from rich.console import Console

    from qatexp.compare import collect, print_comparison, write_comparison
    from qatexp.tracking import ui_hint

    if record.error is not None:
        complain(f"{record.error['stage']} failed: {record.error['message']}")
        complain(f"the log is {folder / 'qatexp.log'}; debug=true shows a traceback")
        return
    sweep = collect(folder)
    write_comparison(sweep, folder)
    console = Console()
    print_comparison(sweep, console)
    console.print(f"Files: {os.path.relpath(folder)}", soft_wrap=True)
    if record.mlflow_run_id is not None:
        console.print(ui_hint(), soft_wrap=True)
