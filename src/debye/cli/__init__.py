"""`debye VERB`: thin verbs over the public functions.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 bad usage or
input, 3 finished with some items failed, 130 interrupted.
"""

from __future__ import annotations

import io
import sys

import typer

from debye import __version__
from debye.cli import ensembles, judging, learning, speckle, spectra, study

app = typer.Typer(
    name="debye",
    help="Physics-guided machine learning for materials characterization.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"debye {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


spectra.register(app)
learning.register(app)
ensembles.register(app)
judging.register(app)
speckle.register(app)
study.register(app)


def main() -> None:
    """Entry point of the command ``debye``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold any bytes
    app()
