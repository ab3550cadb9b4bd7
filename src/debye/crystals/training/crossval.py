"""Cross-validation whose networks become the ensemble.

    found = cross_validate("DATA.csv", ["density.toml"], "RUN")
    found.summary["mse_max1"]["mean"]

RUN/fold-1/density …       a `TrainingRun` of each config for each fold
RUN/ensemble.safetensors   all of them together
RUN/out-of-fold.safetensors  what the networks of a fold say of the rows left out of it

Every row is predicted by networks that never saw it, so one set of trainings gives the
cross-validated error, what calibrates the uncertainty, and an ensemble that has seen every row.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from debye.core import checkpoint
from debye.core.files import folder, read_toml
from debye.crystals.data.dataset import Split, read_labelled, read_split, write_split
from debye.crystals.data.dataset import folds as make_folds
from debye.crystals.data.force_constants import LatticeLabel, read_force_constants
from debye.crystals.data.labels import Collection
from debye.crystals.model.ensemble import Ensemble, upgraded
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.model_files import TAUGHT, TAUGHT_BEYOND, model_card
from debye.crystals.structure_io.read import FailedInput
from debye.crystals.training.begun import read_beginning, settings_of, taught_beyond
from debye.crystals.training.config import Settings
from debye.crystals.training.examples import connected, fingerprint
from debye.crystals.training.out_of_fold import (
    OutOfFold,
    calibrated,
    left_out,
    left_out_modes,
    over_folds,
    save_out_of_fold,
)
from debye.crystals.training.run import (
    FINAL,
    SPLIT,
    check_same,
    clear,
    holds_run,
)
from debye.crystals.uncertainty.conformal import LEAST_ROWS
from debye.errors import ComputationError, InputError

ENSEMBLE, OUT_OF_FOLD = "ensemble.safetensors", "out-of-fold.safetensors"
WATCH = 0.2
"""Seconds between looks at whether a stop is wanted, while a process trains."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What `cross_validate` did.

    Args:
        rows: The labelled crystals, in the order of the predictions.
        left_out: What the networks of a fold say of the rows left out of it.
        model: The file of the ensemble of all of them.
        failed: Rows that could not be read, and why.
    """

    rows: Collection
    left_out: OutOfFold
    model: Path
    failed: tuple[FailedInput, ...]

    def __repr__(self) -> str:
        mse = self.summary["mse_max1"]
        folds = int(self.left_out.fold.max()) + 1
        errors = f"MSE {mse['mean']:.4g}, {mse['spread']:.2g} between the folds"
        return f"CrossValidation({len(self.rows)} rows, {folds} folds, {errors})"

    @cached_property
    def summary(self) -> dict[str, dict[str, float]]:
        """Every number of `evaluate.summary`: mean and standard deviation over the folds.

        Raises:
            InputError: The frequencies of the networks are not those of the labels.
        """
        return over_folds(self.left_out, self.rows)


def cross_validate(
    data: str | os.PathLike[str],
    configs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    force_constants: str | os.PathLike[str] | None = None,
    folds: int = 5,
    jobs: int = 1,
    begin: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    stopping: Callable[[], bool] = lambda: False,
    report: Callable[[str], None] = lambda line: None,
) -> CrossValidation:
    """Train a network for every fold and config, and keep them all as one ensemble.

    Each is an ordinary run of ``debye train`` in OUTPUT/fold-K/CONFIG, on the rows of the other
    folds. Then every row is predicted by the networks that never saw it: their errors are the
    result, and calibrate the ensemble. Called again, it keeps what is finished and goes on with
    what was interrupted.

    Args:
        data: Labelled crystals; see `read_collection`.
        configs: TOML files as for ``debye train``; their names name the runs.
        output: Folder of the runs.
        force_constants: Folder of those that are taught too; see `read_force_constants`.
        folds: Parts of the rows, each left out in turn.
        jobs: Trainings at a time, each a process of its own.
        begin: Folder of an earlier cross-validation of the same rows and folds, whose networks are
            trained on, each in its fold: what a fold leaves out stays new to them.
        overwrite: Begin anew where the folder holds other runs, which are lost.
        stopping: Asked now and then; once it says yes, the trainings at work write their
            checkpoints and end, and no other begins.
        report: Is told in words what goes on.

    Raises:
        InputError: The data or a config cannot be used, two configs have one name, or the folder
            cannot be written or holds runs with other settings or rows.
        ComputationError: Some training did not finish; the others are kept.
    """
    output, kinds = Path(output), _named(configs)
    begun = _beginnings(begin, folds, list(kinds))
    settings = list(map(settings_of, [*kinds.values()] * folds, begun))
    rows, failed = _usable(data, settings)
    for row in failed:
        report(f"left out: {row.error}")
    splits = make_folds(rows, folds)
    if begin is not None:
        _check_folds(Path(begin), splits)
    runs = list(_runs(folder(output), splits, kinds.values()))
    for (run, _, split), of_run in zip(runs, settings, strict=True):
        _prepare(run, of_run, rows, split, force_constants, overwrite=overwrite)
    words = (
        [str(data)]
        if force_constants is None
        else [str(data), "--force-constants", str(force_constants)]
    )
    _train_all(words, runs, begun, jobs, stopping, report)
    loaded = [load_final(run) for run, _, _ in runs]
    nets, size = [net for net, _ in loaded], len(kinds)
    of_fold = [nets[k : k + size] for k in range(0, len(nets), size)]
    found = left_out(rows, splits, of_fold)
    save_out_of_fold(output / OUT_OF_FOLD, found)
    held, model = rows.take(found.names), Ensemble.sharing(nets)
    labels: dict[str, LatticeLabel] = {}
    if force_constants is not None:
        labels, _ = read_force_constants(force_constants, held)
    facts = {"split": f"{folds} folds, each left out of some members"} | _taught(
        labels, held, begun
    )
    card = _card(model, held, [card for _, card in loaded], list(kinds), facts)
    if len(held) < LEAST_ROWS:
        report(f"not calibrated: {len(held)} rows are too few, {LEAST_ROWS} are needed")
    else:
        modes = left_out_modes(found, held, of_fold, labels) if labels else None
        card["calibration"] = calibrated(found, held, model, modes)
    checkpoint.save_model(output / ENSEMBLE, model, card)
    return CrossValidation(held, found, output / ENSEMBLE, failed)


def _named(configs: Sequence[str | os.PathLike[str]]) -> dict[str, Path]:
    """Config files by their names; refused now, not in the log of every training."""
    paths = {Path(config).stem: Path(config) for config in configs}
    if not configs or len(paths) < len(configs):
        why = f"{', '.join(Path(c).stem for c in configs)} name the runs"
        raise InputError(
            "two configs have one name" if configs else "there is no config",
            why=why if configs else "a config says what to train",
            fix="rename one" if configs else "give one or more",
        )
    for path in paths.values():
        Settings.from_tables(read_toml(path))
    return paths


def _usable(
    data: str | os.PathLike[str], settings: Sequence[Settings]
) -> tuple[Collection, tuple[FailedInput, ...]]:
    """The rows that every network can be shown, and the others."""
    rows, _, unread = read_labelled(data)
    cutoff = min(each.cutoff for each in settings)
    kept, _, alone = connected(rows, cutoff)
    return kept, (*unread, *alone)


def _card(
    model: Ensemble,
    rows: Collection,
    cards: Sequence[checkpoint.Card],
    kinds: Sequence[str],
    facts: Mapping[str, Any],
) -> checkpoint.Card:
    """The card of the ensemble: what its members have in common, and the settings of each kind."""
    return model_card(
        model,
        elements=sorted(rows.elements),
        data={**cards[0]["data"], **facts, "train_rows": len(rows), "valid_rows": 0},
        settings={k: card["settings"] for k, card in zip(kinds, cards, strict=False)},
    )


def _taught(
    labels: Mapping[str, LatticeLabel], rows: Collection, begun: Sequence[Path | None]
) -> dict[str, Any]:
    """What the members were taught of force constants, together and from their beginning."""
    others = {x.folded.crystal.formula for name, x in labels.items() if name not in rows.names}
    for first in filter(None, begun):
        others |= taught_beyond(read_beginning(first).facts)
    return {TAUGHT: len(labels), TAUGHT_BEYOND: sorted(others)} if labels else {}


def _runs(
    output: Path, splits: list[Split], configs: Iterable[Path]
) -> Iterator[tuple[Path, Path, Split]]:
    """Folder, config and split of every training."""
    for k, split in enumerate(splits, 1):
        for config in configs:
            yield output / f"fold-{k}" / config.stem, config, split


def _prepare(
    run: Path,
    settings: Settings,
    rows: Collection,
    split: Split,
    force_constants: str | os.PathLike[str] | None,
    *,
    overwrite: bool,
) -> None:
    """Write the split of a training beside it; refuse a folder that holds another one."""
    if overwrite:
        clear(run)
    elif holds_run(run):
        labels: dict[str, LatticeLabel] = {}
        if force_constants:
            labels, _ = read_force_constants(
                force_constants, rows, train=split["train"], valid=split["valid"]
            )
        held = {name: labels.pop(name) for name in split["valid"] if name in labels}
        check_same(
            run,
            settings,
            {
                "the training rows": fingerprint(rows.take(split["train"]), labels),
                "the validation rows": fingerprint(rows.take(split["valid"]), held),
            },
        )
    write_split(folder(run.parent) / SPLIT, split)


def _train_all(
    data: Sequence[str],
    runs: list[tuple[Path, Path, Split]],
    begun: list[Path | None],
    jobs: int,
    stopping: Callable[[], bool],
    report: Callable[[str], None],
) -> None:
    """Train what is not finished, so many at a time."""

    def train(run: tuple[Path, Path, Split], first: Path | None) -> bool:
        return _train(
            [*data, *(["--weights", str(first)] if first else [])], *run[:2], stopping, report
        )

    with ThreadPoolExecutor(jobs) as pool:
        finished = sum(pool.map(train, runs, begun))
    if unfinished := len(runs) - finished:
        raise ComputationError(
            f"{unfinished} of {len(runs)} trainings did not finish",
            why="they were interrupted or failed, as the logs beside them tell",
            fix="run again to go on; what is finished is kept",
        )


def _train(
    data: Sequence[str],
    run: Path,
    config: Path,
    stopping: Callable[[], bool],
    report: Callable[[str], None],
) -> bool:
    """Train one network, or go on with it, in a process that logs beside it; True if finished."""
    final = run / FINAL
    if final.exists():
        return True
    if stopping():
        return False
    split = run.parent / SPLIT
    words = ["train", *data, "--split", split, "--config", config, "--output", run]
    with run.with_suffix(".log").open("a") as log:
        code = _ended([sys.executable, "-m", "debye", *map(str, words)], log, stopping)
    report(f"{run}: {'finished' if final.exists() else f'exit code {code}, see {log.name}'}")
    return final.exists()  # a training that left rows out has an exit code of its own


def _ended(command: Sequence[str], log: IO[str], stopping: Callable[[], bool]) -> int:
    """The exit code of a process, which is asked to end once a stop is wanted.

    It stands in a session of its own, so that a Ctrl-C at the terminal reaches it once, from here:
    a second one would break it off before its checkpoint is written.
    """
    with subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process:
        while not stopping():
            with suppress(subprocess.TimeoutExpired):
                return process.wait(WATCH)
        process.terminate()
    return process.returncode


def _beginnings(
    given: str | os.PathLike[str] | None, folds: int, kinds: Sequence[str]
) -> list[Path | None]:
    """The model file that every training begins with, those of one fold after another."""
    if given is None:
        return [None] * (folds * len(kinds))
    found: list[Path | None] = []
    for k in range(1, folds + 1):
        fold = Path(given) / f"fold-{k}"
        files = {file.parent.name: file for file in sorted(fold.glob(f"*/{FINAL}"))}
        if not files:
            raise _no_beginning(given, f"there is no finished network in {fold}")
        missing = [kind for kind in kinds if kind not in files and len(files) > 1]
        if missing:
            raise _no_beginning(given, f"{fold} holds {', '.join(files)}, and no {missing[0]}")
        found += [files.get(kind, next(iter(files.values()))) for kind in kinds]
    return found


def _check_folds(given: Path, splits: list[Split]) -> None:
    """Refuse to begin with networks that have seen what they are to be tried on."""
    for k, split in enumerate(splits, 1):
        if set(read_split(given / f"fold-{k}" / SPLIT).get("valid", [])) != set(split["valid"]):
            why = f"its fold {k} left out other rows, so that not all would be new to a network"
            raise _no_beginning(given, why)


def _no_beginning(given: str | os.PathLike[str], why: str) -> InputError:
    return InputError(
        f"cannot begin with {given}",
        why=why,
        fix="give the folder of a finished `debye ensemble` with the same rows and folds",
    )


def load_final(folder: Path) -> tuple[PhononNet, checkpoint.Card]:
    """The network a finished run ended with.

    Raises:
        InputError: The run has not ended, or its file cannot be used.
    """
    if not (folder / FINAL).exists():
        raise InputError(
            f"the run {folder} is not finished", why=f"it holds no {FINAL}", fix="go on with it"
        )
    return checkpoint.load_model(folder / FINAL, PhononNet, upgrade=upgraded)
