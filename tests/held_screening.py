"""`debye screen` whose workers stop, each before a shard, until a test lets them go on.

Shards from ``HELD_FROM`` on wait for somebody to open the pipe ``GATE``, as long as there is one.
"""

import os
import sys
from contextlib import suppress

from debye.crystals.screening import run
from debye.crystals.screening.worker import screen_shard as screen_at_once


def screen(job, shard):
    gate = os.environ["GATE"]
    if shard.number >= int(os.environ["HELD_FROM"]) and os.path.exists(gate):
        sys.stderr.write(f"worker {os.getpid()} holds shard {shard.number}\n")
        with suppress(FileNotFoundError), open(gate) as pipe:
            pipe.read()
    return screen_at_once(job, shard)


def main():
    from debye.cli import main

    run.screen_shard = screen
    main()
