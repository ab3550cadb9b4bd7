"""`debye VERB`: thin verbs over the public functions.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 bad usage or
input, 3 finished with some items failed, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Entry point of the command ``debye``."""
    for number in (signal.SIGINT, signal.SIGTERM):  # at once, before anything is loaded
        signal.signal(number, lambda *_: (os.write(2, b"interrupted\n"), os._exit(130)))
    os.environ.pop("MPLBACKEND", None)  # a notebook's, which need not exist here; none is used
    if sys.argv[1:] == ["--version"]:
        from debye import __version__
        from debye.cli.console import show

        show(f"debye {__version__}")
        return
    from debye.cli.command import run

    run()
