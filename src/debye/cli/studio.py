"""The verb that opens the studio."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from debye.cli import options as opt
from debye.cli.console import show
from debye.errors import InputError


def studio(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Structures, screened folders and stacks of frames to open."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine need a token.")
    ] = "127.0.0.1",
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address and open nothing.")
    ] = False,
    model: opt.ModelFile = None,
) -> None:
    """Open the studio: crystals that vibrate and speckle that moves, on a page.

    Drop a structure on the page to see its spectrum, bands and modes; name
    stacks of frames to play and correlate them. Ctrl-C ends it.
    """
    try:
        from debye.studio.serve import serve
    except ImportError as error:
        raise InputError(
            "cannot open the studio",
            why=f"what it needs is not installed ({error})",
            fix="pip install 'debye[studio]'",
        ) from error

    def open_page(address: str) -> None:
        show(address)
        if not no_browser:
            webbrowser.open(address)

    given = [path.expanduser() for path in files or []]
    serve(given, host=host, port=port, model=None if model is None else str(model),
          open_page=open_page)  # fmt: skip
