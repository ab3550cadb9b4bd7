"""Parsl's interchange, which ends when the run that started it does, killed or not.

    python -m debye.crystals.screening.interchange

By itself it would go on, its workers waiting for tasks until their allocation ends.
"""

from __future__ import annotations

import os
import runpy
import time
from threading import Thread


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Run the interchange, in a process whose parent is the run."""
    Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")


if __name__ == "__main__":
    main()
