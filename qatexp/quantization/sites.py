"""The layers of a prepared graph, each with its quantizers and what it costs to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor, fx

from qatexp.quantization.fake_quantize import WeightFakeQuantize
from qatexp.quantization.fold import input_quantizer_of, weight_quantizer_of
from qatexp.quantization.graph_ops import WEIGHTED, attribute_of, is_op, layer_name, source
from qatexp.quantization.layers import has_parameter_weight


@dataclass(frozen=True)
class Site:
    """One quantized layer: all operators of one module together, as rules name modules."""

    name: str
    weights: tuple[tuple[WeightFakeQuantize, Tensor], ...]
    """Quantizers, each with the weight (C, ...) that it quantizes."""
    inputs: tuple[str, ...]
    """Names of the quantizers of its inputs; empty where the input stays in float."""
    macs: int
    """Multiply-accumulates for one image."""
    at_end: bool
    """Whether it is the first or the last layer."""


def find_sites(graph_module: fx.GraphModule) -> list[Site]:
    """Quantized layers of a prepared graph, in order of execution."""
    nodes = [node for node in graph_module.graph.nodes if _has_own_weight(node)]
    ends = {layer_name(node) for node in (*nodes[:1], *nodes[-1:])}
    by_name: dict[str, list[fx.Node]] = {}
    for node in nodes:
        if weight_quantizer_of(node) is not None:
            by_name.setdefault(layer_name(node), []).append(node)
    return [_site(name, members, at_end=name in ends) for name, members in by_name.items()]


def shared_inputs(sites: Sequence[Site]) -> dict[str, tuple[str, ...]]:
    """Quantizers that have to keep the same bits, by layer: one tensor has one grid.

    Layers that read a common tensor get equal values.
    """
    groups: list[set[str]] = []
    for site in sites:
        merged = set(site.inputs)
        apart = [group for group in groups if not group & merged]
        groups = [*apart, merged.union(*(group for group in groups if group & merged))]
    return {
        site.name: next((tuple(sorted(g)) for g in groups if g.intersection(site.inputs)), ())
        for site in sites
    }


def _has_own_weight(node: fx.Node) -> bool:
    if not is_op(node, WEIGHTED):
        return False
    return weight_quantizer_of(node) is not None or has_parameter_weight(node)


def _site(name: str, nodes: Sequence[fx.Node], *, at_end: bool) -> Site:
    weights, macs = [], 0
    inputs: dict[str, None] = {}
    for node in nodes:
        quantizer, call, read = weight_quantizer_of(node), node.args[1], node.args[0]
        assert quantizer is not None
        assert isinstance(call, fx.Node)
        assert isinstance(read, fx.Node)
        weight = attribute_of(call.args[0])
        weights.append((quantizer, weight))
        if input_quantizer_of(node) is not None:
            inputs[str(source(read).target)] = None
        macs += prod(node.meta["val"].shape[1:]) * prod(weight.shape[1:])
    return Site(name, tuple(weights), tuple(inputs), macs, at_end)
