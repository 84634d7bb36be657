"""Several sweeps at once, a baseline to take differences from, and commands that reproduce."""

import csv

import pytest

from qatexp.compare import collect, gather, select, write_comparison
from qatexp.compare.baseline import Delta, delta, find_baseline
from qatexp.compare.reproduce import Command, command
from qatexp.compare.trials import trials_grid
from qatexp.compare.trials_notes import trials_notes
from qatexp.errors import ConfigError, StoreError

HYDRA = """
hydra:
  run: {dir: "multirun/single/${unknown_resolver:x}"}
  job: {config_name: config}
  runtime:
    cwd: /home/me
    config_sources:
    - {path: hydra.conf, provider: hydra}
    - {path: "/home/me/my files", provider: command-line}
  overrides:
    task: ["qconfig.bits=4", "qconfig.layers=[{match: fc, skip: true}]", "seed=0"]
"""


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_trials_of_several_sweeps_are_labelled_by_their_sweep(make_sweep, make_record, tmp_path):
    one, other = make_sweep(make_record(), root="lsq"), make_sweep(make_record(), root="pact")
    sweep = gather([one, other / "0", other], home=tmp_path / "multirun")
    assert [trial.name for trial in sweep.trials] == ["lsq/0", "0", "pact/0"]
    assert sweep.sources == {"lsq": str(one), "0": str(other / "0"), "pact": str(other)}
    assert sweep.folder.parent == tmp_path / "multirun" / "compare"
    assert not sweep.folder.parent.exists()
    notes = trials_notes(sweep)
    assert f"lsq: {one}" in notes
    assert rows_of(write_comparison(sweep, tmp_path)[0])[2]["sweep"] == str(other)


def test_letters_stand_for_long_names(make_sweep, make_record, tmp_path):
    roots = ("2026-01-02_10-00-00", "2026-01-03_10-00-00")
    folders = [make_sweep(make_record(), root=root) for root in roots]
    sweep = gather(folders, home=tmp_path)
    assert [trial.name for trial in sweep.trials] == ["A/0", "B/0"]
    assert [trial.name for trial in select(sweep, where="sweep == 'B'").trials] == ["B/0"]


def test_one_folder_is_compared_as_ever(make_sweep, make_record, tmp_path):
    folder = make_sweep(make_record())
    assert gather([folder], home=tmp_path) == collect(folder)


def test_a_folder_given_twice_or_missing_is_named(make_sweep, make_record, tmp_path):
    folder = make_sweep(make_record())
    with pytest.raises(ConfigError, match=f"^FOLDER={folder} is given twice; name every sweep"):
        gather([folder, folder / "0" / ".."], home=tmp_path)
    with pytest.raises(StoreError, match="nothing to compare in "):
        gather([folder, tmp_path / "nope"], home=tmp_path)


def test_differences_from_the_baseline_are_points_and_percent(make_sweep, make_record):
    half = make_record(bits=4, qat=84.5, size_bytes=148_300, latency_ms=0.88)
    folder = make_sweep(make_record(), half)
    sweep = select(collect(folder), baseline="0")
    assert delta(half, sweep.baseline) == Delta(-1.5, -0.5, pytest.approx(0.1))
    grid = trials_grid(sweep)
    names = [column.name for column in grid.columns]
    assert names[-5:] == ["diff top-1", "diff size %", "diff time %", "speedup", "parity %"]
    assert grid.rows[0][-5:-2] == ("+0.00", "+0.0", "+0.0")
    assert grid.rows[1][-5:-2] == ("-1.50", "-50.0", "+10.0")
    assert any("differences are against trial 0 (W8A8)" in note for note in trials_notes(sweep))
    rows = rows_of(write_comparison(sweep, folder)[0])
    assert [row["diff/size_share"] for row in rows] == ["0.0", "-0.5"]


def test_there_is_no_difference_where_figures_do_not_compare(make_sweep, make_record):
    other = {"cpu": "Other CPU"}
    records = make_record(), make_record(environment=other), make_record(data={"name": "x"})
    sweep = select(collect(make_sweep(*records)), baseline="0")
    assert delta(records[1], sweep.baseline) == Delta(0.0, 0.0, None)
    assert delta(records[2], sweep.baseline) == Delta(None, 0.0, 0.0)
    cells = {row[0].removesuffix(" *"): row[-5:-2] for row in trials_grid(sweep).rows}
    assert cells["1"] == ("+0.00", "+0.0", "-")
    assert cells["2"] == ("-", "+0.0", "+0.0")
    written = write_comparison(sweep, sweep.folder)
    with written[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["diff/latency_share"] for row in rows] == ["0.0", "", "0.0"]
    assert [row["diff/deployed_top1"] for row in rows] == ["0.0", "0.0", ""]


def test_the_baseline_may_lie_outside_the_filter(make_sweep, make_record):
    sweep = collect(make_sweep(make_record(), make_record(bits=4), make_record(bits=2)))
    chosen = select(sweep, where="bits <= 4", baseline="0")
    assert chosen.baseline == sweep.trials[0]
    assert [trial.name for trial in chosen.trials] == ["1", "2"]


def test_a_baseline_is_found_by_what_a_label_says(make_sweep, make_record):
    sweep = collect(make_sweep(make_record(bits=4), make_record()))
    assert find_baseline(sweep, "W4A4").name == "0"


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        pytest.param("7", "^--baseline=7: there is no such trial; try 0, W8A8", id="unknown"),
        pytest.param("W8A8 lr0.5", "did you mean W8A8 . lr.0.5", id="near"),
        pytest.param("2", "trial 2 failed in qat .* choose a finished one", id="failed"),
        pytest.param("cifar_resnet20-cifar10", r"3 trials \(0, 1, 2\); give", id="several"),
    ],
)
def test_a_wrong_baseline_says_what_there_is(make_sweep, make_record, failed, wanted, text):
    sweep = collect(make_sweep(make_record(), make_record(bits=4), failed))
    with pytest.raises(ConfigError, match=text):
        find_baseline(sweep, wanted)


def test_the_command_of_a_trial_is_quoted_for_a_shell(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "hydra.yaml").write_text(HYDRA)
    assert command(tmp_path) == Command(
        "qatexp --config-dir '/home/me/my files' qconfig.bits=4 "
        "'qconfig.layers=[{match: fc, skip: true}]' seed=0",
        "/home/me",
    )


def test_a_folder_of_own_files_is_named_however_hydra_came_to_know_it(tmp_path):
    (tmp_path / ".hydra").mkdir()
    other = "    - {path: /other, provider: hydra.searchpath in command-line}\n"
    for text, options in (
        (HYDRA.replace("provider: command-line", "provider: hydra.searchpath in command-line"), ""),
        (HYDRA.replace("  overrides:\n", f"{other}  overrides:\n"), "file:///other"),
    ):
        (tmp_path / ".hydra" / "hydra.yaml").write_text(text)
        line = command(tmp_path).line
        assert line.startswith("qatexp --config-dir '/home/me/my files' ")
        assert options in line
        assert ("hydra.searchpath=" in line) is bool(options)


@pytest.mark.parametrize("text", [None, "hydra: {}", "- 1", "hydra: ["])
def test_without_hydras_files_no_command_is_known(tmp_path, text):
    if text is not None:
        (tmp_path / ".hydra").mkdir()
        (tmp_path / ".hydra" / "hydra.yaml").write_text(text)
    assert command(tmp_path) is None
