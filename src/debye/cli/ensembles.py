"""The verb that trains many networks and puts them together: ensemble."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from debye.cli.common import DONE, FAILED, SOME_FAILED, folder, read_toml, show, tell, to_json, verb
from debye.cli.labelled import Data, read_labelled
from debye.errors import InputError

if TYPE_CHECKING:
    from debye.crystals.data.split import Split


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
    from debye.core import checkpoint
    from debye.crystals.data.split import folds as make_folds
    from debye.crystals.model.ensemble import Ensemble
    from debye.crystals.predict.predictor import model_card
    from debye.crystals.training import crossval
    from debye.crystals.training.config import Settings
    from debye.crystals.uncertainty.conformal import LEAST_ROWS

    kinds = [path.stem for path in config]
    if len(set(kinds)) < len(kinds):
        raise InputError(
            "two configs have one name", why=f"{', '.join(kinds)} name the runs", fix="rename one"
        )
    for path in config:
        Settings.from_tables(read_toml(path))  # refused now, not in the log of every training
    rows, _, failed = read_labelled(data, None)
    splits = make_folds(rows, folds)
    runs = list(_runs(folder(output), splits, config))
    with ThreadPoolExecutor(jobs) as pool:
        unfinished = [
            run
            for run, code in zip(runs, pool.map(lambda r: _train(data, *r), runs), strict=True)
            if code
        ]
    if unfinished:
        tell(f"{len(unfinished)} of {len(runs)} trainings did not finish; run again to go on")
        return FAILED
    loaded = [crossval.load_final(run) for run, _ in runs]
    nets = [net for net, _ in loaded]
    per_fold = [nets[k : k + len(config)] for k in range(0, len(nets), len(config))]
    left_out = crossval.left_out(rows, splits, per_fold)
    crossval.save_out_of_fold(output / crossval.OUT_OF_FOLD, left_out)
    model = Ensemble.of(nets)
    facts = {
        "data": {
            **loaded[0][1]["data"],
            "split": f"{folds} folds, each left out of some members",
            "train_rows": len(rows),
            "valid_rows": 0,
        },
        "settings": {
            kind: card["settings"] for kind, (_, card) in zip(kinds, loaded, strict=False)
        },
    }
    judged = rows.take(left_out.names)
    card = model_card(model, elements=sorted(rows.elements), **facts)
    if len(judged) < LEAST_ROWS:
        tell(f"not calibrated: {len(judged)} rows are too few, {LEAST_ROWS} are needed")
    else:
        card["calibration"] = crossval.calibrated(left_out, judged, model)
    checkpoint.save_model(output / crossval.ENSEMBLE, model, card)
    show(to_json(crossval.summary(left_out, judged), indent=2))
    show(f"{output / crossval.ENSEMBLE}")
    return SOME_FAILED if failed else DONE


def _runs(output: Path, splits: list[Split], configs: list[Path]) -> Iterator[tuple[Path, Path]]:
    """Folder and config of every training; its split is written beside it."""
    from debye.crystals.data.split import write_split

    for k, split in enumerate(splits, 1):
        fold = folder(output / f"fold-{k}")
        write_split(fold / "split.csv", split)
        for config in configs:
            yield fold / config.stem, config


def _train(data: Path, run: Path, config: Path) -> int:
    """Train one network, or go on with it; its messages go to a log beside it."""
    from debye.crystals.training.run import FINAL, LAST

    if (run / FINAL).exists():
        return DONE
    command = [sys.executable, "-m", "debye", "train", str(data), "--output", str(run)]
    going_on = (run / LAST).exists()
    command += (
        ["--resume"]
        if going_on
        else ["--split", str(run.parent / "split.csv"), "--config", str(config)]
    )
    with run.with_suffix(".log").open("a") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    tell(f"{run}: {'finished' if code == DONE else f'exit code {code}, see {log.name}'}")
    return code
