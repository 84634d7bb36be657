"""What the README shows is run: its "bring your own" example, as it stands there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch
from command import qatexp

pytestmark = pytest.mark.slow

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = (text for text in blocks if containing in text)
    return found


def test_bring_your_own_model_and_data(tmp_path):
    (tmp_path / "my_package.py").write_text(block("python", "def build_net"))
    command = block("console", "my_package.build_net").replace("\\\n", " ").split()
    assert command[:2] == ["$", "qatexp"]
    outcome = qatexp(tmp_path, *command[2:], "debug=fast", "measure.rounds=3")
    assert outcome.code == 0, outcome.err
    record = outcome.record()
    assert record.name == "build_net-my_data"
    assert record.params["model.width"] == 24
    assert record.variants["qat"].macs_int_share == 1.0
    assert not any("training images: using" in text for text in record.warnings)


def test_own_data_are_the_same_for_every_seed(tmp_path):
    (tmp_path / "my_package.py").write_text(block("python", "def build_net"))
    my_data = runpy.run_path(str(tmp_path / "my_package.py"))["my_data"]
    sources = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        sources.append(my_data())
    one, other = sources
    assert torch.equal(one.train.images, other.train.images)
    assert torch.equal(one.test.images, other.test.images)


def test_every_override_in_the_readme_is_known(tmp_path):
    joined = README.replace("\\\n", " ")
    commands = re.findall(r"^\$ qatexp ((?!compare|rerun|ui).*)", joined, re.MULTILINE)
    assert len(commands) >= 6
    for text in commands:
        words = [word for word in text.split() if word != "-m"]
        words = [re.sub(r"=([^\[,]+),.*", r"=\1", word) for word in words]  # a sweep's first value
        arguments = [w for w in words if not re.match(r"(dataset\.root|model\.checkpoint)=", w)]
        outcome = qatexp(tmp_path, *arguments, "--cfg", "job")
        assert outcome.code == 0, (text, outcome.err)
