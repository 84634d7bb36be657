"""How a captured graph becomes one that is trained with quantization in the loop.

The only module that calls torchao's `prepare`, the function behind `prepare_qat_pt2e` without its
conv-BN rewrite (which resets eps and momentum, and divides by gamma).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, fx, nn

from qatexp.config.schema import Granularity, QConfig
from qatexp.errors import QuantizationError
from qatexp.quantization.annotate import Fusions, IntegerQuantizer, Plan
from qatexp.quantization.batch_norm import BatchNorm
from qatexp.quantization.bias import BiasFakeQuantize
from qatexp.quantization.capture import capture
from qatexp.quantization.fake_quantize import (
    ActivationFakeQuantize,
    MinMaxEmaActivation,
    WeightFakeQuantize,
)
from qatexp.quantization.fold import (
    fold_into_weights_,
    input_quantizer_of,
    weight_quantizer_of,
)
from qatexp.quantization.folding import Folding
from qatexp.quantization.graph_ops import (
    WEIGHTED,
    attribute_of,
    clip_max,
    folding_layer,
    following_batch_norm,
    is_batch_norm,
    is_op,
    layer_name,
    module_of,
)
from qatexp.quantization.layers import resolve_layers


@dataclass(frozen=True)
class PreparedModel:
    """A graph with fake quantizers, ready for calibration and training."""

    graph_module: fx.GraphModule
    plan: Plan


def prepare(model: nn.Module, example: Tensor, qconfig: QConfig) -> PreparedModel:
    """Capture a model and insert fake quantizers; the model itself stays as it is.

    Args:
        model: FP32 network.
        example: normalized images (N >= 2, C, H, W) on the model's device.
        qconfig: what to quantize and how.

    Raises:
        ModelError: the model cannot be captured.
        QuantizationError: nothing to quantize, or a layer pattern matches nothing.
    """
    return prepare_captured_(capture(model, example), qconfig)


def prepare_captured_(graph_module: fx.GraphModule, qconfig: QConfig) -> PreparedModel:
    """Insert fake quantizers into a graph that `capture` has made, which it takes for itself.

    Raises:
        QuantizationError: nothing to quantize, or a layer pattern matches nothing.
    """
    _check(graph_module, qconfig)
    device = next(iter(graph_module.state_dict().values())).device
    batch_norms = _batch_norm_fusions(graph_module)
    # One scale for all channels cannot absorb a batch norm's per-channel factor.
    layers = resolve_layers(graph_module.graph, qconfig)
    per_tensor = [n for n, bits in layers.items() if bits.granularity is Granularity.per_tensor]
    fold_into_weights_(graph_module, per_tensor)
    quantizer = IntegerQuantizer(qconfig)
    quantizer.annotate(graph_module)
    prepared = _insert_fake_quantizers(graph_module)
    quantizer.plan.fusions = {"batch_norm": batch_norms, "relu": _absorb_clips_(prepared)}
    _tie_(prepared)
    return PreparedModel(prepared.to(device), quantizer.plan)


def check_quantizable(model: nn.Module, example: Tensor, qconfig: QConfig) -> None:
    """Raise what `prepare` would raise, before hours of training for nothing."""
    _check(capture(model, example), qconfig)


def _check(graph_module: fx.GraphModule, qconfig: QConfig) -> None:
    if not resolve_layers(graph_module.graph, qconfig):
        raise QuantizationError(
            "the model has no conv or linear layer that is quantized; check qconfig.layers."
        )
    _refuse_shared_layers(graph_module)


def _refuse_shared_layers(graph_module: fx.GraphModule) -> None:
    """Two uses of one weight or batch norm have two inputs, and so two grids for one bias."""
    used = Counter(
        str(node.args[1]) if is_op(node, WEIGHTED) else str(node.target)
        for node in graph_module.graph.nodes
        if is_op(node, WEIGHTED) or is_batch_norm(node)
    )
    shared = [name for name, count in used.items() if count > 1]
    if shared:
        raise QuantizationError(
            f"layers that are called more than once cannot be quantized: {', '.join(shared)}; "
            "give each call a layer of its own (copy.deepcopy), with the same weights at the start."
        )


def _insert_fake_quantizers(graph_module: fx.GraphModule) -> fx.GraphModule:
    with warnings.catch_warnings():
        # torchao still imports parts of torch.ao.quantization, which announces its removal.
        warnings.simplefilter("ignore", DeprecationWarning)
        from torchao.quantization.pt2e.prepare import prepare as insert_fake_quantizers

        prepared = insert_fake_quantizers(graph_module, {}, is_qat=True)
    assert isinstance(prepared, fx.GraphModule)
    return prepared


def _batch_norm_fusions(graph_module: fx.GraphModule) -> Fusions:
    """Which batch norms follow a layer that nothing else reads, and so fold into it."""
    nodes = [node for node in graph_module.graph.nodes if is_batch_norm(node)]
    missed = tuple(layer_name(node) for node in nodes if folding_layer(node) is None)
    return Fusions(len(nodes) - len(missed), missed)


def _absorb_clips_(graph_module: fx.GraphModule) -> Fusions:
    """Remove ReLU and ReLU6 before quantizers that saturate at zero: same value and gradient.

    A float Clip between conv and quantizer would also keep ONNX Runtime from fusing the two.
    """
    graph, absorbed = graph_module.graph, 0
    for node in list(graph.nodes):
        quantizer = module_of(node)
        if not isinstance(quantizer, ActivationFakeQuantize):
            continue
        clip = node.args[0]
        assert isinstance(clip, fx.Node)
        upper = clip_max(clip)
        if upper is None or len(clip.users) > 1:
            continue
        if quantizer.fixed_zero_point != quantizer.quant_min:
            continue
        quantizer.clip = (0.0, upper)
        node.replace_input_with(clip, clip.args[0])
        graph.erase_node(clip)
        absorbed += 1
    graph_module.recompile()
    left = (node for node in graph.nodes if clip_max(node) is not None)
    return Fusions(absorbed, tuple(layer_name(node) for node in left))


def _tie_(graph_module: fx.GraphModule) -> None:
    """Tell every quantized layer's weight, bias and batch norm what they will be folded into."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        quantizer = weight_quantizer_of(node) if is_op(node, WEIGHTED) else None
        if quantizer is None:
            continue
        arguments = [*node.args, None][: max(3, len(node.args))]
        own, following = arguments[2], following_batch_norm(node)
        batch_norm = None if following is None else module_of(following)
        assert batch_norm is None or isinstance(batch_norm, BatchNorm)
        bias = None if own is None else graph_module.get_parameter(str(own.target))
        folding = Folding(quantizer, input_quantizer_of(node), batch_norm, bias)
        quantizer.folding = folding
        if batch_norm is not None:
            batch_norm.folding = folding
        if own is None and batch_norm is None:
            continue
        path = f"{node.name}_bias_quantizer"
        graph_module.add_submodule(path, BiasFakeQuantize(folding))
        with graph.inserting_before(node):
            arguments[2] = graph.call_module(path, () if own is None else (own,))
        node.args = tuple(arguments)
    graph_module.recompile()


