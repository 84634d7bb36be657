"""The program of docs/deploying.md is run, as it stands there, on the files of a run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Outcome
from PIL import Image

from qatexp.data.geometry import choose_geometry
from qatexp.data.normalise import Normaliser
from qatexp.data.sources import digits

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "deploying.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def program(first_run: Outcome) -> dict[str, Any]:
    """The names that the page's program defines, with a run's folder in the place of its own."""
    assert first_run.folder is not None, first_run.err
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    text, count = re.subn(
        r'^ARTIFACTS = Path\(".*"\)$',
        f"ARTIFACTS = Path({str(first_run.folder / 'artifacts')!r})",
        text,
        flags=re.MULTILINE,
    )
    assert count == 1
    names: dict[str, Any] = {}
    exec(compile(text, "deploying.md", "exec"), names)
    return names


def test_the_program_reaches_the_accuracy_that_the_record_states(program, first_run):
    source = digits()
    pixels, labels = source.test.images[:, 0].numpy(), source.test.labels.tolist()
    right = sum(
        program["classify"](Image.fromarray(image)) == source.classes[label]
        for image, label in zip(pixels, labels, strict=True)
    )
    assert 100 * right / len(labels) == first_run.record().variants["qat"].deployed_top1


def test_the_program_prepares_a_photo_as_evaluation_does(program, monkeypatch):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    settings = {"channels": "RGB", "resize_shorter_side": 40, "centre_crop": [32, 32]}
    monkeypatch.setitem(
        program["deploy"], "input", {**program["deploy"]["input"], **settings,
        "mean": list(mean), "std": list(std)},
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (61, 90, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels)
    geometry = choose_geometry(native=(3, 61, 90), image_size=32, resize_size=40)
    fitted = torch.from_numpy(np.array(geometry.fit(photo, where="photo"))).permute(2, 0, 1)
    expected = Normaliser(mean, std, device=torch.device("cpu"))(fitted[None])
    found = program["prepared"](photo)
    assert found.dtype == np.float32
    # The same numbers; evaluation divides by 255 and std at once.
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-6)


def test_what_is_needed_to_deploy_is_beside_the_files(first_run):
    folder = first_run.folder / "artifacts"
    deploy = json.loads((folder / "deploy.json").read_text())
    record = first_run.record()
    assert deploy["classes"] == record.data["class_names"] == list("0123456789")
    assert deploy["input"]["mean"] == record.data["mean"]
    assert set(deploy["files"]) == set(record.variants)
    for name, file in deploy["files"].items():
        assert (folder / file["file"]).is_file()
        assert record.variants[name].session_options.items() <= file["session_options"].items()
