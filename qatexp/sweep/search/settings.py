"""The keys below ``hydra.sweeper`` of a search, read and checked; see ``conf/hydra/sweeper/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from qatexp.errors import ConfigError
from qatexp.sweep.search.objectives import Objective, read_objectives

SAMPLERS = ("tpe", "nsga2", "random", "grid")
_PREFIX = "hydra.sweeper"


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How a search goes on."""

    objectives: tuple[Objective, ...]
    constraints: tuple[str, ...]
    sampler: str
    seed: int
    n_trials: int
    """Trials to be finished in all, over all commands that go on with the search."""
    n_jobs: int
    """Trials handed to the launcher at a time."""
    startup_trials: int
    """Drawn at random before `tpe` looks at results; the population of `nsga2`."""
    storage: str | None
    """URL of a database, or path of a journal file; None: a journal in the sweep's folder."""
    study_name: str | None
    """None: the name of the sweep's folder."""

    @property
    def is_shared(self) -> bool:
        """Whether sweeps in other folders may use the same study."""
        return self.storage is not None


def read_settings(node: Mapping[str, Any]) -> SearchSettings:
    """Check the keys of ``hydra.sweeper``.

    Raises:
        ConfigError: naming the key, its value and what is allowed.
    """
    sampler = str(node["sampler"])
    if sampler not in SAMPLERS:
        raise ConfigError(
            f"{_PREFIX}.sampler={sampler} is not possible; allowed: {', '.join(SAMPLERS)}."
        )
    return SearchSettings(
        objectives=read_objectives(_texts(node, "objectives")),
        constraints=_texts(node, "constraints"),
        sampler=sampler,
        seed=_number(node, "seed", least=0),
        n_trials=_number(node, "n_trials", least=1),
        n_jobs=_number(node, "n_jobs", least=1),
        # A population of one has no parents.
        startup_trials=_number(node, "startup_trials", least=2 if sampler == "nsga2" else 1),
        storage=_text(node, "storage"),
        study_name=_text(node, "study_name"),
    )


def require_optuna() -> None:
    """Say what to install where Optuna is missing; it is not imported.

    Raises:
        ConfigError: it is missing.
    """
    if find_spec("optuna") is None:
        raise ConfigError(
            "hydra/sweeper=optuna needs the package optuna, which is not installed; "
            "install it with: pip install 'qatexp[optuna]'."
        )


def _number(node: Mapping[str, Any], key: str, *, least: int) -> int:
    value = node[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(
            f"{_PREFIX}.{key}={value} is not possible; allowed: a whole number, at least {least}."
        )
    return value


def _text(node: Mapping[str, Any], key: str) -> str | None:
    value = node[key]
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{_PREFIX}.{key}={value!r} is not possible; allowed: null or a text.")
    return value


def _texts(node: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = node[key]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigError(
            f"{_PREFIX}.{key}={value} is not possible; allowed: a list, in square brackets."
        )
    return tuple(str(item) for item in value)
