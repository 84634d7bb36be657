"""``qatexp cache``: what is printed, exit codes, and that nothing is deleted by default."""

import json

import pytest

from qatexp.cli.verbs import run_verb
from qatexp.store.stage_cache import StageCache

HASH = "0123456789abcdef"


@pytest.fixture
def said(capsys, monkeypatch, tmp_path):
    """Run a verb in a folder: exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        code = run_verb(["cache", *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def entry(tmp_path):
    """A finished stage in the default place, which no record names."""
    root = tmp_path / "multirun" / ".stages"
    root.mkdir(parents=True)
    make = lambda folder: (folder / "weights.bin").write_bytes(bytes(2000))  # noqa: E731
    return StageCache(root).get("fp32", HASH, make).folder


def test_a_list_is_a_table_with_totals(said, entry):
    code, out, error = said("list")
    assert (code, error) == (0, "")
    (row,) = (line for line in out.splitlines() if line.startswith("fp32"))
    assert row.split()[1:5] == [HASH, "finished", "2.1", "kB"]
    assert row.rstrip().endswith("nobody")
    assert out.rstrip().splitlines()[-1] == "1 item, 2.1 kB: 1 finished (2.1 kB)"


def test_a_list_for_programs_is_json(said, entry):
    code, out, _ = said("list", "--json", "--stage", "fp32")
    (item,) = json.loads(out)["items"]
    assert (code, item["hash"], item["path"]) == (0, HASH, f"multirun/.stages/fp32/{HASH}")


def test_nothing_is_deleted_without_yes(said, entry):
    code, out, _ = said("prune", "--unused")
    assert code == 0
    assert HASH in out
    assert out.rstrip().endswith("Nothing was deleted; add --yes to delete these.")
    assert entry.is_dir()
    code, out, _ = said("prune", "--unused", "--yes")
    assert code == 0
    assert out.rstrip().endswith("Deleted 1 of 1: 2.1 kB freed, 0 B left.")
    assert not entry.exists()
    assert said("prune", "--unused")[1].rstrip().endswith("Nothing to do.")


def test_damage_is_exit_code_1_until_it_is_set_aside(said, entry):
    assert said("verify") == (0, "1 item, 2.1 kB read: all sound\n", "")
    (entry / "weights.bin").write_bytes(bytes(1999))
    code, out, _ = said("verify")
    assert code == 1
    assert f"damaged: multirun/.stages/fp32/{HASH} (weights.bin)\n" in out
    assert "--set-aside does so now" in out
    code, out, _ = said("verify", "--set-aside")
    assert code == 1
    assert f"set aside as {HASH}.damaged-" in out
    assert said("verify")[0] == 0
    code, out, _ = said("prune", "--damaged", "--yes")
    assert "Deleted 1 of 1" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(["list", "--dir", "no"], "--dir=no: there is no stage cache", id="no folder"),
        pytest.param(["list", "--runs", "no"], "--runs=no is not a folder", id="no runs"),
        pytest.param(
            ["list", "--stage", "qta"],
            "--stage=qta: the cache has nothing of it; it has: fp32.",
            id="no such stage",
        ),
        pytest.param(
            ["prune", "--stage=qta", "--unused", "--runs=.", "--yes"],
            "--stage=qta: the cache has nothing of it; it has: fp32.",
            id="no such stage to prune",
        ),
        pytest.param(["prune", "--yes"], "deletes nothing without a rule", id="no rule"),
        pytest.param(["prune", "--stage", "fp32"], "without a rule; allowed: --older", id="stage"),
        pytest.param(["prune", "--older-than", "30"], "--older-than=30: allowed is", id="no unit"),
        pytest.param(["prune", "--keep-bytes", "x"], "--keep-bytes=x: allowed is", id="no size"),
        pytest.param(["burn"], "No such command", id="no such verb"),
    ],
)
def test_a_wrong_request_is_exit_code_2_and_deletes_nothing(said, entry, arguments, text):
    code, out, error = said(*arguments)
    assert (code, out) == (2, "")
    assert error.startswith("qatexp: ")
    assert error.count("\n") == 1
    assert text in error
    assert entry.is_dir()


def test_a_shared_cache_is_not_judged_by_this_projects_runs_alone(said, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    code, _, error = said("prune", "--dir", str(shared), "--unused")
    assert code == 2
    assert "is not in multirun, so runs of other projects may depend on it" in error
    (tmp_path / "multirun").mkdir()
    assert said("prune", "--dir", str(shared), "--unused", "--runs", "multirun")[0] == 0
