import pytest

from qatexp.errors import StoreError
from qatexp.store.checked import read_checked, write_checked


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "state"
    write_checked(path, b"content")
    return path


def test_the_content_comes_back(file):
    assert read_checked(file) == b"content"
    write_checked(file, memoryview(b"newer"))
    assert read_checked(file) == b"newer"
    assert [path.name for path in file.parent.iterdir()] == ["state"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda stored: stored[:-1], id="cut"),
        pytest.param(lambda stored: stored[:-1] + b"T", id="one-byte"),
        pytest.param(lambda stored: b"", id="empty"),
    ],
)
def test_damage_is_noticed(file, damage):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StoreError) as problem:
        read_checked(file)
    assert str(problem.value) == f"{file} does not have the content that its checksum says"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StoreError) as problem:
        read_checked(tmp_path / "none")
    assert str(problem.value) == f"cannot read {tmp_path / 'none'}: No such file or directory"
