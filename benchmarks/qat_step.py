"""One training step (forward, loss, backward, SGD) of FP32, of each QAT, in turns in one process.

python benchmarks/qat_step.py [--models resnet20,mobilenet_v2,resnet18] [--variants fp32,lsq,...]
    [--rounds 15] [--threads 2] [--device cpu] [--settings eager,...] [--no-memory]
    [--profile fp32,lsq]

Prints a Markdown table: the median step, the median of the ratios to the FP32 step of the same
round, and the peak memory of a step above what the process held before, from a process of its own
per variant. Peers that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from qatexp.config.schema import QConfig, QuantizerName
from qatexp.models.cifar_resnet import cifar_resnet20
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.prepare import freeze_batch_norm_, freeze_ranges_, prepare

Builder = Callable[[nn.Module, Tensor], nn.Module]

MODELS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "resnet20": (cifar_resnet20, 32, 128),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, 96, 32),
    "resnet18": (torchvision.models.resnet18, 128, 16),
}
"""Network, image size and batch size."""

PEERS = {"modelopt": "modelopt", "nncf": "nncf"}
"""Optional variants and the modules that they need."""


@dataclass(frozen=True)
class Setting:
    """How a step is run."""

    channels_last: bool = False
    bf16: bool = False
    compiled: bool = False


SETTINGS = {
    "eager": Setting(),
    "channels_last": Setting(channels_last=True),
    "bf16": Setting(channels_last=True, bf16=True),
    "compile": Setting(channels_last=True, bf16=True, compiled=True),
}


def qatexp(name: QuantizerName, *, frozen: bool = False) -> Builder:
    """This project's QAT; `frozen` is its last phase, with fixed statistics and ranges."""

    def build(model: nn.Module, images: Tensor) -> nn.Module:
        config = QConfig(quantizer=name)
        prepared = prepare(model, images[:2], config).graph_module
        calibrate_(prepared, lambda: iter([images]), config.calibration)
        if frozen:
            freeze_ranges_(prepared)
            freeze_batch_norm_(prepared)
        return prepared

    return build


def pt2e(model: nn.Module, images: Tensor) -> nn.Module:
    """PT2E QAT of torchao with its X86 quantizer, everything at its default."""
    from torchao.quantization.pt2e import move_exported_model_to_train
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    config = x86.get_default_x86_inductor_quantization_config(is_qat=True)
    shapes = ({0: torch.export.Dim("batch", min=2)},)
    exported = torch.export.export(model.train(), (images[:2],), dynamic_shapes=shapes).module()
    prepared = prepare_qat_pt2e(exported, x86.X86InductorQuantizer().set_global(config))
    move_exported_model_to_train(prepared)
    prepared.train = lambda _mode=True: prepared  # such a graph refuses the method
    return prepared


def fx(model: nn.Module, images: Tensor) -> nn.Module:
    """FX graph mode of torch.ao with its default mapping; deprecated, and still much used."""
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    return prepare_qat_fx(model.train(), get_default_qat_qconfig_mapping("x86"), (images[:2],))


def modelopt(model: nn.Module, images: Tensor) -> nn.Module:
    """NVIDIA ModelOpt with its default int8 configuration."""
    import modelopt.torch.quantization as mtq

    return mtq.quantize(model, mtq.INT8_DEFAULT_CFG, lambda calibrated: calibrated(images))


def nncf(model: nn.Module, images: Tensor) -> nn.Module:
    """NNCF's post-training quantization, whose result can be trained."""
    import nncf as package

    return package.quantize(model.eval(), package.Dataset([images]), subset_size=1)


VARIANTS: dict[str, Builder] = {
    "fp32": lambda model, _images: model,
    **{name.name: qatexp(name) for name in QuantizerName},
    "lsq_frozen": qatexp(QuantizerName.lsq, frozen=True),
    "pt2e": pt2e,
    "fx": fx,
    "modelopt": modelopt,
    "nncf": nncf,
}


