"""Labelled data as the verbs that learn and judge take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from debye.cli.common import complain, tell

if TYPE_CHECKING:
    from debye.crystals.data.labels import Collection
    from debye.crystals.data.split import Split
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


def read_labelled(data: Path, split: Path | None) -> tuple[Collection, list[FailedInput], Split]:
    """The usable rows, the others, which are told on stderr, and the split without those."""
    from debye.crystals.data.dataset import read_collection
    from debye.crystals.data.split import read_split

    collection, failed = read_collection(data)
    tell_failed(failed, len(collection))
    lost = {row.source for row in failed} - set(collection.names)
    parts = read_split(split) if split else {}
    kept = {part: [n for n in names if n not in lost] for part, names in parts.items()}
    return collection, failed, kept


def tell_failed(failed: list[FailedInput], used: int) -> None:
    """Say on stderr which rows are left out and why."""
    for row in failed:
        complain(row.error)
    if failed:
        tell(f"{len(failed)} rows left out, {used} used")
