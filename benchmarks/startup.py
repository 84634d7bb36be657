"""How long a user waits for help and for an error message: medians of whole commands.

python benchmarks/startup.py [REPEATS]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "help": ["--help"],
    "one wrong value": ["qconfig.bits=9"],
    "one wrong point of 200": [
        "-m",
        "qconfig.bits=8,4,3,2,9",
        "schedule.qat.lr_scale=" + ",".join(str(i / 10) for i in range(1, 9)),
        "seed=0,1,2,3,4",
    ],
}


def main() -> None:
    """Time each command in turns in an empty folder."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    executable = str(Path(sys.executable).with_name("qatexp"))
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for name, arguments in COMMANDS.items():
                started = time.perf_counter()
                command = [executable, *arguments]
                subprocess.run(command, cwd=folder, capture_output=True, check=False)
                seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        print(f"{name:24} median {statistics.median(values):.2f} s, worst {max(values):.2f} s")


if __name__ == "__main__":
    main()
