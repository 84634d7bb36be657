"""Optuna's side of a search: storage, study and samplers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import StudyDirection
from sqlalchemy.exc import SQLAlchemyError

from qatexp.config.fingerprint import fingerprint
from qatexp.errors import StoreError
from qatexp.records.plan import Search
from qatexp.store.lock import moment_lock
from qatexp.sweep.search.settings import SearchSettings

log = logging.getLogger(__name__)

JOURNAL_FILE = "study.journal"
WORKER, FOLDER, REASON, REJECTED = (
    "qatexp.worker",
    "qatexp.folder",
    "qatexp.reason",
    "qatexp.rejected",
)
"""Attributes of a trial: who runs it and where, why it failed, whether it was never started."""
_DEFINITION = "qatexp.search"


class _KernelLock(BaseJournalFileLock):
    """A lock that the system frees with its process: Optuna's own outlive it by half a minute."""

    def __init__(self, path: Path) -> None:
        self._lock = moment_lock(path)

    def acquire(self) -> bool:
        """Wait for it."""
        self._lock.acquire()
        return True

    def release(self) -> None:
        """Free it."""
        self._lock.release()


def open_study(settings: SearchSettings, search: Search, folder: Path) -> optuna.Study:
    """Open the study of a search, or make it.

    Args:
        settings: storage, name and objectives.
        search: what its trials are about.
        folder: of the sweep.

    Raises:
        StoreError: the storage cannot be used, or holds a study of this name about something else.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    name = settings.study_name or folder.resolve().name
    directions = [
        StudyDirection.MAXIMIZE if objective.direction == "max" else StudyDirection.MINIMIZE
        for objective in settings.objectives
    ]
    try:
        study = optuna.create_study(
            storage=_storage(settings.storage, folder),
            study_name=name,
            directions=directions,
            load_if_exists=True,
        )
        definition = {"objectives": list(search.objectives), "space": list(search.space)}
        known = study.user_attrs.get(_DEFINITION)
        if known is None:
            study.set_user_attr(_DEFINITION, definition)
    except (OSError, ValueError, ImportError, SQLAlchemyError, optuna.exceptions.OptunaError) as e:
        raise StoreError(
            f"hydra.sweeper.storage={settings.storage} cannot be used: {_first_line(e)}"
        ) from e
    if known not in (None, definition):
        raise StoreError(
            f"the study {name} in hydra.sweeper.storage={settings.storage} has other objectives or "
            "another space; give hydra.sweeper.study_name a name of its own"
        )
    return study


def _storage(storage: str | None, folder: Path) -> BaseStorage:
    if storage is not None and "://" in storage:
        return RDBStorage(storage)
    path = folder / JOURNAL_FILE if storage is None else Path(storage).expanduser()
    lock = _KernelLock(path.with_name(f"{path.name}.lock"))
    return JournalStorage(JournalFileBackend(str(path), lock))


def _first_line(problem: Exception) -> str:
    return next(iter(str(problem).strip().splitlines()), type(problem).__name__)


def sampler_for(settings: SearchSettings, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial, seeded by its number.

    A sampler that was seeded once for a whole search would begin anew in every process that goes
    on with it, and repeat its first points.
    """
    seed = int(fingerprint("search", settings.seed, number), 16) % 2**32
    if settings.sampler == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=settings.startup_trials, seed=seed)
    if settings.sampler == "nsga2":
        population = settings.startup_trials
        return optuna.samplers.NSGAIISampler(population_size=population, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)  # of grid, too, which is told every value


def trials_in(
    study: optuna.Study, *states: optuna.trial.TrialState
) -> Sequence[optuna.trial.FrozenTrial]:
    """The trials of a study in some states, all without any, by number."""
    return study.get_trials(deepcopy=False, states=states or None)


def failed_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that were started and have failed; proposals that were turned down are none."""
    failed = trials_in(study, optuna.trial.TrialState.FAIL)
    return [trial for trial in failed if not trial.user_attrs.get(REJECTED, False)]
