"""What the stages of one run share, and how a stage is timed, fingerprinted and cached."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from qatexp.config.fingerprint import fingerprint
from qatexp.config.schema import ExperimentConfig
from qatexp.config.variables import PROGRESS
from qatexp.data import ImageData
from qatexp.stages.pruning import Pruner, pruner_of
from qatexp.store.progress import Progress, ProgressFile
from qatexp.store.stage_cache import StageCache
from qatexp.tracking import RunLog
from qatexp.training import Checkpoints, EpochLog, seed_everything, stage_seed

log = logging.getLogger(__name__)

WEIGHTS, HISTORY = "weights.safetensors", "history.json"
OSCILLATION = "oscillation.json"


@dataclass
class Context:
    """One run: its inputs, and what its stages have found so far."""

    config: ExperimentConfig
    folder: Path
    cache: StageCache
    on_epoch: Callable[[str, EpochLog], None]
    pruner: Pruner | None = None
    data: ImageData = field(init=False)
    device: torch.device = field(init=False)
    seconds: dict[str, float] = field(default_factory=dict)
    cached: dict[str, bool] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    resumed: dict[str, int] = field(default_factory=dict)
    """By training: the epochs that a run before this one had done when it was cut off."""
    shared: dict[str, int] = field(default_factory=dict)
    """By training: the epochs that were taken from one that differs in its length alone."""
    histories: dict[str, list[EpochLog]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    current: str = "data"
    """The stage that is running, for the record of a failure."""

    @contextmanager
    def stage(self, name: str, *, cacheable: bool = False) -> Iterator[None]:
        """Time a stage, seed it by its own name, and say when it starts and ends.

        A stage that is `cacheable` says that it starts once `entry` finds it missing.
        """
        self.current = name
        seed_everything(stage_seed(self.config.seed, name))
        if not cacheable:
            log.info("%s ...", name)
        if (path := os.environ.get(PROGRESS)) is not None:
            ProgressFile(Path(path)).tell(Progress(name, time.time()))
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        # A stage that a run repeats, with more epochs, counts in full.
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)
        origin = " (from the cache)" if self.cached.get(name) else ""
        log.info("%s done in %.1f s%s", name, seconds, origin)

    def entry(self, name: str, parts: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """Make a stage's files, or take them from the cache, under the hash of `parts`.

        Args:
            name: the stage.
            parts: everything that its result depends on, in JSON types.
            make: writes the files into an empty folder.
        """

        def announced(folder: Path) -> None:
            log.info("%s ...", name)
            make(folder)

        self.fingerprints[name] = fingerprint(name, dict(parts))
        for kept in (self.resumed, self.shared):
            kept.pop(name, None)  # of a shorter training on the way to a target
        entry = self.cache.get(name, self.fingerprints[name], announced)
        self.cached[name] = entry.cached
        return entry.folder

    def checkpoints(self, name: str) -> Checkpoints | None:
        """Where a training that `entry` makes leaves its state; None where nothing is cached."""
        folder = self.cache.partial(name, self.fingerprints[name])
        seconds = self.config.trainer.checkpoint_seconds
        return None if folder is None else Checkpoints(folder, seconds=seconds)

    def discard_checkpoints(self, name: str) -> None:
        """Remove the states of a training that nobody will continue."""
        if (folder := self.cache.partial(name, self.fingerprints[name])) is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def add_history(self, name: str, history: Sequence[EpochLog]) -> None:
        """Keep the epochs of a training; those from the cache have not been logged yet."""
        self.histories[name] = list(history)
        if self.cached[name]:
            for epoch in history:
                self.on_epoch(name, epoch)
            return
        for epoch in history:
            if epoch.kept:
                text = "%s keeps epoch %d of %d, the best on validation"
                log.info(text, name, epoch.epoch, len(history))

    def warn(self, message: str) -> None:
        """Tell the user, and the record, what was weakened."""
        log.warning(message)
        self.warnings.append(message)


def open_context(config: ExperimentConfig, folder: Path, tracker: RunLog | None) -> Context:
    """Start a run in its folder, with the configured cache; `tracker` takes its epochs."""

    def on_epoch(stage: str, epoch: EpochLog) -> None:
        if tracker is not None:
            tracker.log_epoch(stage, epoch.epoch, epoch.metrics())

    root = Path(config.cache.dir) if config.cache.enabled else None
    cache = StageCache(root, run=folder)
    return Context(config, folder, cache, on_epoch, pruner_of(config, folder))


def save_weights(module: nn.Module, folder: Path) -> None:
    """Write a module's state as safetensors; tensors that share memory are written each."""
    state = {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
    content = save({key: value.contiguous() for key, value in state.items()})
    # safetensors' own file writing raises a class of its own when the disk is full.
    (folder / WEIGHTS).write_bytes(content)


def load_weights_(module: nn.Module, folder: Path) -> None:
    """Load a module's state, strictly."""
    module.load_state_dict(load_file(folder / WEIGHTS))


def save_history(history: Sequence[EpochLog], folder: Path) -> None:
    """Write the epochs of a training as JSON."""
    rows = [{"epoch": row.epoch, **row.metrics(), "kept": row.kept} for row in history]
    save_json(rows, folder / HISTORY)


def save_json(content: Any, path: Path) -> None:
    """Write JSON types as a file of a stage."""
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_history(folder: Path) -> list[EpochLog]:
    """Read the epochs of a training."""
    rows = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    return [EpochLog(**row) for row in rows]
