"""The path of the tutorials: torchao's PT2E with a stock quantizer, then `torch.onnx.export`.

Only for `test_silent_defects.py`, which shows what goes wrong on it without a word.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e import FakeQuantize, MovingAveragePerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
)

from qatexp.runtimes.onnx_file import INPUT, OUTPUT

aten = torch.ops.aten

_CONVOLUTIONS = {
    nn.functional.conv1d: aten.conv1d.default,
    nn.functional.conv2d: aten.conv2d.default,
    nn.functional.conv_transpose1d: aten.conv_transpose1d.default,
    nn.functional.conv_transpose2d: aten.conv_transpose2d.input,
}


def captured(model: nn.Module, images: Tensor) -> fx.GraphModule:
    """Capture a copy of a network, in train mode as the tutorial of QAT does it."""
    model = copy.deepcopy(model).train()
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(model, (images,), dynamic_shapes=({0: batch},)).module()


def prepared(
    model: nn.Module, images: Tensor, *, weight_bits: int = 8, activation_bits: int = 8
) -> fx.GraphModule:
    """Capture a network and insert the fake quantizers that `X86InductorQuantizer` asks for."""
    with _libraries_quiet():
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    config = x86.get_default_x86_inductor_quantization_config(is_qat=True)
    if weight_bits < 8:
        top = 2 ** (weight_bits - 1) - 1
        config = replace(config, weight=replace(config.weight, quant_min=-top, quant_max=top))
    spec = replace(config.input_activation, quant_max=2**activation_bits - 1)
    config = replace(config, input_activation=spec, output_activation=spec)
    return with_quantizer(model, images, x86.X86InductorQuantizer().set_global(config))


def with_quantizer(model: nn.Module, images: Tensor, quantizer: Quantizer) -> fx.GraphModule:
    """Capture a network and prepare it by torchao, for training with any quantizer."""
    with _libraries_quiet():
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

        with _patterns_that_can_match():
            return prepare_qat_pt2e(captured(model, images), quantizer)


def converted(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Turn a copy of a trained graph into one with integer weights."""
    with _libraries_quiet():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        with _patterns_that_can_match():
            return convert_pt2e(copy.deepcopy(graph_module))


def export(model: nn.Module, images: Tensor, path: Path) -> None:
    """Write an ONNX file with the names of inputs and outputs that qatexp's runtime expects."""
    with _libraries_quiet():
        # It says so of graphs too, whose flag means nothing; of a network, it is defect 10.
        warnings.filterwarnings("ignore", "Exporting a model while it is in training mode")
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    program.save(path)


class ByColumn(Quantizer):
    """Quantizes weights of linear layers with a scale for each *input*: `ch_axis=1`."""

    def __init__(self, fake_quantize: type[FakeQuantize]) -> None:
        super().__init__()
        self.spec = QuantizationSpec(
            dtype=torch.int8,
            observer_or_fake_quant_ctr=fake_quantize.with_args(
                observer=MovingAveragePerChannelMinMaxObserver
            ),
            quant_min=-127,
            quant_max=127,
            qscheme=torch.per_channel_symmetric,
            ch_axis=1,
        )

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        for node in model.graph.nodes:
            if node.target is aten.linear.default:
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    input_qspec_map={node.args[1]: self.spec}, _annotated=True
                )
        return model

    def validate(self, model: fx.GraphModule) -> None:
        pass


@contextmanager
def _libraries_quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # torchao imports parts of torch.ao.quantization, which announces its removal, and with
        # torch 2.11 parts of torch.jit, which announces its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        # torch 2.11 warns of a class of its own that it still uses when a graph is copied.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        yield


@contextmanager
def _patterns_that_can_match() -> Iterator[None]:
    """Spare torchao the patterns of convolutions that a graph does not have.

    It exports 12 of them to prepare and 96 to convert any graph with a batch norm, a third of a
    second each. A pattern with a convolution matches no graph without it.
    """
    from torchao.quantization.pt2e import qat_utils

    with ExitStack() as patches:
        for name in ("_fuse_conv_bn_qat_helper", "_fold_conv_bn_qat_helper"):
            original = getattr(qat_utils, name, None)
            if original is not None:
                patches.enter_context(mock.patch.object(qat_utils, name, _if_present(original)))
        yield


def _if_present(rewrite: Callable[..., fx.GraphModule]) -> Callable[..., fx.GraphModule]:
    def wrapper(graph_module: fx.GraphModule, convolution: Any, *args: Any, **options: Any) -> Any:
        operator = _CONVOLUTIONS.get(convolution)
        if operator is None or any(node.target is operator for node in graph_module.graph.nodes):
            return rewrite(graph_module, convolution, *args, **options)
        return graph_module

    return wrapper
