"""Input that is only found to be bad once work has begun: exit code 1, one message, a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from command import qatexp
from hydra._internal.utils import get_args_parser
from PIL import Image

from qatexp.cli.compose import checked_request
from qatexp.cli.resolvers import register_resolvers
from qatexp.config.members import register_models
from qatexp.pipeline import run
from qatexp.records import load_record

MODELS = '''
import torch
from torch import nn

class Branches(nn.Module):
    """torch.export cannot follow a branch on values."""
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(64, num_classes)
    def forward(self, x):
        x = x.flatten(1)
        return self.fc(x) if x.sum() > 0 else -self.fc(x)

class WrongShape(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(100, num_classes)
    def forward(self, x):
        return self.fc(x.flatten(1))
'''


def images(folder: Path, *classes: str, count: int = 3) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((8, 8, 3), 20 * index, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def failed(tmp_path, *overrides):
    """Run the pipeline in this process and return the record of its failure."""
    register_resolvers()
    register_models()
    options = get_args_parser().parse_args(["debug=fast", "cache.enabled=false", *overrides])
    (config,) = checked_request(options).points
    folder = tmp_path / "run"
    folder.mkdir()
    record = run(config, folder)
    assert record.status == "failed"
    assert load_record(folder) == record
    assert not list(folder.glob("artifacts/*qat*"))
    return record.error


FOLDER = ("dataset=imagefolder", "dataset.image_size=8", "dataset.resize_size=8")


def test_a_class_folder_without_images(tmp_path):
    images(tmp_path / "d" / "train", "cat", "dog")
    images(tmp_path / "d" / "test", "cat", "dog")
    (tmp_path / "d" / "train" / "eel").mkdir()
    error = failed(tmp_path, *FOLDER, f"dataset.root={tmp_path / 'd'}")
    assert error["stage"] == "data"
    assert "eel" in error["message"]


def test_train_and_test_with_different_classes(tmp_path):
    images(tmp_path / "d" / "train", "cat", "dog")
    images(tmp_path / "d" / "test", "cat", "fox")
    error = failed(tmp_path, *FOLDER, f"dataset.root={tmp_path / 'd'}")
    assert "dog" in error["message"]
    assert "fox" in error["message"]


def test_an_unreadable_image(tmp_path):
    images(tmp_path / "d" / "train", "cat", "dog")
    images(tmp_path / "d" / "test", "cat", "dog")
    (tmp_path / "d" / "train" / "cat" / "1.png").write_bytes(b"not an image")
    error = failed(
        tmp_path, *FOLDER, f"dataset.root={tmp_path / 'd'}", "dataset.placement=memory",
        "dataset.augment.random_resized_crop=false",
    )  # fmt: skip
    assert "1.png" in error["message"]


def test_a_checkpoint_of_another_architecture(tmp_path):
    torch.save({"state_dict": {"module.conv9.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    error = failed(tmp_path, f"model.checkpoint={tmp_path / 'other.pth'}")
    assert error["kind"] == "model"
    assert "conv9.weight" in error["message"]


def test_a_corrupt_checkpoint(tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"PK\\x03\\x04 nothing")
    error = failed(tmp_path, f"model.checkpoint={tmp_path / 'broken.pth'}")
    assert "broken.pth" in error["message"]


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("Branches", "fp32", "torch.export cannot capture Branches"),
        ("WrongShape", "fp32", "does not take images of shape (1, 8, 8)"),
    ],
)
def test_a_model_that_cannot_be_used(tmp_path, monkeypatch, name, stage, message):
    (tmp_path / "bad_models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    error = failed(tmp_path, f"model._target_=bad_models.{name}", "trusted_packages=[bad_models]")
    assert message in error["message"]
    assert error["stage"].endswith(stage)


def test_a_layer_pattern_that_matches_nothing_costs_no_training(tmp_path, caplog):
    caplog.set_level("INFO", "qatexp")
    error = failed(tmp_path, "qconfig.layers=[{match: blokcs.0.conv1, weight_bits: 4}]")
    assert (error["stage"], error["kind"]) == ("fp32", "quantization")
    assert error["message"] == (
        "qconfig.layers: the pattern 'blokcs.0.conv1' matches no conv or linear layer; did you "
        "mean blocks.0.conv1, blocks.2.conv1 or blocks.1.conv1? The layers are conv1, "
        "blocks.0.conv1, blocks.0.conv2, blocks.1.conv1, blocks.1.conv2, blocks.1.shortcut.0, "
        "blocks.2.conv1, blocks.2.conv2, blocks.2.shortcut.0, linear."
    )
    assert "fp32 ..." in caplog.text
    assert "fp32 epoch" not in caplog.text


@pytest.mark.slow
def test_the_command_ends_with_one_line_and_exit_code_1(tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    outcome = qatexp(tmp_path, "model.checkpoint=broken.pth")
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert "fp32 failed" in outcome.err
    assert outcome.record().status == "failed"


@pytest.mark.slow
def test_debug_shows_the_traceback(tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    outcome = qatexp(tmp_path, "model.checkpoint=broken.pth", "debug=true", "tracking=none")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
