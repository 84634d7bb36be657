"""Load weights from files as people share them, without unpickling anything but tensors."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from qatexp.errors import ModelError
from qatexp.models.mismatch import Mismatch
from qatexp.models.reasons import reason

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_COUNTER = "num_batches_tracked"

# What torch.load says when a file asks for more than tensors; the group is the class it asks for.
_REFUSED = re.compile(
    r"GLOBAL (\S+) was not an allowed global|whose module (\S+) is blocked|(TorchScript archive)s"
)

# The core of what torch.load says about a file that it cannot follow, behind long advice.
_NOT_FOLLOWED = re.compile(r"WeightsUnpickler error:\s*(.+)")

# The files of torchvision's DenseNets are older than the rule against dots in module names.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def load_checkpoint_(model: nn.Module, file: str, *, name: str) -> None:
    """Load every weight of `model` from a file; a missing batch counter of a batch norm is fine.

    Accepted are plain state dicts, dicts that hold one under ``state_dict``, ``model``,
    ``model_state_dict`` or ``net``, and ``.safetensors``; the prefixes ``module.`` (DataParallel)
    and ``_orig_mod.`` (torch.compile) are dropped.

    Args:
        model: the model to fill, on the CPU.
        file: path, ``~`` allowed.
        name: of the model, for messages.

    Raises:
        ModelError: the file is missing, damaged, holds more than tensors or other weights than
            those of the model. The model may then be filled in part.
    """
    path = Path(file).expanduser()
    own = model.state_dict()
    state = _with_names_of(own, _unwrap(_read(path), path))
    shapes = {
        key: (tuple(state[key].shape), tuple(value.shape))
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    }
    for key in shapes:
        del state[key]
    try:
        # Not strict, so that modules still rename the keys of their older versions.
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as problem:  # its first line only names the class of the model
        text = " ".join(str(problem).split())
        raise ModelError(f"model.checkpoint={path} does not load: {text}") from problem
    absent = [key for key in missing if key not in shapes and not key.endswith(_COUNTER)]
    mismatch = Mismatch(missing=tuple(absent), unexpected=tuple(unexpected), shapes=shapes)
    if mismatch:
        raise ModelError(mismatch.describe(path=path, name=name))


def _read(path: Path) -> Any:
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(
            f"model.checkpoint={path} {state} (looked for {path.absolute()}). "
            "Give the path of a weights file, or null for random weights."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is refused with an error of its own
            return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as problem:  # a damaged file raises almost anything
        raise ModelError(_unreadable(path, problem)) from problem


def _check_sums(path: Path) -> None:
    """Compare the checksums of a zip file, which torch.load does not: it returns wrong weights."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of its part {damaged} is wrong")


def _unreadable(path: Path, problem: Exception) -> str:
    refused = _REFUSED.search(str(problem))
    if isinstance(problem, PermissionError):
        return f"model.checkpoint={path} may not be read: {reason(problem)}."
    if refused is None:
        core = _NOT_FOLLOWED.search(str(problem))
        return (
            f"model.checkpoint={path} is damaged, or no file of PyTorch or safetensors "
            f"({path.stat().st_size} bytes): {core[1] if core else reason(problem)}. "
            "Download or copy it anew."
        )
    asked_for = next(group for group in refused.groups() if group is not None)
    return (
        f"model.checkpoint={path} holds more than tensors ({asked_for}). Loading that could run "
        "any program, so it is refused. If you trust the file, save its weights alone: python -c "
        f'"import torch; c = torch.load({str(path)!r}, weights_only=False); '
        "torch.save(c.state_dict() if hasattr(c, 'state_dict') else c['state_dict'], "
        "'weights.pth')\", and set model.checkpoint=weights.pth."
    )


def _unwrap(content: Any, path: Path) -> Mapping[str, Tensor]:
    """Find the state dict in what a file holds."""
    found = content
    if isinstance(content, Mapping):
        wrapped = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        found = wrapped[0] if wrapped else content
    if not isinstance(found, Mapping):
        raise ModelError(_without_weights(path, f"a {type(found).__name__}"))
    if not found:
        raise ModelError(_without_weights(path, "an empty dict"))
    others = [str(key) for key, value in found.items() if not isinstance(value, Tensor)]
    if others:
        raise ModelError(_without_weights(path, f"{', '.join(others[:10])}, not tensors"))
    return found


def _without_weights(path: Path, held: str) -> str:
    return (
        f"model.checkpoint={path} has no state dict: it holds {held}. Allowed: a dict of tensors "
        f"by parameter name, alone or under one of the keys {', '.join(_WRAPPERS)}."
    )


def _with_names_of(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> OrderedDict[str, Tensor]:
    """Name the tensors of a file as the model would, and keep the versions of its modules."""
    renamed = OrderedDict((_plain(key, own), value) for key, value in state.items())
    # Modules read the version of their own entry: without any they take today's.
    versions = getattr(state, "_metadata", None) or getattr(own, "_metadata", {})
    renamed._metadata = OrderedDict(  # type: ignore[attr-defined]
        (_plain(f"{key}.", own).removesuffix("."), value) for key, value in versions.items()
    )
    return renamed


def _plain(key: str, own: Collection[str]) -> str:
    key = _OLD_DENSENET.sub(r"\1\2", key.replace("_orig_mod.", ""))
    if any(name.startswith("module.") for name in own):
        return key  # the model has a part of that name
    return key.removeprefix("module.")
