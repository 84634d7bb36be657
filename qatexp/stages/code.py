"""Which code made a result: hashes and versions for the fingerprints of stages."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qatexp.config.fingerprint import fingerprint
from qatexp.config.targets import TRUSTED, resolve
from qatexp.store.checked import checksum

LIBRARIES = ("torch", "torchao")
ROOT = Path(__file__).parents[1]


@cache
def code_of(*parts: str, libraries: Sequence[str] = LIBRARIES) -> str:
    """Hash the source of parts of qatexp together with the versions of the libraries they call.

    Args:
        parts: subpackages (``training``) and single modules (``stages.ptq``) of qatexp.
        libraries: distributions whose version counts; a tuple.

    Returns:
        16 hexadecimal digits that change with any of these files or versions.
    """
    files: dict[str, str] = {}
    for part in parts:
        path = ROOT.joinpath(*part.split("."))
        found = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
        files |= {file.relative_to(ROOT).as_posix(): checksum(file) for file in found}
    return fingerprint(files, {name: version_of(name) for name in libraries})


def target_code(target: str, *, key: str, trusted: Sequence[str] = ()) -> dict[str, Any]:
    """Describe the code behind a ``_target_``, in JSON types, for the fingerprint of a stage.

    A user's package counts by the content of all its modules that are loaded: a network's blocks
    are rarely in the file that defines its builder. A package of `TRUSTED` counts by its version.

    Args:
        target: dotted name of a callable.
        key: configuration key that holds it, for messages.
        trusted: packages that the user trusts beside `TRUSTED`.

    Raises:
        ConfigError: the target cannot be imported.
    """
    module = inspect.getmodule(resolve(target, key=key, trusted=trusted))
    package = target.partition(".")[0]
    return {
        "file": _modules_code([] if module is None else [module.__name__]),
        "package": version_of(package) if package in TRUSTED else _package_code(package),
    }


def _package_code(package: str) -> str:
    return _modules_code(name for name in sys.modules if name.partition(".")[0] == package)


def _modules_code(names: Iterable[str]) -> str:
    files = {name: getattr(sys.modules[name], "__file__", None) for name in sorted(names)}
    return files_code({n: Path(file) for n, file in files.items() if file and file.endswith(".py")})


def files_code(files: Mapping[str, Path]) -> str:
    """Hash source files under their names."""
    return fingerprint({name: checksum(path) for name, path in files.items()})


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
