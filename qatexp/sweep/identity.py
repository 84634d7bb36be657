"""What makes two trials the same: their configuration, the code, and the files that they name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from qatexp.config.fingerprint import fingerprint
from qatexp.config.keys import is_around
from qatexp.config.parse import plain_config, plain_leaves
from qatexp.config.schema import ExperimentConfig
from qatexp.config.targets import TRUSTED
from qatexp.stages.code import code_of, files_code

_LIBRARIES = ("torch", "torchvision", "torchao", "onnx", "onnxscript", "onnxruntime")


def trial_fingerprint(config: ExperimentConfig) -> str:
    """Hash everything that a trial's record depends on, as far as it can be told at once.

    A checkpoint counts by its size and time, and a folder of images by the times of its folders:
    images that are changed in place start no finished trial anew, but the stages of the next
    sweep, which look at their content.

    Returns:
        16 hexadecimal digits.
    """
    leaves = plain_leaves(plain_config(config))
    plain = {key: value for key, value in leaves if not is_around(key)}
    # What a download brings is there only after the first trial.
    root = None if config.dataset.download else config.dataset.root
    files = [_state(config.model.checkpoint), _folders(root)]
    targets = (
        config.model.target,
        config.dataset.target,
        str(config.schedule.optimizer["_target_"]),
    )
    own = {target.partition(".")[0] for target in targets}.difference(TRUSTED)
    code = {name: _package_code(name) for name in sorted(own)}
    return fingerprint(plain, files, code, code_of("", libraries=_LIBRARIES))


def _package_code(package: str) -> str:
    """Hash all modules of a user's package without importing it.

    The stages, which have imported it, count those alone that are loaded.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        return files_code({})
    folders = [Path(path) for path in spec.submodule_search_locations or ()]
    if not folders:
        is_source = spec.origin is not None and spec.origin.endswith(".py")
        return files_code({package: Path(str(spec.origin))} if is_source else {})
    found = ((folder, path) for folder in folders for path in sorted(folder.rglob("*.py")))
    return files_code({path.relative_to(folder).as_posix(): path for folder, path in found})


def _state(path: str | None) -> list[int] | None:
    if path is None:
        return None
    found = Path(path).expanduser().stat()
    return [found.st_size, found.st_mtime_ns]


def _folders(root: str | None) -> list[Any]:
    """Times of a folder and of those two levels below it, where images of a class lie."""
    top = None if root is None else Path(root).expanduser()
    if top is None or not top.is_dir():
        return []
    folders = [top, *(path for pattern in ("*", "*/*") for path in top.glob(pattern))]
    return sorted(
        [str(path.relative_to(top)), path.stat().st_mtime_ns] for path in folders if path.is_dir()
    )
