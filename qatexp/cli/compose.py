"""Compose and check what a command line asks for, before anything is started or written."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from qatexp.cli.hydra_keys import unknown_hydra_key
from qatexp.cli.rewording import reworded
from qatexp.config.composer import PointComposer
from qatexp.config.keys import is_open, unknown_key
from qatexp.config.parse import parse
from qatexp.config.points import GRID_SWEEPER, SEARCH_SWEEPER, parse_overrides, sweep_points
from qatexp.config.schema import ExperimentConfig
from qatexp.config.sources import CONF, CONFIG_NAME
from qatexp.config.variables import TRIAL
from qatexp.errors import ConfigError
from qatexp.records.plan import SweepPlan
from qatexp.sweep.exclude import AskedPoint, without_excluded
from qatexp.sweep.launchers import check_launcher
from qatexp.sweep.planning import plan_sweep, replanned, with_points_of
from qatexp.sweep.resume import AUTO, NEVER, earlier_plan, in_folder, resumed
from qatexp.sweep.search.planning import SearchTask, plan_search

_NO_SUCH_KEY = re.compile(r"Could not override '([^']+)'\.\nTo append")

VERSION_BASE = "1.3"
"""Hydra's behaviour that the configuration was written for; named here alone."""
RESUME, RUN_DIR, SWEEP_DIR = "sweep.resume", "hydra.run.dir", "hydra.sweep.dir"
TRUSTED_PACKAGES = "trusted_packages"


@dataclass(frozen=True)
class Request:
    """What a command line asks for: the points of a sweep, or one, and where it writes."""

    points: list[ExperimentConfig]
    folder_key: str
    """The key that names the folder."""
    folder: Path
    plan: SweepPlan | None = None
    """Of a sweep whose points are known beforehand."""
    overrides: tuple[str, ...] = ()
    """What the command line lacks: those of the sweep that goes on, and its folder."""
    search: SearchTask | None = None
    """Of a sweep that chooses its points on the way."""
    is_elsewhere: bool = False
    """Whether trials may run on other machines, with other devices than this one's."""

    is_named: bool = False
    """Whether the command line names the folder, which may be there already."""

    def folder_override(self) -> str:
        """What names the folder on a command line."""
        quoted = str(self.folder).replace("'", r"\'")
        return f"{self.folder_key}='{quoted}'"


def checked_request(options: Namespace) -> Request:
    """Compose and parse every experiment of a command line: one, or each point of a sweep.

    Args:
        options: what Hydra's own argument parser made of the command line.

    Raises:
        ConfigError: for the first point that is wrong; nothing has been started.
    """
    name, overrides = _request(options)
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        if options.multirun:
            launcher, request = _checked_sweep(name, overrides)
            request = replace(request, is_elsewhere=check_launcher(launcher, request.points))
        else:
            base = _compose(name, overrides, hydra=True)
            request = Request([parse(base)], RUN_DIR, Path(base.hydra.run.dir))
            _refuse_resume(request.points[0])
        _check_vouchers(request.points, [*request.overrides, *overrides])
        return replace(request, is_named=_gives(overrides, request.folder_key))


def _refuse_resume(config: ExperimentConfig) -> None:
    """A run by itself starts anew; a trial has its sweep's keys, and no use for them."""
    if config.sweep.resume not in (AUTO, NEVER) and TRIAL not in os.environ:
        raise ConfigError(
            f"{RESUME}={config.sweep.resume} goes on with a sweep; add --multirun (-m)."
        )


def _check_vouchers(points: Sequence[ExperimentConfig], overrides: list[str]) -> None:
    """A file must not vouch for the code that it names: whoever gives the command does.

    Raises:
        ConfigError: a package is named as trusted elsewhere than on the command line.
    """
    given = [i for i in _parse_overrides(overrides) if i.key_or_group == TRUSTED_PACKAGES]
    vouched = {part for item in given for part in re.findall(r"\w+", str(item.value()))}
    for config in points:
        if named := [package for package in config.trusted_packages if package not in vouched]:
            raise ConfigError(
                f"{TRUSTED_PACKAGES}=[{','.join(named)}] stands in a configuration file, which "
                "must not vouch for the code that it runs; if you trust it, give the key on the "
                "command line."
            )


