"""Cross-validation whose networks become the ensemble.

RUN/fold-1/density …       a `TrainingRun` of each config for each fold
RUN/ensemble.safetensors   all of them together
RUN/out-of-fold.safetensors  what the networks of a fold say of the rows left out of it

Every row is predicted by networks that never saw it, so one set of trainings gives the
cross-validated error, what calibrates the uncertainty, and an ensemble that has seen every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from debye.core import checkpoint
from debye.crystals.data.labels import Collection
from debye.crystals.data.split import Split
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.graph import Graph
from debye.crystals.model.ensemble import Ensemble
from debye.crystals.model.network import PhononNet
from debye.crystals.training import metrics
from debye.crystals.training.run import FINAL
from debye.crystals.uncertainty.calibration import calibrate
from debye.crystals.uncertainty.features import HeadOutputs
from debye.errors import InputError

ENSEMBLE, OUT_OF_FOLD = "ensemble.safetensors", "out-of-fold.safetensors"
AT_ONCE = 64
"""Crystals of a batch when predicting."""


@dataclass(frozen=True)
class OutOfFold:
    """What networks said of rows they never saw."""

    names: tuple[str, ...]
    fold: Tensor
    """(rows,) from 0."""
    kinds: tuple[str, ...]
    """The head of each output."""
    head_outputs: Tensor
    """(rows, R, F) total densities, 3 × the atoms."""
    answers: tuple[int, ...]
    """Which head_outputs are the answers of the networks."""

    def spectra(self, rows: Collection) -> Spectrum:
        """The mean answer for each row."""
        density = self.head_outputs[:, list(self.answers)].mean(1)
        return Spectrum(rows.spectra.frequency, density, rows.spectra.n_atoms)


@torch.no_grad()
def head_outputs_of(model: PhononNet | Ensemble, rows: Collection) -> Tensor:
    """Total densities that every head predicts, (rows, R, F), 3 × the atoms.

    Raises:
        InputError: A row has a site without neighbours.
    """
    parts = []
    for start in range(0, len(rows), AT_ONCE):
        crystals = rows.crystals[start : start + AT_ONCE]
        batch = Graph.batch([Graph.of(crystal, model.r_max) for crystal in crystals])
        parts.append(batch.totals(model.head_outputs(batch)).transpose(0, 1))
    return torch.cat(parts)


def left_out(
    rows: Collection, splits: Sequence[Split], nets: Sequence[Sequence[PhononNet]]
) -> OutOfFold:
    """Predict every row by the networks of its fold.

    Args:
        rows: Labelled crystals.
        splits: One a fold.
        nets: The networks of each fold, in one order of configs.
    """
    names: list[str] = []
    fold: list[int] = []
    head_outputs: list[Tensor] = []
    for k, (split, of_fold) in enumerate(zip(splits, nets, strict=True)):
        held = rows.take(split["valid"])
        head_outputs.append(torch.cat([head_outputs_of(net, held) for net in of_fold], dim=1))
        names += held.names
        fold += [k] * len(held)
    like = Ensemble.of(nets[0])
    return OutOfFold(
        tuple(names), torch.tensor(fold), like.kinds, torch.cat(head_outputs), tuple(like.answers)
    )


def summary(result: OutOfFold, rows: Collection) -> dict[str, dict[str, float]]:
    """Every number of ``debye evaluate``: the mean over the folds, and their standard deviation.

    Args:
        result: Predictions of rows left out.
        rows: Their labels, in the same order.
    """
    of_fold = []
    for k in result.fold.unique():
        held = rows.take(
            [name for name, f in zip(result.names, result.fold, strict=True) if f == k]
        )
        part = replace(result, head_outputs=result.head_outputs[result.fold == k])
        of_fold.append(metrics.summary(part.spectra(held), held.spectra))
    return {
        name: {"mean": mean(each), "spread": stdev(each)}
        for name in of_fold[0]
        for each in ([numbers[name] for numbers in of_fold],)
    }


def load_final(folder: Path) -> tuple[PhononNet, checkpoint.Card]:
    """The network a finished run ended with.

    Raises:
        InputError: The run has not ended, or its file cannot be used.
    """
    if not (folder / FINAL).exists():
        raise InputError(
            f"the run {folder} is not finished", why=f"it holds no {FINAL}", fix="go on with it"
        )
    return checkpoint.load_model(folder / FINAL, PhononNet)


def save_out_of_fold(path: Path, result: OutOfFold) -> None:
    """Keep the predictions of a cross-validation for `load_out_of_fold`."""
    card = {
        "names": list(result.names),
        "kinds": list(result.kinds),
        "answers": list(result.answers),
    }
    checkpoint.save(path, card, {"fold": result.fold, "head_outputs": result.head_outputs})


def load_out_of_fold(path: Path) -> OutOfFold:
    """Read what `save_out_of_fold` wrote.

    Raises:
        InputError: It is no such file.
    """
    card, tensors = checkpoint.load(path)
    if not {"names", "kinds", "answers"} <= card.keys():
        raise InputError(
            f"{path} holds no cross-validation",
            why="its card names no rows",
            fix="give the out-of-fold.safetensors of a `debye ensemble`",
        )
    return OutOfFold(
        tuple(card["names"]),
        tensors["fold"],
        tuple(card["kinds"]),
        tensors["head_outputs"],
        tuple(card["answers"]),
    )


def calibrated(result: OutOfFold, rows: Collection, model: Ensemble) -> dict[str, Any]:
    """The calibration of an ensemble by the rows that its members had left out, for its card.

    Args:
        result: What they said of the rows.
        rows: The rows, in the same order.
        model: The ensemble.

    Raises:
        InputError: There are fewer than 99 rows.
    """
    head_outputs = HeadOutputs(result.head_outputs, result.kinds, result.answers)
    calibration = calibrate(head_outputs, rows, cutoff=model.r_max)
    return calibration.to_card(checkpoint.fingerprint(model))
