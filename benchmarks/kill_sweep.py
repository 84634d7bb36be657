"""Kill a sweep of 12 trials at random moments, and see that it ends as an undisturbed one.

python benchmarks/kill_sweep.py [--kills 20] [--seed 0] [--folder DIR]

The sweep of digits (bits 8, 4, 2 x LR scale 0.1, 0.05 x 2 seeds) runs once without disturbance,
then in another folder with `kill -9` of its whole process group at random moments, each followed
by the same command. Checked at the end: every trial finished exactly once, no stage computed twice
after it had ended, no MLflow run left RUNNING, every figure of every record equal bit for bit. The
exit code is 1 where one of these does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from mlflow import MlflowClient

from qatexp.records import Record, load_record
from qatexp.rerun.verdict import compare_figures

SWEEP = (
    "-m",
    "trainer.threads=1",
    "trainer.checkpoint_seconds=1",
    "qconfig.bits=8,4,2",
    "schedule.qat.lr_scale=0.1,0.05",
    "seed=0,1",
)
TRIALS = 12
DONE = re.compile(r"^(\w+) done in [\d.]+ s$")
"""A stage that was computed; `(from the cache)` follows where it was not."""
TRIAL = re.compile(r", in multirun/sweep/[\w-]+/(\d+)$")
"""Where a trial starts; Hydra's own `#3` counts anew in every attempt."""
CACHED = ("fp32", "export_fp32", "ptq", "export_ptq", "qat", "export_qat")
"""Stages that must not be computed again once they have ended."""


def run(folder: Path, kill_after: float | None) -> tuple[int, list[str]]:
    """Run the sweep in a folder, killed after so many seconds; its code and lines of stderr."""
    command = [str(Path(sys.executable).with_name("qatexp")), *SWEEP]
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:

        def kill() -> None:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(kill_after, kill) if kill_after is not None else None
        if timer is not None:
            timer.start()
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
        process.wait()
        if timer is not None:
            timer.cancel()
    return process.returncode, lines


def computed(lines: list[str], records: dict[int, Record]) -> Counter[tuple[str, ...]]:
    """How often each cacheable stage was computed to its end, by what it depends on."""
    found: Counter[tuple[str, ...]] = Counter()
    number = -1
    for line in lines:
        if started := TRIAL.search(line):
            number = int(started.group(1))
        done = DONE.match(line.strip())
        if done and done.group(1) in CACHED:
            found[done.group(1), records[number].fingerprints[done.group(1)]] += 1
    return found


def sweep_records(folder: Path) -> dict[int, Record]:
    """The records of the only sweep below a folder, by number."""
    (sweep,) = (folder / "multirun" / "sweep").iterdir()
    return {int(path.name): load_record(path) for path in sweep.iterdir() if path.name.isdigit()}


def mlflow_problems(folder: Path, records: dict[int, Record]) -> list[str]:
    """What the store says that it should not."""
    client = MlflowClient(f"sqlite:///{folder}/multirun/mlflow.db")
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    finished = [run.info.run_id for run in runs if run.info.status == "FINISHED"]
    named = {record.mlflow_run_id for record in records.values()}
    children = [run for run in finished if run in named]
    problems = []
    if (running := sum(run.info.status == "RUNNING" for run in runs)) > 0:
        problems.append(f"{running} runs are RUNNING")
    if len(children) != TRIALS or len(finished) != TRIALS + 1:
        problems.append(
            f"{len(finished)} runs are FINISHED, {len(children)} of them named by records; "
            f"expected are {TRIALS} trials and their parent"
        )
    return problems


def main() -> None:
    """Run both sweeps, compare them, and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", type=Path, help="where both sweeps run; default: a new one")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kill_sweep_"))
    whole, disturbed = folder / "undisturbed", folder / "killed"
    for home in (whole, disturbed):
        home.mkdir(parents=True)
    print(f"in {folder}, seed {options.seed}", flush=True)

    started = time.perf_counter()
    code, _ = run(whole, None)
    seconds = time.perf_counter() - started
    print(f"undisturbed: exit code {code}, {seconds:.0f} s", flush=True)

    moments = random.Random(options.seed)
    attempts: list[list[str]] = []
    kills = 0
    while kills < options.kills:
        # Some fall into the start, most into a trial or between two.
        after = moments.uniform(0, seconds / 5)
        code, lines = run(disturbed, after)
        attempts.append(lines)
        if code != -signal.SIGKILL:
            print(f"the sweep had ended before its kill number {kills + 1}: exit code {code}")
            break
        kills += 1
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        print(f"kill {kills:2} after {after:5.1f} s, last line: {last[:80]}", flush=True)
    started = time.perf_counter()
    code, lines = run(disturbed, None)
    attempts.append(lines)
    print(f"the last attempt: exit code {code}, {time.perf_counter() - started:.0f} s")

    expected, found = sweep_records(whole), sweep_records(disturbed)
    problems = mlflow_problems(disturbed, found)
    if code != 0:
        problems.append(f"exit code {code}")
    statuses = Counter(record.status for record in found.values())
    if statuses != {"finished": TRIALS}:
        problems.append(f"trials by status: {dict(statuses)}")
    counts = sum((computed(lines, found) for lines in attempts), Counter())
    again = {key: times for key, times in counts.items() if times > 1}
    problems += [f"{stage} was computed {times} times" for (stage, _), times in again.items()]
    figures = 0
    for number, record in found.items():
        compared = compare_figures(expected[number], record)
        figures += len(compared)
        problems += [
            f"trial {number}, {figure.name}: {figure.original} became {figure.rerun}"
            for figure in compared
            if not figure.is_equal
        ]
    continued = sum(bool(record.resumed) for record in found.values())
    print(
        f"{kills} kills; {len(counts)} stages computed to their end, {len(again)} of them twice; "
        f"{continued} trainings went on from a checkpoint; {figures} figures compared"
    )
    print("\n".join(problems) or "all as in the undisturbed sweep")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
