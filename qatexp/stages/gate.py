"""Train as long as asked for, or only as long as a target needs: PTQ first, then more epochs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qatexp.quantization.prepare import PreparedModel
from qatexp.records import Attempt, Target
from qatexp.results.units import counted
from qatexp.stages.context import Context
from qatexp.stages.evaluate import Candidate, deployed_scores
from qatexp.stages.export import Deployment, convert_and_export
from qatexp.stages.qat import qat

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """A QAT model with its file; `oscillation` as in `qatexp.stages.qat.Trained`."""

    deployment: Deployment
    oscillation: dict[str, float]


def train_quantized(
    context: Context, prepared: PreparedModel, candidates: Mapping[str, Candidate]
) -> tuple[Outcome | None, Target | None]:
    """Run QAT for `schedule.qat.epochs`; with `target.max_drop`, for as few epochs as reach it.

    With a target, the deployed PTQ file comes first; then QAT trains anew for each of
    `target.epochs` until the deployed file loses at most `max_drop` points of top-1 against FP32.
    The validation images decide, so that the test images only report.

    Args:
        context: the run; its configuration holds the epochs of the last training afterwards.
        prepared: calibrated graph that QAT starts from.
        candidates: fp32 and ptq with their files, and the control where there is one.

    Returns:
        The last QAT model, None where there was none, and what was tried for a target.
    """
    if context.config.target.max_drop is not None:
        return _reach(context, prepared, candidates, context.config.target.max_drop)
    epochs = context.config.schedule.qat.epochs
    return (None if epochs == 0 else _train(context, prepared, candidates, epochs)), None


def _reach(
    context: Context,
    prepared: PreparedModel,
    candidates: Mapping[str, Candidate],
    max_drop: float,
) -> tuple[Outcome | None, Target]:
    split = _deciding_split(context)
    baseline = deployed_scores(context, candidates["fp32"].path, split).top1

    def drop(path: Path) -> float:
        return baseline - deployed_scores(context, path, split).top1

    trained = None
    attempts = [Attempt("ptq", 0, drop(candidates["ptq"].path))]
    _say(attempts[-1], max_drop, split)
    for epochs in context.config.target.epochs:
        if attempts[-1].drop <= max_drop:
            break
        trained = _train(context, prepared, candidates, epochs)
        attempts.append(Attempt("qat", epochs, drop(trained.deployment.path)))
        _say(attempts[-1], max_drop, split)
    target = Target(max_drop, split, tuple(attempts))
    if not target.met:
        trained_for = counted(attempts[-1].epochs, "epoch")
        context.warn(
            f"target.max_drop={max_drop} was not reached: {attempts[-1].drop:.2f} points ({split}) "
            f"are lost after {trained_for} of QAT; add a larger number to "
            "target.epochs, or take more bits"
        )
    return trained, target


def _deciding_split(context: Context) -> str:
    if context.data.size("val") > 0:
        return "val"
    context.warn(
        "target.max_drop is decided on the test images, as dataset.val_fraction=0 leaves no "
        "others: the reported accuracy is a little optimistic"
    )
    return "test"


def _train(
    context: Context,
    prepared: PreparedModel,
    candidates: Mapping[str, Candidate],
    epochs: int,
) -> Outcome:
    schedule = context.config.schedule
    planned = replace(schedule, qat=replace(schedule.qat, epochs=epochs))
    context.config = replace(context.config, schedule=planned)
    trained = qat(context, prepared, {name: item.model for name, item in candidates.items()})
    deployment = convert_and_export(context, "qat", trained.graph_module)
    return Outcome(deployment, trained.oscillation)


def _say(attempt: Attempt, max_drop: float, split: str) -> None:
    trained = f" after {counted(attempt.epochs, 'epoch')}" if attempt.variant == "qat" else ""
    log.info(
        "target: the deployed %s file%s loses %.2f points of top-1 (%s); %.2f are allowed",
        attempt.variant,
        trained,
        attempt.drop,
        split,
        max_drop,
    )
