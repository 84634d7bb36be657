"""Which layers get how many bits: `qconfig.bits`, `first_last_bits` and the rules of `layers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import fx

from qatexp.config.schema import Granularity, LayerRule, QConfig
from qatexp.config.suggestions import did_you_mean
from qatexp.errors import QuantizationError
from qatexp.quantization.graph_ops import WEIGHTED, is_op, layer_name

NAMED = 10
"""Layers that a message names."""


@dataclass(frozen=True, slots=True)
class LayerBits:
    """Bits of one convolution or linear layer: its weight and its input; None stays in float."""

    weight_bits: int | None
    activation_bits: int | None
    granularity: Granularity = Granularity.per_channel
    """How many values of the weight share one scale."""


def has_parameter_weight(layer: fx.Node) -> bool:
    """Whether a layer's weight is a parameter: a computed one has no codes to deploy."""
    weight = layer.args[1]
    return isinstance(weight, fx.Node) and weight.op == "get_attr"


def weighted_nodes(graph: fx.Graph) -> list[fx.Node]:
    """Convolutions and linear layers with a parameter as weight, in execution order."""
    return [node for node in graph.nodes if is_op(node, WEIGHTED) and has_parameter_weight(node)]


def resolve_layers(graph: fx.Graph, qconfig: QConfig) -> dict[fx.Node, LayerBits]:
    """Bits of every layer that is quantized; skipped layers are absent.

    A later rule overrides an earlier one; a rule overrides `first_last_bits`.

    Raises:
        QuantizationError: a rule's pattern matches no layer; the message lists those there are.
    """
    nodes = weighted_nodes(graph)
    names = [layer_name(node) for node in nodes]
    for rule in qconfig.layers:
        _check_matches(rule, names)
    resolved = {}
    for index, (node, name) in enumerate(zip(nodes, names, strict=True)):
        at_end = index in (0, len(nodes) - 1)
        bits = _layer_bits(name, qconfig, at_end=at_end)
        if bits is not None:
            resolved[node] = bits
    return resolved


def _layer_bits(name: str, qconfig: QConfig, *, at_end: bool) -> LayerBits | None:
    weight, activation = qconfig.weight.bits, qconfig.activation.bits
    granularity = qconfig.weight.granularity
    if at_end and qconfig.first_last_bits is not None:
        weight = None if weight is None else qconfig.first_last_bits
        activation = None if activation is None else qconfig.first_last_bits
    for rule in qconfig.layers:
        if fnmatchcase(name, rule.match):
            if rule.skip:
                return None
            weight = weight if rule.weight_bits is None else rule.weight_bits
            activation = activation if rule.activation_bits is None else rule.activation_bits
            granularity = granularity if rule.granularity is None else rule.granularity
    return LayerBits(weight, activation, granularity)


def fixed_bits(name: str, qconfig: QConfig, *, at_end: bool) -> tuple[bool, bool]:
    """Whether a layer's weight bits, and its activation bits, are set by name or by place.

    Those are not for `qconfig.auto` to choose.
    """
    ends = at_end and qconfig.first_last_bits is not None
    rules = [rule for rule in qconfig.layers if fnmatchcase(name, rule.match)]
    return (
        ends or any(rule.weight_bits is not None for rule in rules),
        ends or any(rule.activation_bits is not None for rule in rules),
    )


def _check_matches(rule: LayerRule, names: Sequence[str]) -> None:
    if any(fnmatchcase(name, rule.match) for name in names):
        return
    further = len(names) - NAMED
    more = f" and {further} more, which `qatexp analyze` lists" if further > 0 else ""
    raise QuantizationError(
        f"qconfig.layers: the pattern {rule.match!r} matches no conv or linear layer"
        f"{did_you_mean(rule.match, names)} The layers are {', '.join(names[:NAMED])}{more}."
    )
