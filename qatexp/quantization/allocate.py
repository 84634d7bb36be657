"""Bits per layer under a budget, by integer programming; numbers in, bits out.

One binary variable for every pair of bits of a layer, and one for every choice of bits of a tensor;
layers that read one tensor agree on its bits. The sum of the layers' losses is minimized while the
sum of their costs stays within the budget, as in HAWQ-V3 (Yao et al. 2021,
https://arxiv.org/abs/2011.10680) and AdaQuant (Hubara et al. 2020,
https://arxiv.org/abs/2006.10518).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qatexp.errors import QuantizationError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# scipy is imported where it is used: that takes half a second, which few experiments need.
_Constraint = tuple["csr_array", float, float]
"""A row of factors per condition, and the bounds that their sums keep."""
_LOSS_UNITS = 1e6
"""The solver stops at an absolute gap of 1e-6: in these units that is below any difference."""
_MARGINS = (0.0, 1e-9, 1e-7, 1e-5)
"""Shares of the budget that are held back in turns: the solver takes a little more than allowed."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: what may be chosen, and what each choice costs. One choice leaves none."""

    name: str
    tensor: str
    """What it reads; layers with the same tensor get the same activation bits."""
    weight_choices: tuple[int, ...]
    activation_choices: tuple[int, ...]
    """The same for all layers with the same tensor."""
    cost: Callable[[int, int], float]
    """Share of the budget at weight bits and activation bits, at least 0."""


Losses = Mapping[str, Mapping[int, float]]
"""Loss by name and bits, never rising with the bits; a name without choices may be missing."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Weight and activation bits by layer, with the sums that speak for them."""

    bits: dict[str, tuple[int, int]]
    cost: float
    loss: float


@dataclass(frozen=True, slots=True)
class Problem:
    """Layers with their choices, what these lose and what they cost."""

    layers: Sequence[Layer]
    weight_losses: Losses
    """By layer."""
    activation_losses: Losses
    """By tensor."""
    overhead: float = 0.0
    """What is spent whatever is chosen."""

    def smallest_cost(self) -> float:
        """The least that any choice of bits costs."""
        tensors: dict[str, list[Layer]] = {}
        for layer in self.layers:
            tensors.setdefault(layer.tensor, []).append(layer)
        return self.overhead + sum(
            min(
                sum(min(item.cost(w, a) for w in item.weight_choices) for item in readers)
                for a in readers[0].activation_choices
            )
            for readers in tensors.values()
        )

    def total(self, bits: Mapping[str, tuple[int, int]]) -> Allocation:
        """Cost and loss of bits that somebody chose."""
        tensors = {layer.tensor: bits[layer.name][1] for layer in self.layers}
        losses = [
            *(_loss(self.weight_losses, layer.name, bits[layer.name][0]) for layer in self.layers),
            *(_loss(self.activation_losses, *item) for item in tensors.items()),
        ]
        cost = self.overhead + sum(layer.cost(*bits[layer.name]) for layer in self.layers)
        return Allocation(dict(bits), cost, sum(losses))


def monotone(losses: Mapping[int, float]) -> dict[int, float]:
    """Losses by bits, raised where more bits were measured to lose more: that is noise."""
    raised, worst = {}, 0.0
    for bits in sorted(losses, reverse=True):
        worst = max(worst, losses[bits])
        raised[bits] = worst
    return raised


def allocate(problem: Problem, *, target: float) -> Allocation:
    """Choose the bits of least summed loss whose summed cost is at most `target`.

    Raises:
        QuantizationError: even the cheapest choice costs more than the target.
    """
    least = problem.smallest_cost()
    if least > target:
        raise QuantizationError(
            f"a budget of {target:,.0f} is not possible; allowed: at least {math.ceil(least):,}."
        )
    layers = problem.layers
    pairs = [(index, *pair) for index, layer in enumerate(layers) for pair in _pairs(layer)]
    choices = {layer.tensor: layer.activation_choices for layer in layers}
    tensors = [(tensor, bits) for tensor, possible in choices.items() for bits in possible]
    losses = [_loss(problem.weight_losses, layers[i].name, weight) for i, weight, _ in pairs]
    losses += [_loss(problem.activation_losses, tensor, bits) for tensor, bits in tensors]
    costs = [layers[index].cost(weight, activation) for index, weight, activation in pairs]
    structure = [_one_pair_each(layers, pairs, len(losses)), _agreement(layers, pairs, tensors)]
    for margin in _MARGINS:
        room = (target - problem.overhead) * (1.0 - margin)
        shares = [(0, place, cost / room) for place, cost in enumerate(costs)]
        budget = (_matrix(shares, (1, len(losses))), -math.inf, 1.0)
        chosen = _solve(losses, [budget, *structure])
        used = [pair for use, pair in zip(chosen, pairs, strict=False) if use]  # then tensors
        found = problem.total({layers[index].name: (w, a) for index, w, a in used})
        if found.cost <= target:
            return found
    raise AssertionError("the solver's tolerance is wider than all margins")


def _pairs(layer: Layer) -> list[tuple[int, int]]:
    """Pairs of bits worth a variable: of weights that cost the same, only those of most bits."""
    kept = []
    for activation in layer.activation_choices:
        costs = [layer.cost(weight, activation) for weight in layer.weight_choices]
        for place, weight in enumerate(layer.weight_choices):
            if costs[place] not in costs[place + 1 :]:
                kept.append((weight, activation))
    return kept


def _loss(losses: Losses, name: str, bits: int) -> float:
    return losses.get(name, {}).get(bits, 0.0)


def _matrix(entries: Sequence[tuple[int, int, float]], shape: tuple[int, int]) -> csr_array:
    """A sparse matrix of (row, column, value)."""
    from scipy.sparse import csr_array

    rows, columns, values = zip(*entries, strict=True)
    return csr_array((values, (rows, columns)), shape)


def _one_pair_each(
    layers: Sequence[Layer], pairs: Sequence[tuple[int, int, int]], width: int
) -> _Constraint:
    entries = [(index, place, 1.0) for place, (index, _, _) in enumerate(pairs)]
    return _matrix(entries, (len(layers), width)), 1.0, 1.0


def _agreement(
    layers: Sequence[Layer],
    pairs: Sequence[tuple[int, int, int]],
    tensors: Sequence[tuple[str, int]],
) -> _Constraint:
    """A layer's pairs with certain activation bits are as many, one or none, as its tensor's."""
    entries: list[tuple[int, int, float]] = []
    row = 0
    for index, layer in enumerate(layers):
        for bits in layer.activation_choices:
            members = [place for place, pair in enumerate(pairs) if pair[::2] == (index, bits)]
            entries += [(row, place, 1.0) for place in members]
            entries.append((row, len(pairs) + tensors.index((layer.tensor, bits)), -1.0))
            row += 1
    return _matrix(entries, (row, len(pairs) + len(tensors))), 0.0, 0.0


def _solve(losses: Sequence[float], constraints: Sequence[_Constraint]) -> list[bool]:
    """Which of the binary variables are one in the optimum."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    found = milp(
        np.array(losses) * (_LOSS_UNITS / (max(losses) or 1.0)),
        constraints=[LinearConstraint(*constraint) for constraint in constraints],
        integrality=np.ones(len(losses)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    assert found.x is not None, found.message  # the cheapest choice was within the budget
    return [value > 0.5 for value in found.x]
