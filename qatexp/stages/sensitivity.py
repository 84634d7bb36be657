"""Measure how much each layer minds being quantized, on training images, once for all budgets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from qatexp.config.parse import plain_config
from qatexp.config.schema import QConfig
from qatexp.quantization.calibrate import observe
from qatexp.quantization.prepare import PreparedModel, prepare
from qatexp.quantization.sensitivity import (
    Bench,
    Choose,
    activation_sensitivities,
    open_bench,
    weight_sensitivities,
)
from qatexp.quantization.sites import Site, find_sites
from qatexp.records.sensitivity import Damage, Sensitivity
from qatexp.stages.calibration import calibration_images
from qatexp.stages.code import code_of
from qatexp.stages.context import Context

Tensors = Literal["weight", "activation"]
FILE = "sensitivity.json"


def tried_images(context: Context) -> int:
    """The number of training images on which each layer is tried."""
    config = context.config
    wanted = config.qconfig.auto.batches * config.dataset.eval_batch_size
    return min(wanted, context.data.size("calibration"))


class Subject:
    """The baseline as a prepared graph, made when the first figure is not in the cache."""

    def __init__(self, context: Context, baseline: nn.Module) -> None:
        self.context, self.baseline = context, baseline
        images, wanted = tried_images(context), context.config.qconfig.auto.batches
        if images < wanted * context.config.dataset.eval_batch_size:
            context.warn(
                f"qconfig.auto.batches={wanted} are more than the training images of "
                f"{context.data.name} give: layers are tried on all {images}"
            )

    @property
    def qconfig(self) -> QConfig:
        """What is asked for; grids are changed while layers are tried."""
        return self.context.config.qconfig

    @cached_property
    def prepared(self) -> PreparedModel:
        """The prepared graph on the run's device, not calibrated."""
        example = self.context.data.example().cpu()
        prepared = prepare(self.baseline.cpu(), example, self.qconfig)
        self.baseline.to(self.context.device)
        prepared.graph_module.to(self.context.device)
        return prepared

    @cached_property
    def sites(self) -> list[Site]:
        """Its quantized layers."""
        return find_sites(self.prepared.graph_module)

    @cached_property
    def bench(self) -> Bench:
        """Images of the training set in memory, and their FP32 logits."""
        wanted = self.qconfig.auto.batches
        batches = list(islice(self.context.data.eval_batches("calibration"), wanted))
        return open_bench(self.prepared.graph_module, self.sites, batches)

    @cached_property
    def choose(self) -> Choose:
        """Activation ranges from one calibration pass, for any bits."""
        images = calibration_images(self.context.config, self.context.data)
        return observe(self.prepared.graph_module, images, self.qconfig.calibration)

    def parts(self) -> dict[str, Any]:
        """What all figures depend on: of the configured bits, only whether there are any."""
        config = self.context.config
        qconfig = plain_config(config)["qconfig"]
        names = ("backend", "quantizer", "calibration")
        return {
            "code": code_of("quantization", "stages.sensitivity", "stages.calibration"),
            "from": self.context.fingerprints["fp32"],
            "data": self.context.data.fingerprint,
            "batch_sizes": [config.dataset.batch_size, config.dataset.eval_batch_size],
            "seed": config.seed,
            "device": self.context.device.type,
            "threads": torch.get_num_threads(),
            "qconfig": {name: qconfig[name] for name in names},
            "scheme": [qconfig["weight"]["granularity"], qconfig["activation"]["symmetric"]],
            "in_float": [qconfig[tensor]["bits"] is None for tensor in ("weight", "activation")],
            "rules": [
                [rule.match, rule.skip, rule.granularity and rule.granularity.name]
                for rule in config.qconfig.layers
                if rule.skip or rule.granularity is not None
            ],
            "batches": config.qconfig.auto.batches,
        }


def analyze(context: Context, baseline: nn.Module) -> list[Sensitivity]:
    """Quantize each layer's weight alone, and its input alone, at each of the bits."""
    subject = Subject(context, baseline)
    return [*sensitivities(subject, "weight"), *sensitivities(subject, "activation")]


def sensitivities(subject: Subject, tensors: Tensors) -> list[Sensitivity]:
    """Try the layers one by one at `qconfig.auto.choices`, or take the figures from the cache."""
    context, name = subject.context, f"sensitivity_{tensors}"
    choices = subject.qconfig.auto.choices
    measure = _weights if tensors == "weight" else _activations

    def make(folder: Path) -> None:
        rows = [asdict(row) for row in measure(subject)]
        (folder / FILE).write_text(json.dumps(rows, indent=1), encoding="utf-8")

    with context.stage(name, cacheable=True):
        folder = context.entry(name, {**subject.parts(), "choices": choices}, make)
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return [Sensitivity(**{**row, "damage": Damage(**row["damage"])}) for row in content]


def _weights(subject: Subject) -> Iterable[Sensitivity]:
    qconfig = subject.qconfig
    return weight_sensitivities(subject.bench, qconfig.auto.choices, qconfig.calibration.method)


def _activations(subject: Subject) -> Iterable[Sensitivity]:
    choose = subject.choose  # before the bench: calibration leaves the quantizers disabled too
    qconfig = subject.qconfig
    return activation_sensitivities(
        subject.bench, qconfig.auto.choices, choose=choose, qconfig=qconfig
    )
