"""What a prepared model holds: parameters, packed bytes, and the bits of every layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import fx, nn

from qatexp.quantization.annotate import Plan
from qatexp.quantization.grids import bits_of
from qatexp.quantization.prepare import quantization_parameters, weight_quantizers


def parameter_count(model: nn.Module) -> int:
    """Number of the network's own parameters: learned scales are not counted."""
    scales = {id(parameter) for parameter in quantization_parameters(model)}
    return sum(p.numel() for p in model.parameters() if id(p) not in scales)


def ideal_bytes(model: nn.Module) -> int:
    """Bytes of the parameters with quantized weights packed at their bits, the rest in float32."""
    bits = 32 * parameter_count(model)
    if isinstance(model, fx.GraphModule):
        for quantizer, weight in weight_quantizers(model):
            bits -= (32 - bits_of(quantizer)) * weight.numel()
    return (bits + 7) // 8


def summary(plan: Plan) -> dict[str, Any]:
    """The plan in JSON types, for the record: bits of every layer and what was left in float."""
    return {
        "layers": {
            name: asdict(bits) | {"granularity": bits.granularity.name}
            for name, bits in plan.layers.items()
        },
        "fusions": {kind: asdict(found) for kind, found in plan.fusions.items()},
        "skipped": list(plan.skipped),
        "activations": len(plan.activations),
    }
