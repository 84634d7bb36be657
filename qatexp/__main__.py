"""``python -m qatexp`` does what the console script does."""

from __future__ import annotations

from qatexp.cli import main

if __name__ == "__main__":
    main()
