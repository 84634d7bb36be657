"""Damage is found wherever checksums are, and set aside only when asked and free."""

import numpy as np
import pytest

from qatexp.cache.items import DECODED
from qatexp.cache.verify import verify
from qatexp.store.checked import write_checked
from qatexp.store.entries import CHECKPOINT
from qatexp.store.lock import Lock


def damages(project, *, aside=False):
    return {item.hash: d for item, d in verify(project.items(), aside=aside) if d is not None}


@pytest.fixture
def sound(project):
    """Every kind of item that has checksums."""
    project.entry("fp32", "aa")
    project.stem("bb", "qq")
    write_checked(project.partial("qat", "cc") / CHECKPOINT, b"state")
    (project.root / DECODED).mkdir()
    np.savez(project.root / DECODED / "digits-train-1.npz", images=np.arange(100))
    return project


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


FILES = {
    "aa": "fp32/aa/weights.bin",
    "bb": "qat_stem/bb/maker.json",
    "cc": f"qat/cc.partial/{CHECKPOINT}",
    "digits-train-1": f"{DECODED}/digits-train-1.npz",
}


def test_what_is_sound_is_checked_and_not_named(sound):
    assert damages(sound) == {}
    assert len(list(verify(sound.items(), aside=False))) == 5  # with an unfinished empty folder


@pytest.mark.parametrize("damaged", FILES)
def test_one_changed_byte_is_found(sound, damaged):
    flip(sound.root / FILES[damaged])
    found = damages(sound)
    assert list(found) == [damaged]
    assert found[damaged].aside is None
    assert found[damaged].what
    assert (sound.root / FILES[damaged]).exists()


@pytest.mark.parametrize("damaged", ["aa", "bb", "digits-train-1"])
def test_damage_is_set_aside_when_asked(sound, damaged):
    flip(sound.root / FILES[damaged])
    found = damages(sound, aside=True)[damaged]
    assert found.aside is not None
    assert found.aside.exists()
    assert not (sound.root / FILES[damaged]).exists()
    assert damages(sound) == {}


def test_a_checkpoint_is_left_to_the_training_that_continues_it(sound):
    flip(sound.root / FILES["cc"])
    assert damages(sound, aside=True)["cc"].aside is None


def test_what_is_held_is_not_set_aside(sound):
    flip(sound.root / FILES["aa"])
    with Lock(sound.root / "fp32" / "aa.lock"):
        assert damages(sound, aside=True)["aa"].aside is None
