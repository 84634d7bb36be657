"""Resolve ``_target_`` names, from trusted packages only.

A configuration is data that people share: without a list of trusted packages, opening somebody's
YAML file could run any function of any installed package.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from qatexp.config.definitions import missing_definition
from qatexp.config.suggestions import did_you_mean
from qatexp.errors import ConfigError

TRUSTED = ("qatexp", "torch", "torchvision", "timm")
_PARTS = (
    "qatexp.data",
    "qatexp.models",
    "torch.nn",
    "torch.optim",
    "torchvision.datasets",
    "torchvision.models",
    "timm",
)
"""What builds networks, data sets and optimizers in them; other parts run code, as torch.load."""


def check_target(target: str, *, key: str, trusted: Iterable[str] = ()) -> None:
    """Check, without importing anything, that a target is trusted and its package is installed.

    Args:
        target: dotted name, ``my_package.build_net``.
        key: configuration key that holds it, for the message.
        trusted: packages that the user trusts beside `TRUSTED`.

    Raises:
        ConfigError: the name is not dotted, not trusted, its package cannot be found, or a user's
            package does not define it.
    """
    package, _, rest = target.partition(".")
    if not rest or not all(part.isidentifier() for part in target.split(".")):
        raise ConfigError(
            f"{key}={target!r} is not a dotted name; allowed: package.module.callable"
        )
    allowed = (*TRUSTED, *trusted)
    if package not in allowed:
        raise ConfigError(
            f"{key}={target} is not of a trusted package; allowed: {', '.join(allowed)}. "
            f"If you trust it, add trusted_packages=[{package}]."
        )
    if not _is_allowed(target, trusted):
        raise ConfigError(
            f"{key}={target} is in no part of {package} that builds networks, data sets or "
            f"optimizers; allowed: {', '.join(_PARTS)}. If you trust all of it, add "
            f"trusted_packages=[{package}]."
        )
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f"{key}={target}: package {package!r} cannot be found; install it, or run qatexp "
            "from the folder that holds it."
        )
    # What ours and torch's packages hold is known only when they are imported.
    missing = None if package in TRUSTED else missing_definition(target)
    if missing is not None:
        module, name, names = missing
        raise ConfigError(f"{key}={target}: {module} has no {name!r}{did_you_mean(name, names)}")


def resolve(target: str, *, key: str, trusted: Iterable[str] = ()) -> Callable[..., Any]:
    """Import the callable that a target names.

    A name is no proof: ``torch.nn.modules.module.os`` is Python's own module. So what it leads to
    has to come from a trusted package as well.

    Raises:
        ConfigError: as `check_target`, or the name does not exist, is not callable or is another
            name of something that is not trusted.
    """
    trusted = tuple(trusted)
    check_target(target, key=key, trusted=trusted)
    parts = target.split(".")
    found = _import(parts[0], key=key, target=target)
    for index, part in enumerate(parts[1:], start=1):
        if hasattr(found, part):
            found = getattr(found, part)
        elif not isinstance(found, ModuleType):
            raise ConfigError(f"{key}={target}: {'.'.join(parts[:index])} has no {part!r}.")
        else:
            found = _import(".".join(parts[: index + 1]), key=key, target=target)
    if not callable(found):
        raise ConfigError(f"{key}={target} is not callable, it is of type {type(found).__name__}.")
    home = _home(found)
    if not _is_allowed(home, trusted):
        package = home.partition(".")[0]
        raise ConfigError(
            f"{key}={target} is {home}, which is not of a trusted package or part; if you trust "
            f"it, add trusted_packages=[{package}]."
        )
    return found  # type: ignore[no-any-return]


def _is_allowed(name: str, trusted: Iterable[str]) -> bool:
    """Whether a dotted name is of a user's trusted package, or of the parts of ours."""
    return any(f"{name}.".startswith(f"{part}.") for part in (*_PARTS, *trusted))


def _home(found: Any) -> str:
    """The name under which a callable was defined, whatever else it is called."""
    while isinstance(found, functools.partial):
        found = found.func
    found = found if hasattr(found, "__qualname__") else type(found)
    return f"{getattr(found, '__module__', None) or 'builtins'}.{found.__qualname__}"


def _import(name: str, *, key: str, target: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        parent, _, last = name.rpartition(".")
        if problem.name == name and parent:
            raise ConfigError(f"{key}={target}: {parent} has no {last!r}.") from problem
        raise ConfigError(f"{key}={target}: importing {name} failed: {problem}") from problem
    except Exception as problem:  # anything that a user's module does while it is imported
        reason = f"{type(problem).__name__}: {problem}"
        raise ConfigError(f"{key}={target}: importing {name} failed: {reason}") from problem
