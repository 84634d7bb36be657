"""Seeds as mean and spread, and which differences are larger than the noise."""

import csv
from itertools import combinations

import pytest
from scipy.stats import false_discovery_control, ttest_ind

from qatexp.compare import collect, gather, select, write_comparison
from qatexp.compare.report import report
from qatexp.compare.seeds import Group, differences, seed_groups
from qatexp.results.comparable import DataSet

DIGITS = DataSet("digits", 359, "a1")


@pytest.fixture
def make_seeds(make_sweep, make_record):
    def make(accuracies, root="sweep"):
        records = []
        for bits, values in accuracies.items():
            for seed, top1 in enumerate(values):
                record = make_record(bits=bits, qat=top1, data={"test": 1000})
                record.params["seed"] = seed
                records.append(record)
        return make_sweep(*records, root=root)

    return make


def group(*top1, step=0.0):
    names = tuple(str(index) for index in range(len(top1)))
    return Group("g", names, tuple(range(len(top1))), top1, DIGITS, step)


def test_trials_that_differ_in_the_seed_are_one_group_the_best_first(make_seeds):
    groups = seed_groups(collect(make_seeds({8: (86.0, 87.0, 88.0), 4: (89.0, 90.0)})))
    assert [item.label for item in groups] == ["W4A4", "W8A8"]
    assert [item.trials for item in groups] == [("3", "4"), ("0", "1", "2")]
    assert (groups[1].mean, groups[1].std, groups[1].step) == (87.0, 1.0, 0.1)


def test_without_two_seeds_of_one_setting_there_are_no_groups(make_seeds):
    assert seed_groups(collect(make_seeds({8: (86.0,), 4: (85.0,)}))) == []


@pytest.fixture
def repeated(make_sweep, make_record):
    """W8A8 with seeds 0, 0, 0 and 1; W4A4 with seeds 0 and 1; as reruns and resumed sweeps do."""
    runs = [(8, 0, 90.0), (8, 0, 90.0), (8, 0, 90.3), (8, 1, 90.5), (4, 0, 89.0), (4, 1, 89.4)]
    records = [make_record(bits=bits, qat=top1, data={"test": 1000}) for bits, _, top1 in runs]
    for record, (_, seed, _) in zip(records, runs, strict=True):
        record.params["seed"] = seed
    return make_sweep(*records)


def test_a_seed_that_was_run_several_times_is_one_sample(repeated):
    one, other = seed_groups(collect(repeated))
    assert (one.n, one.trials, one.seeds) == (2, ("0", "1", "2", "3"), (0, 0, 0, 1))
    assert one.samples == pytest.approx((90.1, 90.5))
    assert one.mean == pytest.approx(90.3)
    (pair,) = differences([one, other])
    expected = ttest_ind(one.samples, other.samples, equal_var=False).pvalue
    assert pair.p == pytest.approx(expected, rel=1e-9)
    assert not pair.is_larger_than_noise


