"""What ``qatexp analyze`` does: the sensitivity of every layer, as table, files and MLflow run."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qatexp.cli.console import complain, log_to
from qatexp.config.parse import flat_params
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import QatexpError

if TYPE_CHECKING:
    from qatexp.records.sensitivity import Sensitivity
    from qatexp.stages.context import Context
    from qatexp.tracking import RunLog

KIND = "analyze"
"""Folder below ``multirun/``."""


def analyze(overrides: Sequence[str], *, config_dir: str | None) -> int:
    """Check the request, then analyze; 0 done, 1 failed.

    Raises:
        QatexpError: the request is wrong; nothing was started.
    """
    from qatexp.cli.application import check_request, quoted
    from qatexp.cli.folders import new_folder
    from qatexp.cli.resolvers import register_resolvers
    from qatexp.config.members import TORCHVISION_MODELS, register_models

    register_resolvers()
    register_models(TORCHVISION_MODELS)
    options = Namespace(
        overrides=quoted(overrides), config_dir=config_dir, config_name=None, multirun=False
    )
    config = check_request(options).points[0]
    folder = new_folder(KIND)
    log_to(folder)
    try:
        _analyze(config, folder, overrides=overrides)
    except QatexpError as problem:
        if config.debug.traceback:
            raise
        complain(str(problem))
        return 1
    return 0


def _analyze(config: ExperimentConfig, folder: Path, *, overrides: Sequence[str]) -> None:
    from rich.console import Console

    from qatexp.compare.sensitivity import print_sensitivity, write_sensitivity
    from qatexp.figures import sensitivity_by_layer
    from qatexp.stages.context import open_context
    from qatexp.stages.sensitivity import tried_images
    from qatexp.tracking import sigterm_raises, ui_hint

    with ExitStack() as stack:
        stack.enter_context(sigterm_raises())
        tracker = _open_run(stack, config, folder, overrides)
        context = open_context(config, folder, tracker)
        rows = _measure(context)
        images = tried_images(context)
        files = write_sensitivity(rows, folder, images=images)
        picture = folder / "figures" / "sensitivity.png"
        picture.parent.mkdir()
        sensitivity_by_layer(rows, picture)
        if tracker is not None:
            _track(tracker, context, rows, [*files, picture.parent])
    console = Console()
    print_sensitivity(rows, console, images=images)
    console.print(f"Files: {folder}", soft_wrap=True)
    if tracker is not None:
        console.print(ui_hint(), soft_wrap=True)


def _open_run(
    stack: ExitStack, config: ExperimentConfig, folder: Path, overrides: Sequence[str]
) -> RunLog | None:
    from qatexp.tracking import ANALYSIS_KIND, OVERRIDES_TAG, open_store, overrides_text

    if not config.tracking.enabled:
        return None
    store = open_store(config.tracking, home=Path.cwd())
    tags = {"qatexp.folder": str(folder.absolute()), OVERRIDES_TAG: overrides_text(overrides)}
    name = f"{config.name} {KIND}"
    run = store.start_run(name=name, params=flat_params(config), tags=tags, kind=ANALYSIS_KIND)
    return stack.enter_context(run)


def _measure(context: Context) -> list[Sensitivity]:
    """The stages of a run up to the baseline, then every layer by itself."""
    from qatexp.stages.data import data
    from qatexp.stages.fp32 import fp32
    from qatexp.stages.sensitivity import analyze as analyze_layers

    data(context)
    return analyze_layers(context, fp32(context))


def _track(
    tracker: RunLog, context: Context, rows: Sequence[Sensitivity], files: Sequence[Path]
) -> None:
    """Log files, and the figures as curves over bits: ``weight/conv1/sqnr_db``."""
    by_bits: dict[int, dict[str, float]] = {}
    for row in rows:
        named = {
            f"{row.tensor}/{row.layer}/{key}": value for key, value in asdict(row.damage).items()
        }
        by_bits.setdefault(row.bits, {}).update(named)
    tracker.log_by_bits(by_bits)
    tracker.log_dataset(
        name=context.config.dataset.name,
        digest=context.data.fingerprint,
        profile=context.data.summary(),
    )
    tracker.log_artifacts(files)
