"""A finished run once more: equal bit for bit, or the reasons why not."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from command import Outcome, qatexp
from PIL import Image

pytestmark = pytest.mark.slow

FAST = ("debug=fast", "schedule.qat.epochs=1", "measure.rounds=3")


def run_id_of(outcome: Outcome) -> str:
    run_id = outcome.record().mlflow_run_id
    assert run_id is not None
    return run_id


def verdict(outcome: Outcome) -> dict:
    """What the newest rerun has written."""
    return json.loads((outcome.runs("rerun")[-1] / "rerun.json").read_text())


@pytest.fixture(scope="module")
def fast(tmp_path_factory) -> Outcome:
    """A run that computes little, in a home of its own."""
    return qatexp(tmp_path_factory.mktemp("fast"), *FAST, "trainer.threads=1")


def test_a_run_gives_the_same_figures_once_more(first_run, home):
    again = qatexp(home, "rerun", run_id_of(first_run))
    assert again.code == 0, (again.out, again.err)
    found = re.search(r"all (\d+) figures are equal, bit for bit", again.out)
    assert found is not None, again.out
    content = verdict(again)
    assert (content["verdict"], content["different"], content["reasons"]) == ("equal", 0, [])
    assert content["equal"] == int(found[1]) > 80
    assert set(content["latency"]) == {"fp32", "control", "ptq", "qat"}
    folder = again.runs("rerun")[-1]
    record = json.loads((folder / "record.json").read_text())
    assert not any(record["cached"].values())

    from mlflow import MlflowClient

    run = MlflowClient(f"sqlite:///{home}/multirun/mlflow.db").get_run(record["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["qatexp.kind"] == "rerun"
    assert run.data.tags["qatexp.rerun_of"] == run_id_of(first_run)


def test_what_was_changed_on_purpose_is_the_reason(fast):
    assert fast.code == 0, fast.err
    again = qatexp(fast.home, "rerun", run_id_of(fast), "--set", "seed=1", "--no-tracking")
    assert again.code == 1, again.err
    assert "figures differ. What else differs between the two runs:" in again.out
    assert "- seed was set on purpose: 0 -> 1" in again.out
    assert "Traceback" not in again.err
    content = verdict(again)
    assert content["verdict"] == "different"
    assert content["rerun"]["mlflow_run_id"] is None
    assert [reason["what"] for reason in content["reasons"]] == ["seed"]


def test_another_number_of_threads_is_named(fast):
    folder = fast.folder.relative_to(fast.home)
    again = qatexp(fast.home, "rerun", str(folder), "--set", "trainer.threads=2", "--no-tracking")
    content = verdict(again)
    # Whether it moves a bit depends on the machine; the verdict says which of both.
    assert again.code == (0 if content["verdict"] == "equal" else 1), again.err
    assert "- trainer.threads was set on purpose: 1 -> 2" in again.out
    assert "- training threads: 1 -> 2" in again.out


def test_a_changed_image_is_found(tmp_path):
    generator = np.random.default_rng(0)
    for split, count in {"train": 40, "test": 8}.items():
        for label, name in enumerate(("dark", "light")):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(100 * label, 100 * label + 100, (16, 16, 3), np.uint8)
                path = tmp_path / "photos" / split / name / f"{number}.png"
                Image.fromarray(pixels).save(path)
    first = qatexp(
        tmp_path, "dataset=imagefolder", "dataset.root=photos", "dataset.batch_size=16",
        "dataset.image_size=16", "dataset.resize_size=16", "dataset.placement=memory",
        "dataset.augment.random_resized_crop=false", *FAST,
    )  # fmt: skip
    assert first.code == 0, first.err
    changed = tmp_path / "photos" / "test" / "dark" / "3.png"
    Image.fromarray(np.full((16, 16, 3), 255, np.uint8)).save(changed)
    again = qatexp(tmp_path, "rerun", run_id_of(first))
    assert again.code == 1, (again.out, again.err)
    said = " ".join(again.out.split())  # a terminal breaks the line somewhere
    assert "the data set's content differs: images or labels were changed since" in said
    (reason,) = verdict(again)["reasons"]
    assert reason["what"] == "data"
    moved = {item["name"] for item in verdict(again)["figures"] if item["verdict"] != "equal"}
    assert "data/fingerprint" in moved
    assert "qat/size_bytes" not in moved


def test_a_folder_of_images_that_is_gone_is_told_before_anything_starts(fast):
    again = qatexp(fast.home, "rerun", run_id_of(fast), "--set", "dataset.root=gone")
    assert again.code == 2
    assert "dataset.root=gone: there is no such folder" in again.err


def test_an_unknown_run_is_a_wrong_request(fast):
    before = len(fast.runs("rerun"))
    again = qatexp(fast.home, "rerun", "0" * 32)
    assert (again.code, again.out) == (2, "")
    assert f"qatexp: there is no run {'0' * 32} in sqlite:///" in again.err
    assert "mlflow_run_id" in again.err
    assert len(again.runs("rerun")) == before
