"""Bits under a budget: optimal, within it, and honest about what is impossible."""

import itertools
import random

import pytest

from qatexp.errors import QuantizationError
from qatexp.quantization.allocate import Layer, Problem, allocate, monotone


def layer(name, tensor, size, *, weights=(2, 4, 8), activations=(8,)):
    return Layer(name, tensor, weights, activations, lambda w, a: size * w * a)


def random_problem(seed):
    """Five layers, two of which read one tensor, with choices of weights and activations."""
    draw = random.Random(seed)
    names = {"a": "t0", "b": "t1", "c": "t1", "d": "t2", "e": "t3"}
    layers = [
        layer(name, tensor, draw.randint(1, 50), activations=(4, 8))
        for name, tensor in names.items()
    ]
    weights = {name: monotone({b: draw.random() * 2.0**-b for b in (2, 4, 8)}) for name in names}
    inputs = {name: monotone({b: draw.random() * 2.0**-b for b in (4, 8)}) for name in ("t0", "t1")}
    return Problem(layers, weights, inputs, overhead=7.0)


def every_choice(problem):
    """All bits of weights and tensors, by brute force."""
    tensors = sorted({item.tensor for item in problem.layers})
    for weights in itertools.product((2, 4, 8), repeat=len(problem.layers)):
        for inputs in itertools.product((4, 8), repeat=len(tensors)):
            chosen = dict(zip(tensors, inputs, strict=True))
            bits = {
                item.name: (weight, chosen[item.tensor])
                for item, weight in zip(problem.layers, weights, strict=True)
            }
            yield problem.total(bits)


@pytest.mark.parametrize("seed", range(4))
def test_the_choice_is_the_best_of_all_within_the_budget(seed):
    problem = random_problem(seed)
    found = list(every_choice(problem))
    costs = sorted(item.cost for item in found)
    for target in (costs[0], costs[len(costs) // 3], costs[len(costs) // 2], costs[-1]):
        chosen = allocate(problem, target=target)
        assert chosen.cost <= target
        best = min(item.loss for item in found if item.cost <= target)
        assert chosen.loss == pytest.approx(best, rel=1e-9), "sums in another order"


def test_layers_that_read_one_tensor_agree_on_its_bits():
    chosen = allocate(random_problem(0), target=10_000)
    assert chosen.bits["b"][1] == chosen.bits["c"][1]


def test_bits_that_are_fixed_stay_and_are_paid_for():
    layers = [layer("a", "x", 1, weights=(8,)), layer("b", "y", 1)]
    chosen = allocate(Problem(layers, {"b": {2: 1.0, 4: 0.1, 8: 0.0}}, {}), target=8 * 8 + 4 * 8)
    assert chosen.bits == {"a": (8, 8), "b": (4, 8)}


def test_of_weights_that_cost_the_same_the_widest_are_chosen():
    in_one_container = Layer("a", "x", (3, 4), (8,), lambda _w, _a: 1.0)
    assert allocate(Problem([in_one_container], {}, {}), target=1).bits == {"a": (4, 8)}


def test_a_target_below_the_cheapest_choice_says_what_is_possible():
    problem = Problem([layer("a", "x", 10)], {}, {}, overhead=0.5)
    assert problem.smallest_cost() == 160.5
    with pytest.raises(QuantizationError) as caught:
        allocate(problem, target=100)
    assert str(caught.value) == "a budget of 100 is not possible; allowed: at least 161."


def test_a_large_budget_in_small_steps_is_kept_exactly():
    """The solver's tolerance must not let one operation in 10^9 slip through."""
    layers = [layer(str(index), str(index), 10**6 + index) for index in range(20)]
    losses = {item.name: {2: 1.0, 4: 0.5, 8: 0.0} for item in layers}
    target = sum(item.cost(4, 8) for item in layers) - 1
    assert allocate(Problem(layers, losses, {}), target=target).cost <= target


def test_noise_never_makes_more_bits_look_worse():
    assert monotone({2: 0.5, 4: 0.1, 8: 0.2}) == {2: 0.5, 4: 0.2, 8: 0.2}
