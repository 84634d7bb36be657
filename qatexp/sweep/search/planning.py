"""From a command line to the search that it asks for, checked before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qatexp.config.fingerprint import fingerprint
from qatexp.config.parse import flat_params
from qatexp.config.points import with_params
from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError
from qatexp.records.plan import Search, SweepPlan
from qatexp.sweep.identity import trial_fingerprint
from qatexp.sweep.search.settings import SearchSettings, read_settings, require_optuna
from qatexp.sweep.search.space import Dimension, Value, overrides_of, read_space, size

PRUNING_FIGURES = frozenset(
    {"top1", "deployed_top1", "val_top1", "loss", "size_bytes", "size_ideal_bytes"}
    | {"latency_ms_p50", "latency_ms_p95", "latency_speedup"}
)
"""What a trial that is dominated in accuracy, size and latency cannot be better in."""
_AROUND = ("hydra/sweeper", "hydra.sweeper.", "sweep.resume")
"""Keys that no trial looks at; they decide how the search goes on."""

Compose = Callable[[Sequence[str]], ExperimentConfig]
"""The checked configuration of a point's overrides."""


@dataclass(frozen=True)
class SearchTask:
    """A search that has been checked."""

    settings: SearchSettings
    space: list[Dimension]
    fixed: list[str]
    """Overrides that all trials have."""
    compose: Compose
    corners: list[ExperimentConfig]
    """Configurations with one key at a time at each of its values, or at its ends."""
    plan: SweepPlan

    def overrides(self, values: Mapping[str, Value]) -> list[str]:
        """Of one trial."""
        return [*self.fixed, *overrides_of(self.space, values)]


def plan_search(overrides: Sequence[str], node: Mapping[str, Any], compose: Compose) -> SearchTask:
    """Check what a command line asks for.

    Args:
        overrides: of the command line.
        node: ``hydra.sweeper``.
        compose: checks the configuration of a point.

    Raises:
        ConfigError: Optuna is missing, a key is wrong, or a value of the space is.
    """
    require_optuna()
    settings = read_settings(node)
    parsed = with_params(overrides, dict(node["params"] or {}))
    space = read_space(parsed)
    if settings.sampler == "grid" and size(space) == float("inf"):
        raise ConfigError(
            "hydra.sweeper.sampler=grid tries all values, and an interval has too many; take "
            "choice or range, or another sampler."
        )
    common = [item for item in parsed if not item.is_sweep_override()]
    lines = [str(item.input_line) for item in common]
    corners = [compose([*lines, *point]) for point in _corners(space)]
    fixed = [
        line
        for item, line in zip(common, lines, strict=True)
        if not item.key_or_group.startswith(_AROUND)
    ]
    _check_figures(settings, corners)
    search = Search(
        _fingerprint(settings, space, corners[0]),
        tuple(objective.text for objective in settings.objectives),
        tuple(str(item.input_line) for item in parsed if item.is_sweep_override()),
        settings.n_trials,
    )
    plan = SweepPlan(tuple(overrides), (), search=search)
    return SearchTask(settings, space, fixed, compose, corners, plan)


def _corners(space: Sequence[Dimension]) -> list[list[str]]:
    """Points with one key at each of its ends, and the others at their first value."""
    first: dict[str, Value] = {dimension.key: dimension.ends()[0] for dimension in space}
    points = [first]
    points += [{**first, d.key: end} for d in space for end in d.ends()[1:]]
    return [overrides_of(space, point) for point in points]


def _fingerprint(
    settings: SearchSettings, space: Sequence[Dimension], config: ExperimentConfig
) -> str:
    """Hash all that decides which points are tried, and not how many."""
    return fingerprint(
        trial_fingerprint(config),
        [repr(dimension) for dimension in space],
        [objective.text for objective in settings.objectives],
        settings.constraints,
        [settings.sampler, settings.seed, settings.startup_trials],
        [settings.storage, settings.study_name],
        config.sweep.prune_margin,
    )


def _check_figures(settings: SearchSettings, corners: Sequence[ExperimentConfig]) -> None:
    """Check that trials will have the figures that the search looks at."""
    wanted = {objective.figure for objective in settings.objectives}
    if settings.constraints:
        from qatexp.sweep.search.limits import read_limits

        wanted |= read_limits(settings.constraints, list(flat_params(corners[0]))).names()
    for config in corners:
        _check_variants(config, wanted)
        _check_validation(config, wanted)
        _check_pruning(config, wanted.intersection(_figures()))


def _figures() -> list[str]:
    from qatexp.sweep.search.objectives import figure_names

    return figure_names()


def _check_variants(config: ExperimentConfig, wanted: set[str]) -> None:
    """Say which figures no trial can have: all of them would count as failed, once trained."""
    missing = {
        "control": ("schedule.control=false", config.schedule.control),
        "qat": ("schedule.qat.epochs=0", config.schedule.qat.epochs > 0),
    }
    for name in sorted(wanted.intersection(_figures())):
        setting, is_there = missing.get(name.partition("/")[0], ("", True))
        if not is_there:
            raise ConfigError(
                f"{name} is a figure that no trial has with {setting}; change that, or leave the "
                "figure out."
            )


def _check_validation(config: ExperimentConfig, wanted: set[str]) -> None:
    asking = sorted(name for name in wanted if name.endswith("val_top1"))
    if config.sweep.prune_margin is not None:
        asking.append(f"sweep.prune_margin={config.sweep.prune_margin}")
    if asking and config.dataset.val_fraction == 0:
        raise ConfigError(
            f"{asking[0]} looks at the validation images, and dataset.val_fraction=0 leaves none; "
            "set dataset.val_fraction above 0."
        )


def _check_pruning(config: ExperimentConfig, wanted: set[str]) -> None:
    """Say what pruning by accuracy, size and latency would not see."""
    margin = config.sweep.prune_margin
    if margin is None:
        return
    others = sorted(name for name in wanted if name.removeprefix("qat/") not in PRUNING_FIGURES)
    if others:
        raise ConfigError(
            f"sweep.prune_margin={margin} ends trials that are dominated in accuracy, size and "
            f"latency, and the search is about {others[0]} too; leave one of them out."
        )
    if config.trainer.devices > 1:
        raise ConfigError(
            f"sweep.prune_margin={margin} is not possible with trainer.devices="
            f"{config.trainer.devices}, whose epochs are told only at the end; set "
            "trainer.devices=1, or leave the margin out."
        )