def _checked_sweep(name: str, overrides: list[str]) -> tuple[DictConfig, Request]:
    """``hydra.launcher`` of a sweep, and what it has to run."""
    given, earlier = overrides, _resumed_alone(overrides)
    restored = [] if earlier is None else list(earlier.overrides)
    overrides = [*restored, *given]
    fixed = _fixed(overrides)
    base = _compose(name, fixed, hydra=True)
    _refuse_two_folders(given, str(base.sweep.resume))
    folder, launcher = Path(base.hydra.sweep.dir), base.hydra.launcher
    composer = PointComposer(partial(_compose, name))
    sweeper = str(base.hydra.sweeper._target_)
    if not sweeper.endswith(GRID_SWEEPER):
        config = composer.config(fixed)
        _refuse_planning(config, sweeper)
        if sweeper == SEARCH_SWEEPER:
            return launcher, _checked_search(overrides, base, composer, restored)
        return launcher, Request([config], SWEEP_DIR, folder)
    if base.sweep.prune_margin is not None:
        raise ConfigError(
            f"sweep.prune_margin={base.sweep.prune_margin} is for searches, and a grid runs all of "
            "its points; leave it out, or add hydra/sweeper=optuna."
        )
    if earlier is not None:
        points = _with_settings(given, earlier)
    else:
        points = sweep_points(overrides, dict(base.hydra.sweeper.params or {}))
        if base.sweep.points is not None:
            points = with_points_of(str(base.sweep.points), points)
    configs = [composer.config(point) for point in points]
    if earlier is not None:
        numbered = replanned(earlier, list(zip(points, configs, strict=True)))
        found = Path(str(base.sweep.resume))
        request = Request(configs, SWEEP_DIR, found, numbered)
        return launcher, replace(request, overrides=(*restored, request.folder_override()))
    return launcher, _grid(overrides, list(zip(points, configs, strict=True)), folder)


def _with_settings(given: list[str], earlier: SweepPlan) -> list[list[str]]:
    """The points of a sweep that goes on, with what the command says of the sweep itself.

    Raises:
        ConfigError: it chooses points, which the sweep has already.
    """
    items = [item for item in _parse_overrides(given) if item.key_or_group.startswith("sweep.")]
    settings = {i.key_or_group: str(i.input_line) for i in items if i.key_or_group != RESUME}
    for key in ("sweep.points", "sweep.exclude"):
        if key in settings:
            raise ConfigError(
                f"{key} chooses the points of a sweep, and {RESUME} goes on with those that there "
                "are; leave it out, or give the sweep's whole command with other points."
            )
    kept = [
        [item for item in point.overrides if item.lstrip("+").partition("=")[0] not in settings]
        for point in earlier.points
    ]
    return [[*point, *settings.values()] for point in kept]


def _checked_search(
    overrides: list[str], base: DictConfig, composer: PointComposer, restored: list[str]
) -> Request:
    """The request of a search; its points are chosen, and checked, while it runs."""
    task = plan_search(overrides, base.hydra.sweeper, composer.config)
    request = _placed(overrides, task.corners, task.plan, Path(base.hydra.sweep.dir))
    return replace(request, search=task, overrides=(*restored, *request.overrides))


def _grid(overrides: list[str], points: list[AskedPoint], folder: Path) -> Request:
    """The request of a grid that is planned anew."""
    points = without_excluded(points[0][1].sweep.exclude, points)
    return _placed(overrides, [each for _, each in points], plan_sweep(overrides, points), folder)


def _placed(
    overrides: list[str], configs: list[ExperimentConfig], plan: SweepPlan, folder: Path
) -> Request:
    """The request of a sweep in the folder where it goes on or starts."""
    config = configs[0]
    # Whoever wants everything computed anew wants no trials of an earlier sweep.
    is_fresh = config.sweep.resume == AUTO and not config.cache.enabled
    resume = NEVER if is_fresh else config.sweep.resume
    if _gives(overrides, SWEEP_DIR) and resume in (AUTO, NEVER):
        return Request(configs, SWEEP_DIR, folder, in_folder(plan, folder, resume=resume))
    found, plan = resumed(plan, resume=resume, sweeps=folder.parent)
    if found is None:
        return Request(configs, SWEEP_DIR, folder, plan)
    request = Request(configs, SWEEP_DIR, found, plan)
    return replace(request, overrides=(request.folder_override(),))