def activation_quantizers(model: nn.Module) -> Iterator[tuple[str, ActivationFakeQuantize]]:
    """Named activation quantizers of a prepared model, in order of execution."""
    for name, module in model.named_modules():
        if isinstance(module, ActivationFakeQuantize):
            yield name, module


@contextmanager
def watching_activations(
    model: nn.Module, see: Callable[[str, ActivationFakeQuantize, Tensor], None]
) -> Iterator[None]:
    """Show each output of an activation quantizer to `see`, with the quantizer and its name."""

    def hook(name: str) -> Callable[..., None]:
        return lambda quantizer, _inputs, output: see(name, quantizer, output)

    handles = [
        quantizer.register_forward_hook(hook(name))
        for name, quantizer in activation_quantizers(model)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def weight_quantizer_calls(
    graph_module: fx.GraphModule,
) -> Iterator[tuple[fx.Node, WeightFakeQuantize, Tensor]]:
    """Calls of weight quantizers, in order; each with its module and the weight it quantizes."""
    for node in graph_module.graph.nodes:
        quantizer = module_of(node)
        if isinstance(quantizer, WeightFakeQuantize):
            yield node, quantizer, attribute_of(node.args[0])


def weight_quantizers(
    graph_module: fx.GraphModule,
) -> Iterator[tuple[WeightFakeQuantize, Tensor]]:
    """Weight quantizers of a prepared model, each with the weight that it quantizes."""
    return ((quantizer, weight) for _, quantizer, weight in weight_quantizer_calls(graph_module))


def enable_(model: nn.Module, enabled: bool = True) -> None:
    """Switch all fake quantizers on or off; off, the model computes its FP32 function."""
    for module in model.modules():
        if isinstance(module, ActivationFakeQuantize | WeightFakeQuantize):
            module.enabled = enabled


def freeze_batch_norm_(model: nn.Module, frozen: bool = True) -> None:
    """Use and keep the running statistics from now on, in training mode too; or no longer."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.frozen = frozen


def freeze_ranges_(model: nn.Module, frozen: bool = True) -> None:
    """Keep the ranges that moving averages have found from now on; learned ones go on learning.

    With `frozen` False, moving averages go on moving.
    """
    for module in model.modules():
        if isinstance(module, MinMaxEmaActivation):
            module.freeze_(frozen)


def quantization_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Learned scales, which want a parameter group of their own without weight decay."""
    return [
        parameter
        for module in model.modules()
        if isinstance(module, ActivationFakeQuantize | WeightFakeQuantize)
        for parameter in module.parameters(recurse=False)
    ]


def quantizer_states(model: nn.Module) -> list[Tensor]:
    """All tensors that say where the grids lie: scales, zero points and what they derive from."""
    return [
        tensor.detach()
        for module in model.modules()
        if isinstance(module, ActivationFakeQuantize | WeightFakeQuantize)
        for tensor in module.state_dict().values()
    ]
