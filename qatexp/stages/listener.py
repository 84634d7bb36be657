"""What a run hears of a training in its own process, and where the states of that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qatexp.stages.context import Context
from qatexp.stages.pruning import PTQ, QAT
from qatexp.stages.stems import Stems
from qatexp.training import Checkpoints, EpochLog, TrainPlan


@dataclass(frozen=True)
class Listener:
    """Hands on what a training tells."""

    context: Context
    name: str
    keeper: Checkpoints | Stems | None

    def on_epoch(self, row: EpochLog) -> None:
        """Log an epoch.

        Raises:
            PrunedError: another trial of a search dominates this one.
        """
        self.context.on_epoch(self.name, row)
        pruner = self.context.pruner
        if pruner is not None and self.name == QAT:
            pruner.after_epoch(row.epoch, row.val_top1, ptq=self.context.fingerprints[PTQ])

    def on_resume(self, epochs: int) -> None:
        """Keep for the record that so many epochs were there already, and whose they were."""
        shared = self.keeper is not None and self.keeper.shared
        kept = self.context.shared if shared else self.context.resumed
        kept[self.name] = epochs


def keeper_of(
    context: Context, name: str, parts: Mapping[str, Any], plan: TrainPlan
) -> Checkpoints | Stems | None:
    """Choose where states of a training are kept; None where nothing is cached."""
    checkpoints = context.checkpoints(name)
    if checkpoints is None or plan.stem_epochs == 0:
        return checkpoints
    training = context.fingerprints[name]
    return Stems(context.cache, name, parts, training=training, plan=plan, checkpoints=checkpoints)