def _gives(overrides: list[str], key: str) -> bool:
    return any(item.key_or_group == key for item in _parse_overrides(overrides))


def _refuse_two_folders(given: list[str], resume: str) -> None:
    """A sweep that goes on has its folder; in another one its numbers would mean other trials."""
    folders = [i.value() for i in _parse_overrides(given) if i.key_or_group == SWEEP_DIR]
    if folders and resume not in (AUTO, NEVER):
        raise ConfigError(
            f"{RESUME}={resume} goes on in that folder, and {SWEEP_DIR}={folders[-1]} names one "
            f"too; allowed: one of them. Leave {SWEEP_DIR} out, or set {RESUME}=auto."
        )


def _refuse_planning(config: ExperimentConfig, sweeper: str) -> None:
    """Say which keys another sweeper would ignore."""
    sweep = config.sweep
    asked = {
        "sweep.points": sweep.points is not None,
        "sweep.exclude": bool(sweep.exclude),
        RESUME: sweep.resume not in (AUTO, NEVER) and sweeper != SEARCH_SWEEPER,
        "sweep.prune_margin": sweep.prune_margin is not None and sweeper != SEARCH_SWEEPER,
    }
    for key, is_set in asked.items():
        if is_set:
            raise ConfigError(
                f"{key} is not possible with hydra/sweeper={sweeper}, which chooses its points "
                "itself; leave the sweeper out, or the key."
            )


def _resumed_alone(overrides: list[str]) -> SweepPlan | None:
    """The plan of an earlier sweep, where the command only says which one goes on, and how."""
    parsed = _parse_overrides(overrides)
    values = {item.key_or_group: str(item.value()) for item in parsed}
    around = all(key.startswith(("sweep.", "hydra.", "hydra/")) for key in values)
    if not around or values.get(RESUME, AUTO) in (AUTO, NEVER):
        return None
    return earlier_plan(Path(values[RESUME]))


def _request(options: Namespace) -> tuple[str, list[str]]:
    """The name of the configuration, and the overrides with the folder of a user's own files."""
    overrides = list(options.overrides)
    if options.config_dir is not None:
        folder = Path(options.config_dir).resolve()
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {options.config_dir}: there is no such folder.")
        quoted = str(folder).replace("'", r"\'")
        overrides.append(f"hydra.searchpath=['file://{quoted}']")
    return options.config_name or CONFIG_NAME, overrides


def _fixed(overrides: list[str]) -> list[str]:
    """The overrides that are the same at every point of a sweep."""
    lines = [
        item.input_line for item in _parse_overrides(overrides) if not item.is_sweep_override()
    ]
    return [str(line) for line in lines]


def _parse_overrides(overrides: list[str]) -> list[Override]:
    try:
        return parse_overrides(overrides)
    except OverrideParseException as problem:
        raise ConfigError(reworded(problem)) from problem


def _compose(name: str, overrides: Sequence[str], *, hydra: bool = False) -> DictConfig:
    try:
        composed = compose(name, overrides=list(overrides), return_hydra_config=hydra)
    except (HydraException, OmegaConfBaseException) as problem:
        unknown = _NO_SUCH_KEY.match(str(problem))
        if unknown is not None and unknown[1].startswith("hydra."):
            raise unknown_hydra_key(unknown[1], _hydra_members(name, overrides)) from problem
        if unknown is not None and not is_open(unknown[1]):
            # Hydra advises to append it, which no branch but the open ones would take.
            raise unknown_key(unknown[1]) from problem
        raise ConfigError(reworded(problem)) from problem
    except ValueError as problem:  # Hydra's word for model=null, without the key
        raise ConfigError(f"{' '.join(overrides)}: {problem}") from problem
    return composed


def _hydra_members(name: str, overrides: Sequence[str]) -> DictConfig:
    """Hydra's branch with the chosen members of its groups, and none of their keys changed."""
    groups = [item for item in overrides if item.startswith(("hydra/", "hydra.searchpath="))]
    members: DictConfig = compose(name, overrides=groups, return_hydra_config=True).hydra
    return members
