"""What a path on the command line means: ``~`` is the home folder, and ``-`` is stdin."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TypeVar

import typer

STDIN = "-"
"""The file name that means stdin."""

Paths = TypeVar("Paths", Path, list[Path], None)


def expanded(paths: Paths) -> Paths:
    """What is written or loaded: a path, several or none."""
    if isinstance(paths, list):
        return [path.expanduser() for path in paths]
    return paths and paths.expanduser()


def read_path(context: typer.Context, path: Path | None) -> Path | None:
    """What is read: stdin is kept in a file for as long as the verb works."""
    if path != Path(STDIN) or context.resilient_parsing:  # no reading to complete a command
        return path and path.expanduser()
    folder = tempfile.TemporaryDirectory(prefix="debye-")
    context.call_on_close(folder.cleanup)
    kept = Path(folder.name, "stdin")
    kept.write_bytes(sys.stdin.buffer.read())
    return kept
