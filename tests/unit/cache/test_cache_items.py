"""Everything in a cache is told apart, with its size, its age and those who depend on it."""

import json

import pytest

from qatexp.cache.items import DECODED, scan
from qatexp.cache.show import readable_bytes, readable_seconds, to_json, totals
from qatexp.errors import ConfigError, StoreError
from qatexp.store.entries import set_aside
from qatexp.store.lock import Lock
from qatexp.store.stage_cache import StageCache


def item_of(project, stage, fingerprint):
    (found,) = (i for i in project.items() if (i.stage, i.hash) == (stage, fingerprint))
    return found


def test_every_kind_is_told(project):
    project.entry("fp32", "aa")
    project.stem("bb", "qq")
    project.partial("qat", "cc")
    set_aside(project.entry("ptq", "dd"))
    (project.root / DECODED).mkdir()
    for name in ("digits-train-1.npz", "digits-test-2.damaged", "note.txt"):
        (project.root / DECODED / name).write_text("x")
    assert project.names() == {
        ("fp32", "aa", "finished"),
        ("qat_stem", "bb", "stem"),
        ("qat", "cc", "partial"),
        ("ptq", "dd", "damaged"),
        (DECODED, "digits-train-1", "decoded"),
        (DECODED, "digits-test-2", "damaged"),
    }
    assert len([item for item in project.items() if item.hash == "cc"]) == 2  # and its folder


def test_size_age_and_last_use(project):
    folder = project.entry("fp32", "aa", size=5000)
    manifest = folder / "manifest.json"
    project.age(manifest, 7200)
    project.age(folder, 3600)
    found = item_of(project, "fp32", "aa")
    assert found.size_bytes == 5000 + manifest.stat().st_size
    assert found.age_seconds == pytest.approx(7200, abs=60)
    assert found.idle_seconds == pytest.approx(3600, abs=60)
    StageCache(project.root).find("fp32", "aa")
    assert item_of(project, "fp32", "aa").idle_seconds < 60
    assert item_of(project, "fp32", "aa").age_seconds == pytest.approx(7200, abs=60)


def test_records_tell_who_depends_on_an_entry(project):
    project.entry("fp32", "aa")
    project.entry("qat", "bb")
    for number in range(2):
        project.record(f"sweep/first/{number}", fp32="aa", qat=f"b{number}")
    project.record("single/later", status="failed", fp32="aa")
    project.record("mlartifacts/copy", fp32="bb")
    assert item_of(project, "fp32", "aa").runs == (
        "single/later",
        "sweep/first/0",
        "sweep/first/1",
    )
    assert item_of(project, "qat", "bb").runs == ()


def test_a_stem_belongs_to_those_who_depend_on_its_training(project):
    project.stem("bb", "qq")
    assert item_of(project, "qat_stem", "bb").is_abandoned
    project.entry("qat", "qq")
    project.record("single/first", qat="qq")
    found = item_of(project, "qat_stem", "bb")
    assert (found.runs, found.is_abandoned) == (("single/first",), False)


def test_a_stem_of_a_training_that_is_running_is_not_abandoned(project):
    project.stem("bb", "qq")
    (project.root / "qat").mkdir()
    with Lock(project.root / "qat" / "qq.lock"):
        assert not item_of(project, "qat_stem", "bb").is_abandoned


def test_what_is_computed_or_used_now_says_by_whom(project):
    cache = StageCache(project.root, run=project.record("single/now", "running"))
    seen = []

    def make(folder):
        cache.partial("qat", "cc").mkdir()
        seen.extend(project.items())

    cache.get("qat", "cc", make)
    assert [item.kind.name for item in seen] == ["partial", "partial"]
    assert all(item.holder.startswith("process ") for item in seen)
    assert not any(item.is_abandoned for item in seen)
    used = item_of(project, "qat", "cc")
    assert used.holder.startswith("process ")
    assert used.runs == ("single/now",)


def test_what_a_killed_run_used_belongs_to_it_until_another_attempt_ends(project):
    run = project.record("sweep/first/0", "running")
    project.killed(run, "fp32", "aa")
    found = item_of(project, "fp32", "aa")
    assert (found.runs, found.holder) == (("sweep/first/0",), "")
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps({**record, "status": "finished"}))
    assert item_of(project, "fp32", "aa").runs == ()


def test_a_folder_without_a_cache_is_a_wrong_request(tmp_path):
    with pytest.raises(ConfigError, match=r"^--dir=.*/none: there is no stage cache; give the"):
        scan(tmp_path / "none", {})


def test_a_cache_that_cannot_be_written_is_named(project, monkeypatch):
    def refused(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("qatexp.cache.items.clock", refused)
    with pytest.raises(StoreError, match=r"^cannot use the cache .*: Permission denied$"):
        project.items()


def test_totals_count_every_kind(project):
    assert totals([]) == "0 items, 0 B"
    project.entry("fp32", "aa", size=1_000_000)
    project.partial("qat", "cc")
    text = totals(project.items())
    assert text == "3 items, 1.0 MB: 1 finished (1.0 MB), 2 unfinished (50 B)"
    content = json.loads(to_json(project.items()))
    assert content["size_bytes"] == sum(item["size_bytes"] for item in content["items"])
    first = content["items"][0]
    assert (first["stage"], first["hash"], first["kind"]) == ("fp32", "aa", "finished")
    assert (first["runs"], first["holder"], first["abandoned"]) == ([], None, False)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e13, "25.0 TB")]
)
def test_sizes_read_well(count, text):
    assert readable_bytes(int(count)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59, "59 s"), (120, "2 min"), (5400, "1.5 h"), (1e6, "11.6 d")],
)
def test_spans_of_time_read_well(seconds, text):
    assert readable_seconds(seconds) == text
