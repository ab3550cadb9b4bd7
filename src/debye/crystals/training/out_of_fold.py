"""What networks say of rows they never saw: errors of a cross-validation, and its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor

from debye.core import checkpoint
from debye.crystals.data.dataset import Split
from debye.crystals.data.force_constants import LatticeLabel
from debye.crystals.data.labels import Collection
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.graph import Graph
from debye.crystals.lattice.force_constants import frequencies, mean_force_constants
from debye.crystals.model.ensemble import Ensemble, head_of_today
from debye.crystals.model.network import PhononNet
from debye.crystals.training.evaluate import summary
from debye.crystals.uncertainty.calibration import calibrate
from debye.crystals.uncertainty.features import HeadOutputs
from debye.crystals.uncertainty.modes import FoundModes
from debye.errors import InputError

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
        batch = Graph.batch([Graph.of(crystal, model.cutoff) for crystal in crystals])
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

    Raises:
        InputError: A row is in no fold's data, or has a site without neighbours.
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


@torch.no_grad()
def left_out_modes(
    result: OutOfFold,
    rows: Collection,
    nets: Sequence[Sequence[PhononNet]],
    labels: Mapping[str, LatticeLabel],
) -> dict[int, FoundModes]:
    """Frequencies of the rows with known force constants, by the networks of their fold.

    Args:
        result: Which fold each row is in.
        rows: The rows, in the same order.
        nets: The networks of each fold; of those that predict force constants, the mean counts.
        labels: Force constants by name.

    Raises:
        InputError: A row has a site without neighbours.
    """
    found: dict[int, FoundModes] = {}
    able = [[net for net in of_fold if net.force_constant_head] for of_fold in nets]
    for row, (name, fold) in enumerate(zip(result.names, result.fold.tolist(), strict=True)):
        label = labels.get(name)
        if label is None or not able[fold]:
            continue
        members = [
            net.force_constants(Graph.of(rows.crystals[row], net.cutoff)) for net in able[fold]
        ]
        D = mean_force_constants(members).dynamical_matrix(label.q.unsqueeze(0))
        each = (
            frequencies(square).flatten() for square in (torch.linalg.eigvalsh(D), label.square)
        )
        found[row] = FoundModes(*each)
    return found


def over_folds(result: OutOfFold, rows: Collection) -> dict[str, dict[str, float]]:
    """Every number of ``debye evaluate``: the mean over the folds, and their standard deviation.

    Args:
        result: Predictions of rows left out.
        rows: Their labels, in the same order.

    Raises:
        InputError: The frequencies of the networks are not those of the labels.
    """
    of_fold = []
    for k in result.fold.unique():
        held = rows.take(
            [name for name, f in zip(result.names, result.fold, strict=True) if f == k]
        )
        part = replace(result, head_outputs=result.head_outputs[result.fold == k])
        of_fold.append(summary(part.spectra(held), held.spectra))
    return {
        name: {"mean": mean(each), "spread": stdev(each)}
        for name in of_fold[0]
        for each in ([numbers[name] for numbers in of_fold],)
    }


def save_out_of_fold(path: Path, result: OutOfFold) -> None:
    """Keep the predictions of a cross-validation for `load_out_of_fold`.

    Raises:
        InputError: The file cannot be written there.
        ComputationError: The disk is full or failed while writing.
    """
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
        tuple(head_of_today(kind) for kind in card["kinds"]),
        tensors["readings" if card["format"] == 1 else "head_outputs"],
        tuple(card["answers"]),
    )


def calibrated(
    result: OutOfFold,
    rows: Collection,
    model: Ensemble,
    modes: Mapping[int, FoundModes] | None = None,
) -> dict[str, Any]:
    """The calibration of an ensemble by the rows that its members had left out, for its card.

    Args:
        result: What they said of the rows.
        rows: The rows, in the same order.
        model: The ensemble.
        modes: Their frequencies, see `left_out_modes`.

    Raises:
        InputError: There are fewer than 99 rows.
    """
    head_outputs = HeadOutputs(result.head_outputs, result.kinds, result.answers)
    calibration = calibrate(head_outputs, rows, cutoff=model.cutoff, modes=modes)
    return calibration.to_card(checkpoint.fingerprint(model))
