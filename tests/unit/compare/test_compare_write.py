"""The files that a comparison leaves."""

import csv
import json
import logging
import os

import pytest
from PIL import Image

from qatexp.compare import collect, is_written, write_comparison
from qatexp.errors import StoreError

LR = "schedule.qat.lr_scale"


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_leaves_every_trial_in_csv_with_settings_that_vary(make_sweep, make_record, failed):
    folder = make_sweep(make_record(), make_record(bits=4, qat=84.0), failed)
    files = write_comparison(collect(folder), folder)
    assert [path.name for path in files] == [
        "compare.csv",
        "compare.md",
        "compare.html",
        "pareto.png",
    ]
    rows = rows_of(files[0])
    assert [(row["trial"], row["status"], row["pareto"]) for row in rows] == [
        ("0", "finished", "1"),
        ("1", "finished", "0"),
        ("2", "failed", "0"),
    ]
    assert [row[LR] for row in rows] == ["0.1", "0.1", "0.5"]
    assert [row["qconfig.weight.bits"] for row in rows] == ["8", "4", "8"]
    assert "model" not in rows[0]
    assert [row["qat/deployed_top1"] for row in rows] == ["86", "84", ""]
    assert rows[0]["qat/size_bytes"] == "296600"
    assert rows[0]["parity/top1_agreement"] == "0.9972"
    assert rows[2]["problem"].startswith("failed in qat (training): ")


def test_markdown_has_the_table_of_the_terminal(make_sweep, make_record, failed):
    folder = make_sweep(make_record(), make_record(bits=4, qat=84.0, size_bytes=160_000), failed)
    write_comparison(collect(folder), folder)
    text = (folder / "compare.md").read_text(encoding="utf-8")
    assert text.startswith("# cifar_resnet20-cifar10: 3 trials, 1 failed\n\n| trial | bits | ")
    assert "| **0 \\*** | **W8A8** | **0.1** | **81.00** | **80.00** | **86.00** |" in text
    assert "failed in qat (training): the loss is not finite \\[step 3\\]" in text
    assert text.endswith("[pareto.png](pareto.png)\n")


def test_a_run_leaves_its_variants(make_sweep, make_record):
    folder = make_sweep(make_record()) / "0"
    files = write_comparison(collect(folder), folder)
    assert [row["variant"] for row in rows_of(files[0])] == ["fp32", "ptq", "qat"]
    assert rows_of(files[0])[2]["deployed_top1"] == "86.0"
    assert "| qat | 269,722 | 296.6 kB |" in files[1].read_text()
    with Image.open(files[-1]) as image:
        assert image.format == "PNG"


def test_settings_that_are_null_lists_or_missing_stay_distinct(make_sweep, make_record):
    records = [make_record() for _ in range(3)]
    records[0].params["qconfig.first_last_bits"] = None
    records[1].params["qconfig.first_last_bits"] = [4, 8]
    folder = make_sweep(*records)
    rows = rows_of(write_comparison(collect(folder), folder)[0])
    assert [row["qconfig.first_last_bits"] for row in rows] == ["null", "[4, 8]", ""]


@pytest.mark.parametrize("single", [True, False], ids=["run", "sweep"])
def test_without_figures_there_is_no_picture_and_no_stale_one(make_sweep, failed, caplog, single):
    folder = make_sweep(failed)
    folder = folder / "0" if single else folder
    (folder / "pareto.png").write_text("of another comparison")
    with caplog.at_level(logging.WARNING):
        files = write_comparison(collect(folder), folder)
    assert [path.name for path in files] == ["compare.csv", "compare.md", "compare.html"]
    assert not (folder / "pareto.png").exists()
    assert "pareto.png is not drawn" in caplog.text
    assert rows_of(files[0])[0]["status"] == "failed"
    assert "pareto.png" not in files[1].read_text()


def test_unreadable_trials_have_a_row(make_sweep, make_record):
    folder = make_sweep(make_record(), make_record())
    (folder / "1" / "record.json").write_text(json.dumps({"schema": 99}))
    rows = rows_of(write_comparison(collect(folder), folder)[0])
    assert rows[1]["status"] == "unreadable"
    assert "schema 99" in rows[1]["problem"]


def test_a_folder_that_cannot_be_written_is_named(make_sweep, make_record, tmp_path):
    sweep = collect(make_sweep(make_record()))
    with pytest.raises(StoreError, match=r"cannot write .*missing/compare\.csv: No such file"):
        write_comparison(sweep, tmp_path / "missing")


def test_a_comparison_holds_until_a_trial_ends_anew_or_a_file_is_missing(make_sweep, make_record):
    folder = make_sweep(make_record(), make_record(bits=4))
    assert not is_written(collect(folder), folder)
    write_comparison(collect(folder), folder)
    assert is_written(collect(folder), folder)
    record = folder / "1" / "record.json"
    later = (folder / "compare.csv").stat().st_mtime_ns + 10**9
    os.utime(record, ns=(later, later))
    assert not is_written(collect(folder), folder)
    os.utime(record, ns=(0, 0))
    (folder / "pareto.png").unlink()
    assert not is_written(collect(folder), folder)


def test_without_figures_a_comparison_holds_without_a_picture(make_sweep, failed):
    folder = make_sweep(failed)
    write_comparison(collect(folder), folder)
    assert is_written(collect(folder), folder)
