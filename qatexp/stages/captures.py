"""Baselines as graphs, kept between the trials of one process.

Trials of a sweep share a few baselines, one for each seed for instance, and capturing one takes
longer than all else that a PTQ from the cache needs.
"""

from __future__ import annotations

from torch import fx, nn

from qatexp.quantization.capture import capture
from qatexp.quantization.graph_ops import copied
from qatexp.stages.context import Context

BUDGET_BYTES = 512_000_000
"""Of weights, in the main memory; a baseline that is larger is captured by every trial."""

_kept: dict[str, fx.GraphModule] = {}
"""By the baseline's fingerprint, the oldest first."""


def captured(context: Context, baseline: nn.Module) -> fx.GraphModule:
    """The run's baseline as a graph of its own, on the CPU; see `capture`."""
    key = context.fingerprints["fp32"]
    graph_module = _kept.get(key)
    if graph_module is None:
        graph_module = capture(baseline.cpu(), context.data.example().cpu())
        baseline.to(context.device)
        _keep(key, graph_module)
    return copied(graph_module)


def _keep(key: str, graph_module: fx.GraphModule) -> None:
    _kept[key] = graph_module
    while sum(map(_bytes, _kept.values())) > BUDGET_BYTES:
        del _kept[next(iter(_kept))]


def _bytes(graph_module: fx.GraphModule) -> int:
    return sum(tensor.nbytes for tensor in graph_module.state_dict().values())
