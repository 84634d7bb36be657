"""`compare.html` as a user has it: a real headless Chromium clicks and types in it."""

import pytest
from chromium import find_chromium, open_page

from qatexp.compare import collect, write_comparison

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome in PATH"
)

# Rows as a reader sees them from top to bottom: number of the trial, and whether it is dimmed.
SEEN = """[...document.querySelectorAll("#trials tbody tr")]
    .filter((row) => row.checkVisibility())
    .map((row) => [row.cells[0].dataset.value, getComputedStyle(row.cells[1]).opacity === "1"])"""


def heading(name):
    return (
        "[...document.querySelectorAll('#trials th button')]"
        f".find((button) => button.textContent.includes('{name}'))"
    )


def order(page):
    return [name for name, _ in page.run(SEEN)]


@pytest.fixture
def page(make_record, make_sweep, tmp_path):
    """A comparison of four trials, opened from its file."""
    facts = [(8, 90.0, 300_000), (4, 91.0, 160_000), (2, 70.0, 9_000), (3, 85.0, 90_000)]
    records = [make_record(bits=b, qat=top1, size_bytes=size) for b, top1, size in facts]
    sweep = collect(make_sweep(*records))
    write_comparison(sweep, sweep.folder)
    (tmp_path / "profile").mkdir()
    with open_page(CHROMIUM, tmp_path / "profile", width=1200, height=900) as opened:
        opened.open((sweep.folder / "compare.html").as_uri())
        yield opened


def test_sorting_and_filtering_by_mouse_and_keyboard(page):
    """One test for all of it: each start of a browser takes seconds."""
    assert sorted(order(page)) == ["0", "1", "2", "3"]

    # By numbers, not by their text: 9.0 kB is less than 90.0 and 160.0 kB.
    page.click(heading("size"))
    assert order(page) == ["0", "1", "3", "2"]
    page.click(heading("size"))
    assert order(page) == ["2", "3", "1", "0"]
    sorted_by = "document.querySelector('#trials th[aria-sort]')"
    assert page.run(f"[{sorted_by}.ariaSort, {sorted_by}.innerText.startsWith('size')]") == [
        "ascending",
        True,
    ]

    choice = "document.querySelector('#colour').parentElement"
    assert page.run(f"{choice}.checkVisibility()")

    page.click("document.querySelector('#where')")
    page.type("bits <= 4 and qat/deployed_top1 > 80")
    assert page.run("document.querySelector('#count').textContent") == "2 of 4 trials"
    assert page.run(SEEN) == [["2", False], ["3", True], ["1", True], ["0", False]]
    page.click("document.querySelector('#hide')")
    assert order(page) == ["3", "1"]

    page.type(" and bitz > 1")
    assert "unknown name bitz" in page.run("document.querySelector('#said').textContent")
    assert order(page) == ["3", "1"]  # a half-typed expression changes nothing

    page.click("document.querySelector('#clear')")
    assert order(page) == ["2", "3", "1", "0"]
    page.click("document.querySelector('#trials tbody tr')")
    assert page.run("document.querySelector('#what').textContent").startswith("trial 2")


def test_colours_are_no_choice_where_one_trial_is_left(make_record, make_sweep, failed, tmp_path):
    sweep = collect(make_sweep(make_record(), failed))
    write_comparison(sweep, sweep.folder)
    (tmp_path / "profile").mkdir()
    with open_page(CHROMIUM, tmp_path / "profile", width=1200, height=900) as opened:
        opened.open((sweep.folder / "compare.html").as_uri())
        choice = "document.querySelector('#colour').parentElement"
        assert not opened.run(f"{choice}.checkVisibility()")
