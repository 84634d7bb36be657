"""Made-up records and a launcher that leaves them, for searches in which nothing is trained."""

import math
from dataclasses import replace

from qatexp.config.points import parse_overrides
from qatexp.config.schema import (
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    TrackingConfig,
)
from qatexp.errors import ConfigError
from qatexp.pipeline import write_record
from qatexp.records import CONFIG_FINGERPRINT, Record, Variant
from qatexp.records.plan import load_plan

NODE = {
    "params": None,
    "objectives": ["max:deployed_top1", "min:size_bytes"],
    "constraints": [],
    "n_trials": 6,
    "n_jobs": 1,
    "sampler": "tpe",
    "seed": 0,
    "startup_trials": 3,
    "storage": None,
    "study_name": None,
}
SPACE = ["qconfig.bits=choice(2,3,4,8)", "schedule.qat.lr_scale=tag(log,interval(0.02,0.5))"]
PLAIN = ExperimentConfig(
    "x", ModelConfig("a.b"), DatasetConfig("a.b"), tracking=TrackingConfig(enabled=False)
)


def compose(overrides):
    """The configuration of a point; 3 bits with rates above 0.4 exclude each other."""
    values = {item.key_or_group: item.value() for item in parse_overrides(overrides)}
    config = replace(PLAIN, seed=int(values.get("seed", 0)))
    bits, rate = values.get("qconfig.bits", 8), values.get("schedule.qat.lr_scale", 0.1)
    if bits == 3 and rate > 0.4:
        raise ConfigError("3 bits and this rate exclude each other")
    qconfig = replace(config.qconfig, bits=bits)
    schedule = replace(config.schedule, qat=replace(config.schedule.qat, lr_scale=rate))
    return replace(config, qconfig=qconfig, schedule=schedule)


def made_up(top1, size_bytes, latency_ms=1.0, **fields):
    """The record of a finished trial."""
    variant = Variant(
        top1, top1, 0.5, 100, size_bytes, size_bytes, latency_ms, latency_ms, 1.0, 1.0
    )
    return replace(Record("x", "finished", {}, variants={"qat": variant}), **fields)


class Trials:
    """A launcher that makes records up, and counts how often each trial was launched."""

    def __init__(self, folder):
        self.folder = folder
        self.launched: list[str] = []
        self.overrides: dict[str, list[str]] = {}
        self.ends: dict[int, str] = {}
        """How the trial of this launch, from 0, ends, if not well: failed, pruned, cut or late."""
        self.stage = "qat"
        """Where failed and pruned ones end."""

    def __call__(self, jobs, initial_job_idx):
        assert initial_job_idx >= 0
        for job in jobs:
            *own, subdir = job
            name = subdir.removeprefix("hydra.sweep.subdir='").rstrip("'")
            end = self.ends.get(len(self.launched))
            self.launched.append(name)
            self.overrides[name] = own
            if end == "cut":
                raise KeyboardInterrupt
            self._write(name, own, end)
            if end == "late":  # the record is there, and nobody has told the study
                raise KeyboardInterrupt

    def _write(self, name, overrides, end):
        points = {str(p.number): p for p in load_plan(self.folder).points}
        config = compose(overrides)
        bits, rate = config.qconfig.bits, config.schedule.qat.lr_scale
        record = made_up(
            90.0 + bits / 2 - abs(math.log(rate / 0.1)),
            1000 * bits,
            params={"qconfig.bits": bits, "schedule.qat.lr_scale": rate},
            fingerprints={CONFIG_FINGERPRINT: points[name].fingerprint},
        )
        if end in ("failed", "pruned"):
            error = {
                "stage": self.stage,
                "kind": "made_up",
                "message": "after epoch 1 of 2: so it is",
            }
            record = replace(record, status=end, error=error, variants={})
        (self.folder / name).mkdir(exist_ok=True)
        write_record(record, self.folder / name)
