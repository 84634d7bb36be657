"""How much each layer minds being quantized: its weight alone, or its input alone.

All other quantizers are off, so that a layer's damage is its own. The divergence of the predicted
probabilities is the figure that bits are allocated by: to second order it is the Fisher
information's quadratic form of the error, what HAWQ-V3 (Yao et al. 2021,
https://arxiv.org/abs/2011.10680) estimates from the Hessian's trace, but measured, and so right
for the large errors of 2 bits too. Unlike top-1 and the loss it has no noise of labels, and needs
only a few hundred images. Measuring layers one by one and adding up follows the integer program of
AdaQuant (Hubara et al. 2020, https://arxiv.org/abs/2006.10518).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from qatexp.config.schema import CalibrationMethod, QConfig
from qatexp.quantization.calibrate import weight_scale
from qatexp.quantization.fake_quantize import ActivationFakeQuantize, WeightFakeQuantize
from qatexp.quantization.grids import set_activation_grid_, set_weight_grid_
from qatexp.quantization.prepare import activation_quantizers, enable_
from qatexp.quantization.sites import Site, shared_inputs
from qatexp.records.sensitivity import Damage, Sensitivity

MOST_DB = 150.0
"""Ceiling of the signal-to-noise ratio: float32 itself carries no more."""

Choose = Callable[[str, ActivationFakeQuantize], tuple[float, float]]
"""What `qatexp.quantization.calibrate.observe` returns."""


@dataclass(frozen=True)
class Bench:
    """A prepared graph, and the images on which its quantizers are tried."""

    graph_module: fx.GraphModule
    sites: Sequence[Site]
    batches: Sequence[tuple[Tensor, Tensor]]
    """Normalized images (N, C, H, W) and labels (N)."""
    reference: Tensor
    """Logits of the FP32 function on all images, on the CPU."""


def open_bench(
    graph_module: fx.GraphModule,
    sites: Sequence[Site],
    batches: Sequence[tuple[Tensor, Tensor]],
) -> Bench:
    """Compute the FP32 logits of a prepared graph, which is left in eval mode."""
    graph_module.eval()
    enable_(graph_module, False)
    return Bench(graph_module, sites, batches, _logits(graph_module, batches))


def weight_sensitivities(
    bench: Bench, choices: Sequence[int], method: CalibrationMethod
) -> Iterator[Sensitivity]:
    """Quantize the weights of one layer at a time, at each of the bits.

    Args:
        bench: its graph is left with all quantizers disabled and other grids.
        choices: bits.
        method: how weight scales are found, as in calibration.
    """
    for site in bench.sites:
        for bits in choices:
            set_weight_bits_(site, bits, method)
            damage = damage_of(bench, (quantizer for quantizer, _ in site.weights))
            yield Sensitivity(site.name, "weight", bits, damage)


def activation_sensitivities(
    bench: Bench,
    choices: Sequence[int],
    *,
    choose: Choose,
    qconfig: QConfig,
) -> Iterator[Sensitivity]:
    """Quantize the input of one layer at a time; layers that share a tensor get equal figures.

    Args:
        bench: its graph is left with all quantizers disabled and other grids.
        choices: bits.
        choose: ranges from one calibration pass, for whatever grid a quantizer has.
        qconfig: the backend and its scheme.
    """
    quantizers = dict(activation_quantizers(bench.graph_module))
    groups = shared_inputs(bench.sites)
    measured: dict[tuple[tuple[str, ...], int], Damage] = {}
    for site in bench.sites:
        for bits in choices if groups[site.name] else ():
            key = groups[site.name], bits
            if key not in measured:
                for name in key[0]:
                    set_activation_bits_(
                        name, quantizers[name], bits, choose=choose, qconfig=qconfig
                    )
                measured[key] = damage_of(bench, (quantizers[name] for name in key[0]))
            yield Sensitivity(site.name, "activation", bits, measured[key])


def set_weight_bits_(site: Site, bits: int, method: CalibrationMethod) -> None:
    """Give a layer's weights the narrow grid of these bits, and the scales that suit it."""
    for quantizer, weight in site.weights:
        set_weight_grid_(quantizer, bits)
        quantizer.set_scale_(weight_scale(quantizer, weight, method))


def set_activation_bits_(
    name: str, quantizer: ActivationFakeQuantize, bits: int, *, choose: Choose, qconfig: QConfig
) -> None:
    """Give an activation quantizer the backend's grid of these bits, and the range that suits."""
    set_activation_grid_(quantizer, bits, qconfig)
    quantizer.set_range_(*choose(name, quantizer))


def damage_of(
    bench: Bench, quantizers: Iterable[ActivationFakeQuantize | WeightFakeQuantize]
) -> Damage:
    """Run the images with these quantizers alone enabled, and compare with FP32."""
    enabled = list(quantizers)
    for quantizer in enabled:
        quantizer.enabled = True
    logits = _logits(bench.graph_module, bench.batches)
    for quantizer in enabled:
        quantizer.enabled = False
    labels = torch.cat([labels.cpu() for _, labels in bench.batches])
    return compare(bench.reference, logits, labels)


def compare(reference: Tensor, logits: Tensor, labels: Tensor) -> Damage:
    """Compare logits (images, classes) with those of the FP32 model on the same images."""
    reference, logits = reference.double(), logits.double()
    expected, found = reference.log_softmax(1), logits.log_softmax(1)
    divergence = (expected.exp() * (expected - found)).sum(1).mean()
    losses = [nn.functional.nll_loss(values, labels) for values in (expected, found)]
    correct = [(values.argmax(1) == labels).double().mean() for values in (expected, found)]
    signal = reference.square().sum()
    noise = (reference - logits).square().sum()
    ratio = signal / noise.clamp_min(signal * 10.0 ** (-MOST_DB / 10.0))
    return Damage(
        kl=max(float(divergence), 0.0),
        loss_increase=float(losses[1] - losses[0]),
        top1_drop=100.0 * float(correct[0] - correct[1]),
        sqnr_db=10.0 * float(ratio.log10()),
    )


def _logits(graph_module: fx.GraphModule, batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    with torch.no_grad():
        return torch.cat([graph_module(images).float().cpu() for images, _ in batches])