def test_repeated_seeds_are_told(repeated):
    found = report(collect(repeated))
    assert [row[1] for row in found.seeds.rows] == ["2", "2"]
    assert found.seeds_notes[-1] == (
        "a seed that was run several times counts once, by its mean (W8A8: 4 trials of 2 seeds)"
    )
    written = write_comparison(collect(repeated), repeated)
    with written[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seeds/deployed_top1_n"] for row in rows] == ["2"] * 6


def test_two_seeds_are_said_to_show_little(make_seeds):
    def notes(*seeds, root):
        return report(collect(make_seeds({8: seeds, 4: seeds[:2]}, root=root))).seeds_notes

    said = "two seeds can hardly show anything"
    assert any(text.startswith(said) for text in notes(86.0, 87.0, root="two"))
    assert not any(text.startswith(said) for text in notes(86.0, 87.0, 88.0, root="three"))


def test_one_seed_run_twice_is_one_seed():
    (pair,) = differences(
        [Group("g", ("0", "1"), (3, 3), (90.0, 90.0), DIGITS, 0.1), group(80.0, 80.1)]
    )
    assert (pair.p, pair.is_larger_than_noise) == (None, False)


def test_sweeps_are_not_mixed(make_seeds, tmp_path):
    folders = [make_seeds({8: (86.0, 87.0)}, root=root) for root in ("old", "new")]
    groups = seed_groups(gather(folders, home=tmp_path))
    assert sorted(item.trials for item in groups) == [("new/0", "new/1"), ("old/0", "old/1")]


def test_a_difference_far_beyond_the_spread_is_larger_than_the_noise():
    (pair,) = differences([group(90.0, 90.2, 90.1), group(80.0, 80.3, 80.1)])
    assert pair.points == pytest.approx(9.966666667)
    assert pair.is_larger_than_noise


def test_a_difference_within_the_spread_is_not():
    (pair,) = differences([group(90.0, 92.0), group(89.0, 91.5)])
    assert not pair.is_larger_than_noise


def test_p_is_that_of_welch():
    values = (2.0, 4.0, 6.0), (1.0, 2.0, 3.0, 4.0)
    (pair,) = differences([group(*values[0]), group(*values[1])])
    assert pair.p == pytest.approx(ttest_ind(*values, equal_var=False).pvalue, rel=1e-12)


def test_p_is_adjusted_for_the_number_of_pairs_as_scipy_does():
    values = [(90.0, 90.4, 90.9), (89.0, 89.3, 89.9, 89.1), (86.0, 88.5), (85.0, 85.1, 85.9)]
    groups = [group(*items) for items in values]
    raw = [ttest_ind(one, other, equal_var=False).pvalue for one, other in combinations(values, 2)]
    found = [pair.p for pair in differences(groups)]
    assert found == pytest.approx(list(false_discovery_control(raw)), rel=1e-9)


def test_many_pairs_make_each_of_them_harder_to_call():
    one, other = group(90.0, 90.4, 90.8), group(89.0, 89.4, 89.8)
    assert differences([one, other])[0].is_larger_than_noise
    similar = [group(90.0 + i / 100, 90.4, 90.8) for i in range(6)]
    assert not differences([*similar, one, other])[-1].is_larger_than_noise


def test_one_seed_cannot_be_told_from_noise():
    (pair,) = differences([group(90.0), group(10.0, 10.1)])
    assert (pair.p, pair.is_larger_than_noise) == (None, False)


def test_seeds_that_agree_are_as_noisy_as_whole_images_allow():
    """Two seeds with the same accuracy are no proof that one image more is a difference."""
    base = group(90.0, 90.0, step=0.1)
    assert not differences([group(90.1, 90.1, step=0.1), base])[0].is_larger_than_noise
    assert differences([group(95.0, 95.0, step=0.1), base])[0].is_larger_than_noise
    assert differences([group(90.1, 90.1), group(90.0, 90.0)])[0].p == 0.0


def test_accuracies_on_other_images_are_never_a_difference(make_sweep, make_record):
    records = []
    for name, accuracies in (
        ("easy", (99.0, 99.1)),
        ("hard", (60.0, 60.1)),
        ("hard", (50.0, 50.1)),
    ):
        for seed, top1 in enumerate(accuracies):
            record = make_record(qat=top1, lr=accuracies[0], data={"name": name, "test": 1000})
            record.params.update({"seed": seed, "dataset": name})
            records.append(record)
    folder = make_sweep(*records)
    groups = seed_groups(collect(folder))
    assert [(pair.one, pair.other) for pair in differences(groups)] == [(1, 2)]
    found = report(collect(folder))
    assert [row[-1].partition(" (")[0] for row in found.seeds.rows] == [
        "",
        "another data set",
        "another data set",
    ]
    assert "0 differences from it of 0 larger than the noise" in found.seeds_notes[0]
    write_comparison(collect(folder), folder)


def test_the_same_setting_on_other_images_is_another_group(make_sweep, make_record):
    """A folder whose images were changed has the same parameters as before."""
    records = [make_record(data={"name": "x", "test_fingerprint": text}) for text in "aabb"]
    for seed, record in enumerate(records):
        record.params["seed"] = seed
    groups = seed_groups(collect(make_sweep(*records)))
    assert [group.trials for group in groups] == [("0", "1"), ("2", "3")]


def test_the_table_names_the_reference_and_what_is_larger_than_the_noise(make_seeds):
    folder = make_seeds({8: (90.0, 90.2, 90.1), 4: (90.1, 90.0, 90.0), 2: (60.0, 60.3, 60.1)})
    found = report(collect(folder))
    assert [row[0] for row in found.seeds.rows] == ["W8A8", "W4A4", "W2A2"]
    assert found.seeds.rows[0][1:5] == ("3", "90.10", "0.10", "90.00 .. 90.20")
    verdicts = [row[6].partition(" (")[0] for row in found.seeds.rows]
    assert verdicts == ["", "within noise", "larger than noise"]
    assert found.seeds_notes[0] == (
        "reference: W8A8; 1 difference from it of 2 larger than the noise: W2A2"
    )
    assert "Welch's t-test" in found.seeds_notes[1]
    based = report(select(collect(folder), baseline="6"))
    assert based.seeds_notes[0].startswith("reference: W2A2; 2 differences from it of 2 larger")


def test_csv_and_markdown_hold_the_mean_over_seeds(make_seeds):
    folder = make_seeds({8: (86.0, 88.0), 4: (84.0,)})
    written = write_comparison(collect(folder), folder)
    with written[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seeds/deployed_top1_mean"] for row in rows] == ["87.0", "87.0", "84.0"]
    assert [row["seeds/deployed_top1_n"] for row in rows] == ["2", "2", "1"]
    assert rows[2]["seeds/deployed_top1_std"] == ""
    text = written[1].read_text(encoding="utf-8")
    assert "\n## Seeds\n\n| setting | seeds | top-1 mean | std |" in text
