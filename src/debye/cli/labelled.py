"""Labelled data as the verbs that learn and judge take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from debye.cli.common import complain, tell

if TYPE_CHECKING:
    from debye.crystals.data.split import Labelled
    from debye.crystals.structure_io.read import FailedInput

Data = Annotated[
    Path,
    typer.Argument(
        help="Labelled crystals: a CSV (mp_id, structure, phfreq, phdos) or phonopy folders.",
        show_default=False,
    ),
]
SplitFile = Annotated[
    Path | None, typer.Option("--split", help="CSV of mp_id and split (train, valid, test).")
]


def read_labelled(data: Path, split: Path | None) -> Labelled:
    """The usable rows and their split; the others are told on stderr."""
    from debye.crystals.data.split import read_labelled as read

    labelled = read(data, split)
    tell_failed(labelled.failed, len(labelled.rows))
    return labelled


def tell_failed(failed: Sequence[FailedInput], used: int) -> None:
    """Say on stderr which rows are left out and why."""
    for row in failed:
        complain(row.error)
    if failed:
        tell(f"{len(failed)} rows left out, {used} used")
