import gc

import pytest

from qatexp.measurement import Timing, time_in_turns
from qatexp.measurement.latency import _timing


class Clock:
    """A clock that only calls move: no timing of a test depends on the machine."""

    def __init__(self):
        self.ns = 0
        self.calls = []

    def call(self, name, ms):
        def run():
            self.calls.append(name)
            self.ns += round(ms * 1e6)

        return run


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("qatexp.measurement.latency.time.perf_counter_ns", lambda: made.ns)
    return made


PROBES = 3
"""Calls that find out how many make one sample."""


def test_every_callable_is_warmed_up_then_called_once_a_round(clock):
    calls = {"a": clock.call("a", 10), "b": clock.call("b", 20)}
    time_in_turns(calls, warmup=2, rounds=5, min_round_ms=5)
    assert clock.calls.count("a") == clock.calls.count("b") == 2 + PROBES + 5


def test_the_order_alternates_so_that_none_is_always_first(clock):
    calls = {"a": clock.call("a", 10), "b": clock.call("b", 10), "c": clock.call("c", 10)}
    time_in_turns(calls, warmup=0, rounds=3, min_round_ms=5)
    assert "".join(clock.calls[3 * PROBES :]) == "abc" + "cba" + "abc"


def test_a_sample_repeats_a_short_call_until_it_fills_the_round(clock):
    time_in_turns({"a": clock.call("a", 0.8)}, warmup=0, rounds=2, min_round_ms=5)
    assert len(clock.calls) == PROBES + 2 * 7


def test_no_least_duration_means_one_call_a_sample(clock):
    time_in_turns({"a": clock.call("a", 0.1)}, warmup=0, rounds=4, min_round_ms=0)
    assert len(clock.calls) == PROBES + 4


def test_times_are_milliseconds_of_one_call(clock):
    calls = {"fast": clock.call("fast", 0.5), "slow": clock.call("slow", 4)}
    timings = time_in_turns(calls, warmup=1, rounds=6, min_round_ms=2)
    assert list(timings) == ["fast", "slow"]
    assert timings["fast"] == Timing(pytest.approx(0.5), pytest.approx(0.5))
    assert timings["slow"] == Timing(pytest.approx(4), pytest.approx(4))


def test_a_call_faster_than_the_clock_is_an_answer_too(clock):
    """A coarse clock says 0 ns; dividing by it would end the run."""
    timings = time_in_turns({"a": clock.call("a", 0)}, warmup=0, rounds=2, min_round_ms=0.001)
    assert timings["a"].ms_p50 == 0


def test_percentiles_are_over_the_rounds():
    timing = _timing([float(value) for value in range(1, 102)])
    assert timing == Timing(ms_p50=51.0, ms_p95=96.0)


@pytest.mark.parametrize("enabled", [True, False], ids=["on", "off"])
def test_garbage_is_collected_between_measurements_only(clock, enabled):
    seen = []

    def call():
        seen.append(gc.isenabled())
        clock.ns += 10**7

    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        time_in_turns({"a": call}, warmup=0, rounds=2, min_round_ms=1)
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if was else gc.disable()
    assert seen[PROBES:] == [False, False]


def test_garbage_collection_comes_back_after_a_failure(clock):
    calls = iter(range(PROBES))

    def call():
        next(calls)
        clock.ns += 10**7

    assert gc.isenabled()
    with pytest.raises(StopIteration):
        time_in_turns({"a": call}, warmup=0, rounds=1, min_round_ms=1)
    assert gc.isenabled()
