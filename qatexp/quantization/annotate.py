"""Where quantizers go: torchao annotations that let ONNX Runtime fuse every layer in integers.

One quantizer sits at the *producer* of each tensor that an integer operator reads or writes:
behind conv + batch norm (+ ReLU), behind additions (+ ReLU), pools and concatenations, and on the
model's input. Views need none, their values already lie on a grid; conversion repeats it there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
)

from qatexp.config.schema import Granularity, QConfig, QuantizerName
from qatexp.quantization.backends import activation_grid
from qatexp.quantization.fake_quantize import (
    AbsMaxWeight,
    DorefaActivation,
    DorefaWeight,
    LsqActivation,
    LsqWeight,
    MinMaxEmaActivation,
    PactActivation,
)
from qatexp.quantization.graph_ops import (
    FLOAT_LAYERS,
    INTEGER,
    UNARY_FLOAT,
    WEIGHTED,
    clip_max,
    counts_other_windows,
    folding_layer,
    is_batch_norm,
    is_non_negative,
    is_op,
    layer_name,
    source,
    tensor_inputs,
)
from qatexp.quantization.layers import LayerBits, has_parameter_weight, resolve_layers
from qatexp.quantization.spec import ActivationSpec, WeightSpec

log = logging.getLogger(__name__)

ANNOTATION = "quantization_annotation"
UNDEMANDED_BITS = 8
"""Bits of tensors that no conv or linear layer reads: operands of sums, inputs of pools."""

_CLASSES = {
    QuantizerName.lsq: (LsqWeight, LsqActivation),
    QuantizerName.minmax_ema: (AbsMaxWeight, MinMaxEmaActivation),
    QuantizerName.pact: (DorefaWeight, PactActivation),
    QuantizerName.dorefa: (DorefaWeight, DorefaActivation),
}


@dataclass(frozen=True, slots=True)
class Fusions:
    """How many operators become part of another, and the names of those that stay by themselves."""

    fused: int
    missed: tuple[str, ...]


@dataclass
class Plan:
    """What the quantizer decided, for the graph's preparation and for the record."""

    layers: dict[str, LayerBits] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    activations: dict[str, ActivationSpec] = field(default_factory=dict)
    fusions: dict[str, Fusions] = field(default_factory=dict)
    """By kind: `batch_norm` into the layer before it, `relu` into the quantizer behind it."""
    warnings: list[str] = field(default_factory=list)


