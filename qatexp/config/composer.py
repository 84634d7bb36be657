"""The configurations of a sweep's points: composed once where they differ in plain values alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qatexp.config.parse import Parser
from qatexp.config.points import parse_overrides
from qatexp.config.schema import ExperimentConfig


class PointComposer:
    """Composes and parses one point after another, as if each were a command of its own.

    Hydra takes a tenth of a second to compose a configuration. Points with the same members of
    groups share one composition, in which their plain values are set, as Hydra does in the end.

    Args:
        compose: Hydra's composition for a list of overrides, with errors in this project's words.
    """

    def __init__(self, compose: Callable[[Sequence[str]], DictConfig]) -> None:
        self._compose = compose
        self._known: dict[tuple[str, ...], tuple[DictConfig, Parser]] = {}

    def config(self, point: Sequence[str]) -> ExperimentConfig:
        """The checked configuration of one point.

        Raises:
            ConfigError: it is wrong.
        """
        overrides = parse_overrides(point)
        plain = [item for item in overrides if _is_plain(item)]
        others = [str(item.input_line) for item in overrides if item not in plain]
        kind = (*others, *(item.key_or_group for item in plain))
        known = self._known.get(kind)
        if known is None or not _set_(known[0], plain):
            known = (self._compose(point), Parser())
            self._known[kind] = known
        composed, parser = known
        return parser.parse(composed)


def _set_(composed: DictConfig, overrides: Sequence[Override]) -> bool:
    """Set values in place; False where one does not fit, which composing anew puts into words."""
    try:
        for item in overrides:
            OmegaConf.update(composed, item.key_or_group, item.value(), merge=True)
    except OmegaConfBaseException:
        return False
    return True


def _is_plain(override: Override) -> bool:
    """Whether an override changes one value that is no branch, no list and no choice of a file."""
    if override.is_add() or override.is_delete() or override.package is not None:
        return False
    is_branch = isinstance(override.value(), dict | list)
    return not is_branch and not _is_group(override.key_or_group)


@cache
def _is_group(key: str) -> bool:
    return bool(GlobalHydra.instance().config_loader().get_group_options(key))