class Trainee:
    """A variant of a model that is ready for its steps."""

    def __init__(self, variant: str, model: str, setting: Setting, device: torch.device) -> None:
        factory, size, batch = MODELS[model]
        torch.manual_seed(0)
        layout = torch.channels_last if setting.channels_last else torch.contiguous_format
        network = factory().to(device)
        images = torch.randn(batch, 3, size, size, device=device)
        self.images = images.contiguous(memory_format=layout)
        with warnings.catch_warnings():
            # Deprecations of torch.ao and notes of other packages about themselves.
            warnings.simplefilter("ignore")
            built = VARIANTS[variant](network, self.images).to(memory_format=layout)
        built.train()
        self.labels = torch.randint(0, 10, (batch,), device=device)
        self.setting, self.device = setting, device
        self.model: Any = torch.compile(built) if setting.compiled else built
        self.optimizer = torch.optim.SGD(built.parameters(), lr=1e-4, momentum=0.9)

    def step(self) -> float:
        """Train one step and return its milliseconds."""
        half = torch.autocast(self.device.type, torch.bfloat16) if self.setting.bf16 else None
        self._wait()
        started = time.perf_counter()
        self.optimizer.zero_grad()
        with half or nullcontext():
            loss = nn.functional.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        self._wait()
        return (time.perf_counter() - started) * 1e3

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def installed(variant: str) -> bool:
    """Whether a variant can run here; says so on stderr if not."""
    module = PEERS.get(variant)
    found = module is None or importlib.util.find_spec(module) is not None
    if not found:
        print(f"{variant}: skipped, {module} is not installed", file=sys.stderr)
    return found


def measure(trainees: dict[str, Trainee], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each variant's steps, one per round, each round in turns."""
    times: dict[str, list[float]] = {name: [] for name in trainees}
    for index in range(rounds + 2):
        for name, trainee in trainees.items():
            elapsed = trainee.step()
            if index >= 2:  # the first two make buffers and choose kernels
                times[name].append(elapsed)
    return times


def peak_memory_mb(trainee: Trainee) -> float:
    """Megabytes that three steps take at most beyond what was held before them."""
    if trainee.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what preparing left behind would be used again unseen
        before = _resident_bytes("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak, see proc(5)
    for _ in range(3):
        trainee.step()
    cuda = trainee.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if cuda else _resident_bytes("VmHWM")
    return (peak - before) / 1e6


def _resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def memory_of(variant: str, model: str, setting: str, options: argparse.Namespace) -> float:
    """`peak_memory_mb` in a process of its own, which no other variant has left memory in."""
    command = [sys.executable, __file__, "--models", model, "--variants", variant]
    command += ["--settings", setting, "--threads", str(options.threads)]
    command += ["--device", options.device, "--only-memory"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def report(model: str, setting: str, variants: list[str], options: argparse.Namespace) -> None:
    """Print the rows of one model under one setting."""
    device = torch.device(options.device)
    trainees = {name: Trainee(name, model, SETTINGS[setting], device) for name in variants}
    times = measure(trainees, options.rounds)
    for name in options.profile:
        profile(trainees[name], name)
    trainees.clear()
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times[variants[0]], strict=True)]
        memory = "" if options.no_memory else f"{memory_of(name, model, setting, options):.0f} MB"
        median, ratio = statistics.median(values), statistics.median(ratios)
        print(f"| {model} | {setting} | {name} | {median:.0f} ms | {ratio:.2f} | {memory} |")


def profile(trainee: Trainee, name: str) -> None:
    """Print where three steps of a variant spend their time, by operator."""
    with torch.profiler.profile() as recorded:
        for _ in range(3):
            trainee.step()
    averages = recorded.key_averages()
    print(f"{name}:\n{averages.table(sort_by='self_cpu_time_total', row_limit=20)}")


def _names(text: str) -> list[str]:
    return text.split(",")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=_names, default=list(MODELS))
    parser.add_argument("--variants", type=_names, default=list(VARIANTS))
    parser.add_argument("--settings", type=_names, default=None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", type=_names, default=[])
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--only-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.settings is None:
        options.settings = list(SETTINGS) if options.device.startswith("cuda") else ["eager"]
    return options


def main() -> None:
    """Measure what the command line asks for."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.only_memory:
        setting = SETTINGS[options.settings[0]]
        device = torch.device(options.device)
        trainee = Trainee(options.variants[0], options.models[0], setting, device)
        print(peak_memory_mb(trainee))
        return
    variants = ["fp32", *(name for name in options.variants if name != "fp32" and installed(name))]
    print(f"torch {torch.__version__}, {options.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| model | setting | variant | step | to FP32 | memory of a step |")
    print("|---|---|---|---|---|---|")
    for setting in options.settings:
        for model in options.models:
            report(model, setting, variants, options)


if __name__ == "__main__":
    main()
