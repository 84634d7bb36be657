"""The command line before any work: help, wrong requests, exit codes."""

from __future__ import annotations

import os
import re

import pytest
from command import qatexp

from qatexp.cli.verbs import VERBS


def test_help_shows_groups_and_examples(tmp_path):
    outcome = qatexp(tmp_path, "--help")
    assert outcome.code == 0
    for group in ("model", "dataset", "qconfig", "schedule", "experiment", "sweep"):
        assert f"\n  {group} " in outcome.out
    assert len(re.findall(r"^ +qatexp", outcome.out, re.MULTILINE)) >= 9
    for verb in VERBS:
        assert f"\n  qatexp {verb} " in outcome.out


def test_the_composed_configuration_can_be_printed(tmp_path):
    outcome = qatexp(tmp_path, "qconfig=w4a8", "--cfg", "job")
    assert outcome.code == 0
    assert "lr_scale: 0.1" in outcome.out
    assert not (tmp_path / "multirun").exists()


BAD = {
    "unknown group": (("optimiser=sgd",), "optimiser"),
    "unknown member": (("qconfig=w5",), "w5"),
    "unknown key": (("qconfig.bit=4",), "qconfig.bit"),
    "added key": (("+qconfig.extra=1",), "extra"),
    "wrong type": (("qconfig.bits=abc",), "qconfig.bits"),
    "out of range": (("qconfig.bits=9",), "qconfig.bits=9 is not possible; allowed: 2 to 8."),
    "negative epochs": (("schedule.qat.epochs=-1",), "schedule.qat.epochs=-1"),
    "unknown backend": (("qconfig.backend=tflite",), "qconfig.backend"),
    "later backend": (("qconfig.backend=tensorrt",), "allowed: onnxruntime, x86"),
    "no root": (("dataset=cifar10",), "dataset.root is not set, and cifar10 needs it"),
    "missing folder": (("dataset=imagefolder", "dataset.root=nowhere"), "dataset.root=nowhere"),
    "missing checkpoint": (("model.checkpoint=no.pth",), "model.checkpoint=no.pth"),
    "untrusted": (("model._target_=os.system",), "trusted_packages=[os]"),
    "unreachable server": (("tracking.uri=http://127.0.0.1:9",), "tracking.uri"),
    "bad grammar": (("qconfig.bits=[1,",), "qconfig.bits=[1,"),
    "unknown verb": (("trian",), "trian"),
    "only shown": (("shedule.control=true", "--cfg", "job"), "did you mean schedule?"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_a_wrong_request_starts_and_writes_nothing(tmp_path, arguments, message):
    outcome = qatexp(tmp_path, *arguments)
    assert outcome.code == 2, outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "multirun").exists()


def test_an_empty_data_folder_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    outcome = qatexp(tmp_path, "dataset=imagefolder", "dataset.root=images")
    assert outcome.code == 2
    assert "dataset.root=images: the folder is empty" in outcome.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    outcome = qatexp(tmp_path)
    tmp_path.chmod(0o700)
    assert outcome.code == 2
    assert "not writable" in outcome.err


def test_compare_without_runs_says_how_to_start_one(tmp_path):
    outcome = qatexp(tmp_path, "compare")
    assert outcome.code == 2
    assert "qatexp" in outcome.err


def test_a_users_own_configuration_folder_works(tmp_path):
    (tmp_path / "mine" / "qconfig").mkdir(parents=True)
    (tmp_path / "mine" / "qconfig" / "narrow.yaml").write_text(
        "defaults:\n  - w8a8\n  - _self_\nbits: 5\n"
    )
    outcome = qatexp(tmp_path, "--config-dir", "mine", "qconfig=narrow", "--cfg", "job")
    assert outcome.code == 0, outcome.err
    assert "bits: 5" in outcome.out
