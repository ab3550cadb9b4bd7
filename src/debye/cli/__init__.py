"""`debye VERB`: thin verbs over the public functions.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 bad usage or
input, 3 finished with some items failed, 130 interrupted.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command ``debye``."""
    if sys.argv[1:] == ["--version"]:  # at once, before anything is loaded
        from debye import __version__
        from debye.cli.console import show

        show(f"debye {__version__}")
        return
    from debye.cli.command import run

    run()
