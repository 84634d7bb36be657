"""Choose the bits of each layer under `qconfig.auto`, and hand them on as rules of the run."""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from qatexp.config.schema import AutoConfig, Budget, LayerRule
from qatexp.errors import QuantizationError
from qatexp.quantization.allocate import Allocation, Losses, allocate, monotone
from qatexp.quantization.annotate import Plan
from qatexp.quantization.prepare import activation_quantizers
from qatexp.quantization.sensitivity import damage_of, set_activation_bits_, set_weight_bits_
from qatexp.records import Variant
from qatexp.records.sensitivity import Sensitivity
from qatexp.stages.budget import Costs, costs
from qatexp.stages.context import Context
from qatexp.stages.sensitivity import Subject, sensitivities

FILE = "damage.json"


@dataclass(frozen=True, slots=True)
class Choice:
    """Bits that were chosen under a budget, with what was expected of them."""

    auto: AutoConfig
    target: float
    """In the budget's unit."""
    costs: Costs
    chosen: Allocation
    uniform: Allocation | None
    """What `target_bits` in every layer are expected to give."""
    reached_kl: float
    """Divergence with all chosen bits at once, on the images of the sensitivities."""

    def summary(
        self, context: Context, plan: Plan, variants: Mapping[str, Variant]
    ) -> dict[str, Any]:
        """Predicted against reached figures, for the record; a target that is missed warns."""
        assert self.auto.budget is not None
        unit = self.auto.budget.name
        reached = self._reached(plan, variants)
        # What uniform bits need is predicted in the same way: no byte count that was promised.
        if self.auto.target is not None and reached > self.target:
            context.warn(
                f"{unit} is {reached:,.0f}, more than the {self.target:,.0f} of qconfig.auto"
            )
        found = {
            "budget": unit,
            "target": self.target,
            "predicted": {unit: self.chosen.cost, "kl": self.chosen.loss},
            "reached": {unit: reached, "kl": self.reached_kl},
        }
        if self.uniform is not None:
            predicted = {unit: self.uniform.cost, "kl": self.uniform.loss}
            found["uniform"] = {"bits": self.auto.target_bits, "predicted": predicted}
        return {"auto": found}

    def _reached(self, plan: Plan, variants: Mapping[str, Variant]) -> float:
        if self.auto.budget is Budget.size_bytes:
            return max(variants[name].size_bytes for name in ("ptq", "qat") if name in variants)
        planned = {
            name: (bits.weight_bits, bits.activation_bits)
            for name, bits in plan.layers.items()
            if bits.weight_bits is not None and bits.activation_bits is not None
        }
        return self.costs.bops(planned)


def allocate_bits(context: Context, baseline: nn.Module) -> Choice | None:
    """Choose bits per layer, and write them into the context's configuration as layer rules.

    From here on the run is the one that somebody would have configured by hand, fingerprints and
    processes of its own included.

    Returns:
        None where `qconfig.auto` asks for nothing.

    Raises:
        QuantizationError: the target is below what the cheapest choices cost.
    """
    qconfig = context.config.qconfig
    rules: list[LayerRule] = []
    choice = None
    if qconfig.auto.budget is not None:
        choice = _choose(Subject(context, baseline))
        rules = _rules(choice.costs, choice.chosen)
    resolved = replace(qconfig, layers=[*qconfig.layers, *rules], auto=AutoConfig())
    context.config = replace(context.config, qconfig=resolved)
    return choice


def _choose(subject: Subject) -> Choice:
    auto, context = subject.qconfig.auto, subject.context
    found = costs(subject)
    target = _target(auto, found, subject)
    weights = _losses(sensitivities(subject, "weight"))
    activations: Losses = {}
    if auto.budget is Budget.bops:
        by_layer = _losses(sensitivities(subject, "activation"))
        activations = {item.tensor: by_layer.get(item.name, {}) for item in found.layers}
    with context.stage("allocation"):
        problem = found.problem(subject, weights, activations)
        chosen = allocate(problem, target=target)
        uniform = None
        if auto.target_bits is not None and auto.target_bits in auto.choices:
            uniform = problem.total(found.uniform(auto.target_bits))
        return Choice(auto, target, found, chosen, uniform, _joint_kl(subject, found, chosen))


def _target(auto: AutoConfig, found: Costs, subject: Subject) -> float:
    """The budget as a number, checked before anything is measured."""
    assert auto.budget is not None
    problem = found.problem(subject, {}, {})
    unit, least = auto.budget.name, problem.smallest_cost()
    if not any(item.weight_free or item.activation_free for item in found.layers):
        raise QuantizationError(
            f"qconfig.auto.budget={unit} has nothing to choose: qconfig.layers and "
            "qconfig.first_last_bits set the bits of every layer; leave some of them free."
        )
    if auto.target_bits is None:
        assert auto.target is not None
        target, asked = auto.target, f"qconfig.auto.target={auto.target:,.0f}"
    else:
        target = problem.total(found.uniform(auto.target_bits)).cost
        asked = f"qconfig.auto.target_bits={auto.target_bits} (a target of {target:,.0f})"
    if target < least:
        raise QuantizationError(
            f"{asked} is not possible with {unit}; allowed: at least {math.ceil(least):,}, with "
            f"every free layer at {auto.choices[0]} bits. Raise it, or leave more to choose: "
            "qconfig.auto.choices, qconfig.layers, qconfig.first_last_bits."
        )
    return target


def _losses(rows: list[Sensitivity]) -> Losses:
    by_layer: dict[str, dict[int, float]] = {}
    for row in rows:
        by_layer.setdefault(row.layer, {})[row.bits] = row.damage.kl
    return {layer: monotone(values) for layer, values in by_layer.items()}


def _joint_kl(subject: Subject, found: Costs, chosen: Allocation) -> float:
    """Divergence with all chosen bits at once; what is not chosen stays in FP32."""

    def make(folder: Path) -> None:
        kl = _measure_together(subject, found, chosen)
        (folder / FILE).write_text(json.dumps({"kl": kl}), encoding="utf-8")

    parts = {**subject.parts(), "rules": [asdict(rule) for rule in _rules(found, chosen)]}
    folder = subject.context.entry("allocation", parts, make)
    return float(json.loads((folder / FILE).read_text(encoding="utf-8"))["kl"])


def _measure_together(subject: Subject, found: Costs, chosen: Allocation) -> float:
    qconfig, sites = subject.qconfig, {site.name: site for site in subject.sites}
    by_name = dict(activation_quantizers(subject.prepared.graph_module))
    enabled: list[Any] = []
    for item in found.layers:
        weight_bits, activation_bits = chosen.bits[item.name]
        site = sites[item.name]
        if item.weight_free:
            set_weight_bits_(site, weight_bits, qconfig.calibration.method)
            enabled += [quantizer for quantizer, _ in site.weights]
        for name in site.inputs if item.activation_free else ():
            set_activation_bits_(
                name, by_name[name], activation_bits, choose=subject.choose, qconfig=qconfig
            )
            enabled.append(by_name[name])
    return damage_of(subject.bench, enabled).kl


def _rules(found: Costs, chosen: Allocation) -> list[LayerRule]:
    """A rule for every layer with a choice; the names are taken literally."""
    return [
        LayerRule(
            match=glob.escape(item.name),
            weight_bits=chosen.bits[item.name][0] if item.weight_free else None,
            activation_bits=chosen.bits[item.name][1] if item.activation_free else None,
        )
        for item in found.layers
        if item.weight_free or item.activation_free
    ]
