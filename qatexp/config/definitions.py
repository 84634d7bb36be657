"""What a Python file defines, read from its text: importing it may take seconds, or load torch."""

from __future__ import annotations

import ast
import importlib.util
from functools import lru_cache
from pathlib import Path

_DYNAMIC = {"globals", "vars", "exec", "eval", "setattr", "__getattr__"}
"""Names in a file that may define others when it runs."""


def missing_definition(target: str) -> tuple[str, str, frozenset[str]] | None:
    """The first part of a dotted name that no file of its package defines.

    Args:
        target: dotted name whose first part is an installed module or package.

    Returns:
        The module, the part that it lacks and the names that it has; None where nothing is missing,
        or where only running the module can tell.
    """
    package, *parts = target.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    module, file = package, Path(spec.origin)
    for part in parts:
        names = _names_of(file)
        if names is None or part in names:
            return None
        inner = _submodule(file, part)
        if inner is None:
            return module, part, names
        module, file = f"{module}.{part}", inner
    return None


def _submodule(file: Path, name: str) -> Path | None:
    """The file of a module in the package whose ``__init__.py`` is given."""
    if file.name != "__init__.py":
        return None
    folder = file.parent
    if (folder / name).is_dir():
        return folder / name / "__init__.py"
    compiled = any(folder.glob(f"{name}.*"))
    return folder / f"{name}.py" if compiled else None


def _names_of(file: Path) -> frozenset[str] | None:
    """Every name that a file binds; None where it cannot be read, or binds names as it runs."""
    try:
        state = file.stat()
        return _parsed_names(file, state.st_mtime_ns, state.st_size)
    except (OSError, SyntaxError, ValueError):  # the import will say what is wrong
        return None


@lru_cache(maxsize=64)
def _parsed_names(file: Path, changed_ns: int, size: int) -> frozenset[str] | None:
    """Parse a file once for each of its states: every point of a grid asks for the same."""
    del changed_ns, size
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.alias():
                names.add((node.asname or node.name).partition(".")[0])
            case ast.Name():
                names.add(node.id)
            case ast.Attribute(attr="modules"):  # of sys: another object may take its place
                return None
    return None if names & {*_DYNAMIC, "*"} else frozenset(names)
