"""Which launcher a command has chosen, checked before anything is started or written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec

from hydra.utils import instantiate
from omegaconf import DictConfig

from qatexp.config.schema import ExperimentConfig
from qatexp.errors import ConfigError
from qatexp.sweep.launcher import TrialLauncher

log = logging.getLogger(__name__)

_OWN = "hydra_plugins.qatexp_plugins."
_JOBLIB = "hydra_plugins.hydra_joblib_launcher"


def check_launcher(chosen: DictConfig, points: Sequence[ExperimentConfig]) -> bool:
    """Check that a launcher can run the points of a sweep.

    Args:
        chosen: ``hydra.launcher``.
        points: the trials.

    Returns:
        Whether trials may run on other machines than this one.

    Raises:
        ConfigError: a package is missing, or its keys do not fit the trials.
    """
    target = str(chosen._target_)
    if target.startswith(_JOBLIB) and find_spec(_JOBLIB) is None:
        raise ConfigError(
            "hydra/launcher=joblib needs the package hydra-joblib-launcher, which is not "
            "installed; hydra/launcher=local runs several trials at a time without it "
            "(hydra.launcher.slots=N), each in a fresh process with a GPU or cores of its own."
        )
    if not target.startswith(_OWN):
        return False
    launcher = instantiate(chosen)
    assert isinstance(launcher, TrialLauncher)
    for point in _kinds(points):
        launcher.check(point)
    return launcher.queues


def runs_here(chosen: DictConfig) -> bool:
    """Whether trials run in this process, one after the other: Hydra's own launcher."""
    return str(chosen._target_).endswith(".BasicLauncher")


def warn_of_joblib(chosen: DictConfig) -> None:
    """Say what joblib's launcher is, where a sweep starts with it."""
    if str(chosen._target_).startswith(_JOBLIB):
        log.warning(
            "hydra/launcher=joblib runs trials in processes that it uses again: a killed one ends "
            "the whole sweep, no trial gets a GPU or cores of its own, and DataLoader workers "
            "fail in it; hydra/launcher=local does without these limits"
        )


def _kinds(points: Sequence[ExperimentConfig]) -> list[ExperimentConfig]:
    """One point of each kind of machine that the points ask for."""
    found = {(p.device, p.trainer.devices, p.trainer.threads): p for p in points}
    return list(found.values())
