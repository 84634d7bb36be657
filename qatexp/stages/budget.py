"""What each layer costs at any bits: bytes of the file that will be written, or bit operations."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from qatexp.config.parse import plain_config
from qatexp.config.schema import Budget, CalibrationMethod, ExportConfig
from qatexp.quantization.allocate import Layer, Losses, Problem
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.graph_ops import copied
from qatexp.quantization.layers import fixed_bits
from qatexp.quantization.prepare import activation_quantizers
from qatexp.quantization.sensitivity import set_weight_bits_
from qatexp.quantization.sites import shared_inputs
from qatexp.runtimes import onnxruntime
from qatexp.runtimes.packing import weight_bytes
from qatexp.stages.code import code_of
from qatexp.stages.export import LIBRARIES
from qatexp.stages.sensitivity import Subject

FLOAT_BITS = 32
"""What an input that stays in float counts as."""
WIDEST = 8
FILE = "costs.json"


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One quantized layer as it is configured, and what decides its cost."""

    name: str
    counts: list[int]
    """Codes of each of its weights."""
    macs: int
    tensor: str
    """Its input, under a name that layers with the same input share."""
    weight_bits: int
    activation_bits: int
    """Of its input: the most that any reader asks for."""
    weight_free: bool
    """Whether its weight bits are to be chosen: neither a rule nor its place sets them."""
    activation_free: bool
    """The same for its input: no reader's bits are set."""

    def bytes(self, weight_bits: int, export: ExportConfig) -> int:
        """Bytes of its weights in the file."""
        return sum(weight_bytes(count, weight_bits, export) for count in self.counts)

    def bops(self, weight_bits: int, activation_bits: int) -> int:
        """Bit operations for one image: MACs x weight bits x activation bits."""
        return self.macs * weight_bits * activation_bits


@dataclass(frozen=True, slots=True)
class Costs:
    """All quantized layers, and the bytes of everything else in the file (bops: 0)."""

    layers: list[LayerCost]
    other_bytes: int

    def problem(self, subject: Subject, weights: Losses, activations: Losses) -> Problem:
        """State the choice of bits under `qconfig.auto` for the solver."""
        auto, export = subject.qconfig.auto, subject.context.config.export
        choices, of_file = tuple(auto.choices), auto.budget is Budget.size_bytes

        def layer(item: LayerCost) -> Layer:
            return Layer(
                name=item.name,
                tensor=item.tensor,
                weight_choices=choices if item.weight_free else (item.weight_bits,),
                activation_choices=choices if item.activation_free else (item.activation_bits,),
                cost=(lambda w, _a: item.bytes(w, export)) if of_file else item.bops,
            )

        layers = [layer(item) for item in self.layers]
        return Problem(layers, weights, activations, overhead=self.other_bytes)

    def uniform(self, bits: int) -> dict[str, tuple[int, int]]:
        """The same bits wherever they are free."""
        return {
            item.name: (
                bits if item.weight_free else item.weight_bits,
                bits if item.activation_free else item.activation_bits,
            )
            for item in self.layers
        }

    def bops(self, bits: Mapping[str, tuple[int, int]]) -> int:
        """Bit operations for one image at weight and activation bits by layer."""
        tensors: dict[str, int] = {}
        for item in self.layers:
            asked = FLOAT_BITS if item.activation_bits == FLOAT_BITS else bits[item.name][1]
            tensors[item.tensor] = max(asked, tensors.get(item.tensor, 0))
        return sum(item.bops(bits[item.name][0], tensors[item.tensor]) for item in self.layers)


def costs(subject: Subject) -> Costs:
    """Find what each layer costs; for a size, from a file that is written once."""
    config, budget = subject.context.config, subject.qconfig.auto.budget
    plain = plain_config(config)
    assert budget is not None

    def make(folder: Path) -> None:
        layers = _layers(subject, budget)
        other = _other_bytes(subject, layers) if budget is Budget.size_bytes else 0
        content = {"layers": [asdict(layer) for layer in layers], "other_bytes": other}
        (folder / FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")

    parts = {
        "code": code_of("quantization", "runtimes", "stages.budget", libraries=LIBRARIES),
        "from": subject.context.fingerprints["fp32"],
        "budget": budget.name,
        "qconfig": {key: value for key, value in plain["qconfig"].items() if key != "auto"},
        "export": plain["export"],
    }
    with subject.context.stage("budget", cacheable=True):
        folder = subject.context.entry("budget", parts, make)
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return Costs([LayerCost(**layer) for layer in content["layers"]], content["other_bytes"])


def _layers(subject: Subject, budget: Budget) -> list[LayerCost]:
    sites, planned = subject.sites, subject.prepared.plan.layers
    inputs = shared_inputs(sites)
    tensors = {
        site.name: "+".join(inputs[site.name]) or f"float input of {site.name}" for site in sites
    }
    fixed = {
        site.name: fixed_bits(site.name, subject.qconfig, at_end=site.at_end) for site in sites
    }
    found = []
    for site in sites:
        readers = [name for name, tensor in tensors.items() if tensor == tensors[site.name]]
        bits = max(_known(planned[name].activation_bits) for name in readers)
        is_quantized = bool(inputs[site.name])
        free = is_quantized and not any(fixed[name][1] for name in readers)
        found.append(
            LayerCost(
                name=site.name,
                counts=[weight.numel() for _, weight in site.weights],
                macs=site.macs,
                tensor=tensors[site.name],
                weight_bits=_known(planned[site.name].weight_bits),
                activation_bits=bits if is_quantized else FLOAT_BITS,
                weight_free=not fixed[site.name][0],
                activation_free=free and budget is Budget.bops,
            )
        )
    return found


def _known(bits: int | None) -> int:
    """Float weights or activations and `qconfig.auto` exclude each other in the configuration."""
    assert bits is not None
    return bits


def _other_bytes(subject: Subject, layers: list[LayerCost]) -> int:
    """Bytes of a file of this model without its weights: scales, biases, nodes and names."""
    config, example = subject.context.config, subject.context.data.example().cpu()
    bits = {item.name: WIDEST if item.weight_free else item.weight_bits for item in layers}
    for site in subject.sites:
        # Scales by magnitude use the largest code, and so the container that the bits need.
        set_weight_bits_(site, bits[site.name], CalibrationMethod.minmax)
    for index, (_, quantizer) in enumerate(
        activation_quantizers(subject.prepared.graph_module), start=1
    ):
        # Equal scales, and equal zero points, would be stored once.
        quantizer.set_range_(-1.0, 1.0 + 0.37 * index)
    graph_module = copied(subject.prepared.graph_module).cpu()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"reference{onnxruntime.SUFFIX}"
        onnxruntime.export(convert(fold(graph_module)[0]), example, path, config.export)
        size = onnxruntime.stored_bytes(path)
    return size - sum(item.bytes(bits[item.name], config.export) for item in layers)
