"""What a program needs to know to use the exported files as they were measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qatexp import __version__
from qatexp.records import Variant
from qatexp.runtimes import onnxruntime
from qatexp.stages.context import Context
from qatexp.stages.export import ARTIFACTS
from qatexp.store.atomic import write_text

DEPLOY_FILE = "deploy.json"
"""Beside the files, and not in them: their size is what the report states."""


def write_deployment(context: Context, variants: Mapping[str, Variant]) -> None:
    """Write how images become inputs, what the outputs mean, and how each file is opened."""
    path = context.folder / ARTIFACTS / DEPLOY_FILE
    write_text(path, json.dumps(_deployment(context, variants), indent=2) + "\n")


def _deployment(context: Context, variants: Mapping[str, Variant]) -> dict[str, Any]:
    return {
        "schema": 1,
        "qatexp": __version__,
        "name": context.config.name,
        "input": {"name": onnxruntime.INPUT, **context.data.preprocessing()},
        "output": {"name": onnxruntime.OUTPUT},
        "classes": list(context.data.classes),
        "files": {
            name: {
                "file": Path(variant.file).name,
                "session_options": onnxruntime.INTEGER_OPTIONS | variant.session_options,
                "deployed_top1": variant.deployed_top1,
            }
            for name, variant in variants.items()
        },
    }
