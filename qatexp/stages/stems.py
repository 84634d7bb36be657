"""The part of a training that does not depend on its length, shared by trainings of all lengths.

With `decay: short` all epochs before the last `decay_epochs` are those of any longer training: the
state after each of them is a stage of the cache.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qatexp.config.fingerprint import fingerprint
from qatexp.errors import StoreError
from qatexp.store.entries import MAKER, stem_stage
from qatexp.store.stage_cache import StageCache
from qatexp.training import Checkpoints, TrainPlan
from qatexp.training.checkpoint import restore_state_, write_state
from qatexp.training.snapshot import TrainingState

log = logging.getLogger(__name__)

STATE = "state"


class Stems:
    """Keeps the state after each epoch of a stem, and takes the longest that there is.

    Args:
        cache: where they lie.
        name: of the training.
        parts: all that its result depends on, as `qatexp.stages.train.training_parts` has it.
        training: the fingerprint of its entry.
        plan: of the training.
        checkpoints: of the epochs behind the stem.
    """

    def __init__(
        self,
        cache: StageCache,
        name: str,
        parts: Mapping[str, Any],
        *,
        training: str,
        plan: TrainPlan,
        checkpoints: Checkpoints,
    ) -> None:
        self._cache, self._plan, self._checkpoints = cache, plan, checkpoints
        self._name, self._stage, self._training = name, stem_stage(name), training
        self._parts = {key: value for key, value in parts.items() if key != "length"}
        if "recipe" in parts:
            others = parts["recipe"].items()
            lengths = ("epochs", "decay_epochs")
            self._parts["recipe"] = {key: value for key, value in others if key not in lengths}
        self.shared = False

    def offer(self, training: TrainingState) -> None:
        """Keep the state after an epoch of the stem; behind it, leave a checkpoint when it is due.

        Raises:
            StoreError: the cache folder cannot be written to.
        """
        done = len(training.history)
        if done > self._plan.stem_epochs:
            self._checkpoints.offer(training)
            return

        def make(folder: Path) -> None:
            write_state(training, folder / STATE)
            maker = {"epochs": self._plan.epochs, "training": self._training}
            (folder / MAKER).write_text(json.dumps(maker), encoding="utf-8")

        self._cache.get(self._stage, self._fingerprint(done), make)

    def resume_(self, training: TrainingState) -> None:
        """Bring a training that starts to its checkpoint, or else to the end of a stem."""
        self._checkpoints.resume_(training)
        for epochs in range(self._plan.stem_epochs, 0, -1):
            if training.history:
                return
            folder = self._cache.find(self._stage, self._fingerprint(epochs))
            if folder is not None:
                self._take_(training, folder)

    def _take_(self, training: TrainingState, folder: Path) -> None:
        try:
            restore_state_(training, folder / STATE)
        except StoreError as problem:
            log.warning("%s cannot be used (%s); it is trained anew", folder / STATE, problem)
            return
        made_for = json.loads((folder / MAKER).read_text(encoding="utf-8"))["epochs"]
        self.shared = made_for != self._plan.epochs
        if self.shared:
            text = "%s: the epochs up to %d are those of a training of %d"
            log.info(text, self._name, len(training.history), made_for)

    def _fingerprint(self, epochs: int) -> str:
        return fingerprint(self._stage, self._parts, epochs)
