"""The verb that trains many networks and puts them together: ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from debye.cli.common import DONE, SOME_FAILED, show, tell, to_json, verb
from debye.cli.labelled import Data


def register(app: typer.Typer) -> None:
    """Add the verb of this file to the command."""
    app.command()(verb(ensemble))


def ensemble(
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder of the runs.", show_default=False)],
    config: Annotated[
        list[Path], typer.Option(help="TOML file as for `debye train`; repeat for several kinds.")
    ],
    folds: Annotated[int, typer.Option(help="Parts of the rows, each left out in turn.")] = 5,
    jobs: Annotated[int, typer.Option(help="Trainings at a time.", min=1)] = 1,
) -> int:
    """Cross-validate, and keep the networks as an ensemble.

    For each fold and config a network is trained on the other folds, an
    ordinary run of `debye train` in OUTPUT/fold-K/CONFIG. Then every row is
    predicted by the networks that never saw it: their errors are told, and
    calibrate the uncertainty of the ensemble. Run again to go on: what is
    finished is kept, what was interrupted is resumed.
    """
    from debye.crystals.training.crossval import cross_validate

    found = cross_validate(data, config, output, folds=folds, jobs=jobs, report=tell)
    show(to_json(found.summary, indent=2))
    show(f"{found.model}")
    return SOME_FAILED if found.failed else DONE
