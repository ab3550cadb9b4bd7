"""Options of how a law is fitted to frames, and of what is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from debye.cli.paths import read_path

InstrumentToo = Annotated[
    bool | None,
    typer.Option(
        "--instrument/--no-instrument",
        help="Fit the instrument too, or take it as written.",
        show_default="of measured frames",
    ),
]
Likelihood = Annotated[
    str | None,
    typer.Option("--likelihood", help="poisson, amplitude, exact, squares or l1."),
]
StartError = Annotated[
    float | None,
    typer.Option(
        help="Fit first states too, whose numbers may be off by this, one standard deviation.",
        show_default="0: they are exact",
    ),
]
Measurements = Annotated[
    Path,
    typer.Option(
        "--candidates",
        callback=read_path,
        help="TOML with a table for each, or a file of frames, whose runs they are.",
        show_default=False,
    ),
]
Stretch = Annotated[
    int, typer.Option("--stretch", min=3, help="With --follow: frames that are fitted together.")
]
