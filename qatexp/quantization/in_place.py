"""Replace in-place operators of a captured graph, which overwrite what backward passes saved."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from qatexp.errors import ModelError


def remove_in_place_(graph: fx.Graph) -> None:
    """Turn every in-place operator into its out-of-place form, where that computes the same.

    Raises:
        ModelError: an operator has no such form, changes a buffer or parameter, or changes memory
            that is read afterwards through another view of it, as in `x[:, 0] = 1`.
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    origins: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        viewed = _shares_memory_with(node)
        origins[node] = node if viewed is None else origins[viewed]
        if not _is_in_place(node):
            continue
        replacement = _out_of_place(node.target)
        if replacement is None:
            _refuse(node, "has no out-of-place form")
        if origins[node].op == "get_attr":
            _refuse(node, f"changes {origins[node].target}, which the model keeps")
        # The trace goes on with the result: only other views of the memory still see the change.
        others = (each for each, origin in origins.items() if origin is origins[node])
        for other in others:
            if other is not node and any(position[u] > position[node] for u in other.users):
                _refuse(node, f"changes memory that {other.name} still reads afterwards")
        node.target = replacement


def _is_in_place(node: fx.Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable


def _shares_memory_with(node: fx.Node) -> fx.Node | None:
    """The argument that the result is, or may be, a view of."""
    if node.target is operator.getitem:
        source = node.args[0]
        return source if isinstance(source, fx.Node) else None
    if not isinstance(node.target, torch._ops.OpOverload):
        return None
    for argument, value in zip(node.target._schema.arguments, node.args, strict=False):
        if argument.alias_info is not None and isinstance(value, fx.Node):
            return value
    return None


def _out_of_place(target: Any) -> Any:
    """The operator of the same name without underscore that takes the same arguments, or None."""
    namespace, _, name = target._schema.name.partition("::")
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    for overload in packet.overloads() if packet is not None else ():
        candidate = getattr(packet, overload)
        if not candidate._schema.is_mutable and _signature(candidate) == _signature(target):
            return candidate
    return None


def _signature(target: Any) -> list[tuple[str, str]]:
    # The first is `self`, or `input` in some of the older operators.
    first, *others = target._schema.arguments
    return [("self", str(first.type)), *((each.name, str(each.type)) for each in others)]


def _refuse(node: fx.Node, reason: str) -> None:
    stack = (str(node.meta.get("stack_trace") or "").strip().splitlines() or [""])[-1].strip()
    place = f" in `{stack}`" if stack else ""
    raise ModelError(
        f"the in-place operator {node.target}{place} {reason}: quantization-aware training cannot "
        "follow it. Write it out of place in the model (x = x + y, torch.where, torch.cat)."
    )