class IntegerQuantizer(Quantizer):  # type: ignore[misc]
    """Annotates a captured graph as `qconfig` asks; `plan` tells afterwards what was chosen."""

    def __init__(self, qconfig: QConfig) -> None:
        super().__init__()
        self.qconfig = qconfig
        self.plan = Plan()

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Attach the specs to the graph's nodes."""
        bits = resolve_layers(model.graph, self.qconfig)
        if self.qconfig.weight.bits is None:
            self._warn(
                "qconfig.weight.bits=null: activations are rounded in float operators of the "
                "deployed file, as integer kernels would quantize the weights too"
            )
        self.plan.layers = {layer_name(node): layer for node, layer in bits.items()}
        for node in model.graph.nodes:
            if is_op(node, WEIGHTED) and node not in bits:
                self.plan.skipped.append(layer_name(node))
            self._warn_of_weak_forms(node)
        for node, layer in bits.items():
            if layer.weight_bits is not None:
                per_channel = layer.granularity is Granularity.per_channel
                self._annotate_weight(node, WeightSpec(layer.weight_bits, per_channel))
        for node in self._quantized_tensors(model, set(bits)):
            spec = self._activation_spec(node, bits)
            _annotation(node).output_qspec = self._qspec(spec)
            self.plan.activations[node.name] = spec
        return model

    def _warn_of_weak_forms(self, node: fx.Node) -> None:
        if counts_other_windows(node):
            self._warn(
                f"{layer_name(node)} is an average pool with ceil_mode, for which ONNX "
                "Runtime's integer kernel gives other values at the border"
            )
        if is_op(node, FLOAT_LAYERS):
            kind = str(node.target).removeprefix("aten.").partition(".")[0]
            self._warn(f"{layer_name(node)} stays in float: {kind} is not quantized")
        if is_op(node, WEIGHTED) and not has_parameter_weight(node):
            self._warn(f"{layer_name(node)} stays in float: its weight is computed, no parameter")

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing to check: every annotation is made here."""

    def _annotate_weight(self, node: fx.Node, spec: WeightSpec) -> None:
        weight = node.args[1]
        assert isinstance(weight, fx.Node)
        scheme = torch.per_channel_symmetric if spec.per_channel else torch.per_tensor_symmetric
        constructor = _CLASSES[self.qconfig.quantizer][0]
        _annotation(node).input_qspec_map[weight] = QuantizationSpec(
            dtype=torch.int8,
            observer_or_fake_quant_ctr=_with_args(
                constructor, channels=weight.meta["val"].shape[0]
            ),
            quant_min=-spec.quant_max,
            quant_max=spec.quant_max,
            qscheme=scheme,
            ch_axis=0,
        )

    def _quantized_tensors(
        self, model: fx.GraphModule, layers: set[fx.Node]
    ) -> dict[fx.Node, None]:
        """Producers of the tensors that integer operators read or write, in order, once each."""
        wanted: dict[fx.Node, None] = {}
        if self.qconfig.activation.bits is None:
            return wanted
        for node in model.graph.nodes:
            if node not in layers and not is_op(node, INTEGER) and not is_op(node, UNARY_FLOAT):
                continue
            inputs = tensor_inputs(node)
            if is_op(node, INTEGER) and not _worth_integers(node, inputs):
                continue
            wanted |= dict.fromkeys(_fusion_end(source(item)) for item in inputs)
            wanted[_fusion_end(node)] = None
        skipped = [n for n in model.graph.nodes if is_op(n, WEIGHTED) and n not in layers]
        ends = {_fusion_end(node): node for node in skipped}
        for end, node in ends.items():
            if end in wanted:
                self._warn(
                    f"the output of the skipped layer {layer_name(node)} stays in float, and so do "
                    "the operators that read it (between integers, ONNX Runtime would quantize "
                    "the layer by itself)"
                )
        return {n: None for n in model.graph.nodes if n in wanted and n not in ends}

    def _activation_spec(self, node: fx.Node, layers: dict[fx.Node, LayerBits]) -> ActivationSpec:
        demands = {
            bits: layer_name(reader)
            for reader in _readers(node)
            if reader in layers and (bits := layers[reader].activation_bits) is not None
        }
        bits = max(demands, default=UNDEMANDED_BITS)
        if len(demands) > 1:
            self._warn_mixed(node, demands, bits)
        return activation_grid(self.qconfig, bits, non_negative=is_non_negative(node))

    def _warn_mixed(self, node: fx.Node, demands: dict[int, str], bits: int) -> None:
        self._warn(
            f"the output of {layer_name(node)} feeds layers with activations of "
            f"{' and '.join(f'{b} bits ({name})' for b, name in sorted(demands.items()))}; "
            f"one tensor has one grid: {bits} bits are used"
        )

    def _warn(self, message: str) -> None:
        self.plan.warnings.append(message)
        log.warning(message)

    def _qspec(self, spec: ActivationSpec) -> QuantizationSpec:
        constructor = _CLASSES[self.qconfig.quantizer][1]
        return QuantizationSpec(
            dtype=spec.dtype,
            observer_or_fake_quant_ctr=_with_args(constructor, zero_point=spec.zero_point),
            quant_min=spec.quant_min,
            quant_max=spec.quant_max,
            qscheme=torch.per_tensor_affine,
        )


def _with_args(constructor: Any, **options: Any) -> Any:
    return constructor.with_args(**options)


def _annotation(node: fx.Node) -> QuantizationAnnotation:
    annotation = node.meta.setdefault(ANNOTATION, QuantizationAnnotation(_annotated=True))
    assert isinstance(annotation, QuantizationAnnotation)
    return annotation


def _worth_integers(node: fx.Node, inputs: list[fx.Node]) -> bool:
    """Whether an operator lies on tensors of images: constants and scalars stay in float."""
    arity = 2 if node.target in (torch.ops.aten.add.Tensor, torch.ops.aten.mul.Tensor) else 1
    computed = [item for item in inputs if source(item).op in ("call_function", "call_module")]
    return len(computed) >= arity


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _fusion_end(node: fx.Node) -> fx.Node:
    """The last node of conv/linear -> batch norm -> clip (or add -> clip), fused at run time."""
    user = _only_user(node)
    if user is not None and folding_layer(user) is node:
        node, user = user, _only_user(user)
    fuses = is_op(node, WEIGHTED | INTEGER) or is_batch_norm(node)
    if fuses and user is not None and clip_max(user) is not None:
        return user
    return node


def _readers(node: fx.Node) -> list[fx.Node]:
    """Operators that read a tensor, through any views."""
    found, pending = [], list(node.users)
    while pending:
        user = pending.pop()
        if source(user) is not user:
            pending.extend(user.users)
        else:
            found.append(user)
    return found
