from dataclasses import replace

import pytest

from qatexp.rerun.changes import Change
from qatexp.rerun.reasons import find_reasons


def texts(original, rerun, changes=(), added=()):
    return [item.text for item in find_reasons(original, rerun, changes=changes, added=added)]


def moved(record, **entries):
    return replace(record, environment={**record.environment, **entries})


def with_data(record, fingerprint, **entries):
    data = {**record.data, "fingerprint": fingerprint, **entries}
    prints = {**record.fingerprints, "data": fingerprint, "fp32": "f" * 16}
    return replace(record, data=data, fingerprints=prints)


def test_nothing_differs(record):
    assert texts(record, record) == []


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        pytest.param({"threads": 1}, "training threads: 2 -> 1", id="threads"),
        pytest.param({"cpu": "Other"}, "CPU: Test CPU -> Other", id="processor"),
        pytest.param(
            {"cpu_flags": ["avx2", "avx_vnni"]}, "CPU features: avx2 -> avx2,avx_vnni", id="flags"
        ),
        pytest.param({"gpu": "H100"}, "GPU: none -> H100", id="gpu"),
        pytest.param(
            {"git_commit": "e" * 40},
            f"git commit: {'c' * 16}... -> {'e' * 16}...",
            id="commit",
        ),
        pytest.param(
            {"git_dirty": True}, "uncommitted changes in the folder of the rerun", id="dirty"
        ),
        pytest.param(
            {"versions": {"qatexp": "0.1.0", "torch": "2.15.0"}},
            "torch: 2.14.1 -> 2.15.0",
            id="version",
        ),
    ],
)
def test_a_machine_or_code_that_differs_is_named(record, entries, text):
    assert texts(record, moved(record, **entries)) == [text]


def test_uncommitted_changes_of_both_runs_are_named(record):
    dirty = moved(record, git_dirty=True)
    assert texts(dirty, dirty) == ["uncommitted changes in the folder of both runs"]


def test_a_data_set_with_other_content_is_named(record):
    (text,) = texts(record, with_data(record, "e" * 64))
    assert text == (
        "the data set's content differs: images or labels were changed since; "
        f"fingerprint {'d' * 16}... -> {'e' * 16}..."
    )


def test_streamed_images_are_known_by_size_and_time(record):
    (text,) = texts(record, with_data(record, "e" * 64, placement="stream"))
    assert "content differs, as far as size and time of streamed files tell;" in text


def test_what_was_set_on_purpose_comes_first(record):
    change = Change("dataset.split_seed", 0, 1)
    first, second = texts(record, with_data(record, "e" * 64), changes=[change])
    assert first == "dataset.split_seed was set on purpose: 0 -> 1"
    assert second.startswith("the data set, or what is made of it, differs")


def test_a_key_that_the_original_did_not_have_is_named(record):
    (text,) = texts(record, record, added=[Change("export.pack", None, "cast")])
    assert text == "export.pack is a key that the original did not have; today's default is cast"


def test_other_code_is_found_by_the_first_stage_that_it_changes(record):
    prints = {**record.fingerprints, "fp32": "f" * 16, "qat": "e" * 16}
    (text,) = texts(record, replace(record, fingerprints=prints))
    assert text == "the code of qatexp, or of the model, differs: it shows first in fp32"
    dirty = moved(replace(record, fingerprints=prints), git_dirty=True)
    assert texts(record, dirty) == [text, "uncommitted changes in the folder of the rerun"]


def test_another_checkpoint_is_named(record):
    one, two = (
        replace(record, fingerprints={**record.fingerprints, "checkpoint": digit * 64})
        for digit in "12"
    )
    (text,) = texts(one, two)
    assert text.startswith("the content of model.checkpoint differs: 1111")
