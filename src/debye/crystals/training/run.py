"""Train a PhononNet on a Collection, in a folder that can always be resumed.

RUN/last.safetensors   everything needed to go on as if never stopped
RUN/best.safetensors   the model file of the best validation so far (averaged weights)
RUN/final.safetensors  the model file of the last epoch of all, which no row has chosen
RUN/metrics.csv        one row an epoch
RUN/split.csv          which rows were trained on, and which were not
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from debye.core import checkpoint
from debye.core.device import seeded
from debye.core.distributed import ALONE, ProcessGroup
from debye.core.files import atomic_write
from debye.core.training import Step, Training, check_unchanged
from debye.crystals.data.dataset import Split, write_split
from debye.crystals.data.force_constants import LatticeLabel
from debye.crystals.data.labels import Collection
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.model_files import TAUGHT, TAUGHT_BEYOND, model_card
from debye.crystals.training.begun import Beginning, check_beginning, taught_beyond
from debye.crystals.training.config import Settings
from debye.crystals.training.evaluate import spectrum_errors
from debye.crystals.training.examples import Examples, LabelledGraph
from debye.crystals.training.lattice_loss import rmse
from debye.errors import ComputationError, InputError


class Epoch(NamedTuple):
    """What is known at the end of an epoch."""

    epoch: int
    rate: float
    train_loss: float
    valid_loss: float
    valid_mse: float
    valid_mae: float
    valid_wasserstein: float
    valid_frequency: float | None
    """Median root mean square error of frequencies at the wave vectors of the labels, cm⁻¹; None
    where no row has force constants."""


LAST, BEST, FINAL = "last.safetensors", "best.safetensors", "final.safetensors"
KEPT = (LAST, BEST, FINAL)
METRICS, SPLIT = "metrics.csv", "split.csv"


class TrainingRun:
    """A training with its folder.

    Args:
        train: Rows to train on.
        valid: Rows to choose the best epoch by.
        folder: Where to keep the run; made if missing.
        settings: What to train and how.
        labels: Force constants by name, of the rows and of other crystals to train on.
        data: What the model's card shall say of the data; a resumed run says what it said before.
        split: Where the rows come from, to be kept in the folder.
        begin: A network whose weights to begin with; see `read_beginning`.
        resume: Go on from the folder's last checkpoint.
        overwrite: Begin anew where the folder holds another run, which is lost.
        device: Where to train.
        group: Processes that share every step's batch; the first alone writes into the folder.

    Attributes:
        failed: Rows left out because a site has no neighbour within the cutoff.
        history: What is known of each epoch behind.

    Raises:
        InputError: The folder holds another run, or nothing to resume, or cannot be written; or the
            run to resume had other settings, rows or weights to begin with; or these fit no such
            network; or a step has fewer crystals than there are
            processes, or these do not see the same data.
    """

    def __init__(
        self,
        train: Collection,
        valid: Collection,
        folder: Path,
        settings: Settings,
        *,
        labels: Mapping[str, LatticeLabel] | None = None,
        data: Mapping[str, Any] | None = None,
        split: Split | None = None,
        begin: Beginning | None = None,
        resume: bool = False,
        overwrite: bool = False,
        device: str = "cpu",
        group: ProcessGroup = ALONE,
    ) -> None:
        self.settings, self.folder, self.data = settings, folder, dict(data or {})
        self.group = group
        self.device = device
        labels = labels or {}
        held = {name: labels[name] for name in valid.names if name in labels}
        rest = {name: label for name, label in labels.items() if name not in held}
        self.examples = Examples.of(train, settings.cutoff, rest)
        self.held = Examples.of(valid, settings.cutoff, held)
        self.rows, self.valid = self.examples.rows, self.held.rows
        self.failed = [*self.examples.failed, *self.held.failed]
        self._check_batch()
        self.training = Training(self._network(begin), self._loss, settings.recipe, group)
        self.history: list[Epoch] = []
        self.losses: list[float] = []
        if resume:
            self._take_up()
        facts = {"the settings": repr(settings), "the checkpoint": str(self.training.step)}
        group.check_alike(facts | self._rows())
        if group.first and not resume:
            self._found(split or {"train": [*train.names], "valid": [*valid.names]}, overwrite)

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch; the rows left over at its end come in another one."""
        return max(1, len(self.examples) // self.settings.batch_size)

    @property
    def crystals_per_step(self) -> int:
        """The batch size, unless there are fewer rows."""
        return min(self.settings.batch_size, len(self.examples))

    def _check_batch(self) -> None:
        if self.crystals_per_step < self.group.size:
            raise InputError(
                f"cannot divide {self.crystals_per_step} crystals a step among"
                f" {self.group.size} processes",
                why="each needs one or more",
                fix="raise batch_size in the config, or start fewer processes",
            )

    def _loss(self, model: nn.Module, batch: LabelledGraph) -> dict[str, Tensor]:
        """The part of this process's crystals in the mean over the step's."""
        part = len(batch.target) / self.crystals_per_step
        return {name: part * term for name, term in self.settings.terms(model, batch).items()}

    @property
    def finished(self) -> bool:
        """Whether every epoch is behind."""
        return self.training.step >= self.settings.recipe.epochs * self.steps_per_epoch

    @property
    def best(self) -> Epoch:
        """The epoch of the lowest validation loss."""
        return min(self.history, key=lambda e: e.valid_loss)

    def _network(self, begin: Beginning | None) -> PhononNet:
        r_max = float(self.settings.network.get("r_max", 5.0))
        edges = sum(len(graph.within(r_max).center) for graph in self.examples.graphs)
        sites = sum(graph.n_sites for graph in self.examples.graphs)
        frequency = self.rows.spectra.frequency.tolist()
        asked = {"neighbours": round(edges / sites, 3), **self.settings.network}
        with seeded(self.settings.recipe.seed):
            network = PhononNet(frequency, **asked)
        if begin:
            check_beginning(begin.net, self.settings.network, frequency)
            network.load_state_dict(begin.net.state_dict())
            self.data["begun_with"] = begin.facts
        return network.to(self.device)

    def _found(self, split: Split, overwrite: bool) -> None:
        """Begin the folder: now, so that one that cannot be written costs no epoch."""
        if overwrite:
            clear(self.folder)
        elif holds_run(self.folder):
            held = next(name for name in KEPT if (self.folder / name).exists())
            raise _taken(self.folder, f"starting anew would overwrite its {held}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot make the folder {self.folder}",
                why=str(error),
                fix="choose another --output",
            ) from error
        write_split(self.folder / SPLIT, split)
        self.save()

    def _take_up(self) -> None:
        """Go on from the folder's last checkpoint."""
        card, tensors = _last(self.folder)
        check_unchanged("the config", _flat(card.get("settings", {})), _flat(asdict(self.settings)))
        check_unchanged("the data", card.get("rows", {}), self._rows())
        self.training.restore(card, tensors)
        now, then = (data.get("begun_with", {}) for data in (self.data, card["data"]))
        if now:
            check_unchanged("the beginning", *({"model": x.get("sha256")} for x in (then, now)))
        self.history = [Epoch(*row) for row in card["history"]]
        self.losses, self.data = card["losses"], card["data"]
        if self.group.first:  # a kill may have come between the checkpoint and this table
            atomic_write(self.folder / METRICS, _table(self.history))

    def _rows(self) -> dict[str, str]:
        """A fingerprint of what is trained on."""
        return {
            "the training rows": self.examples.checksum,
            "the validation rows": self.held.checksum,
        }

    def steps(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Step]:
        """Train, and keep the folder up to date at the end of every epoch.

        Args:
            stop: Asked after every step; once it says yes on any process, the run is saved and
                ends.

        Raises:
            InputError: The folder cannot be written any more.
            ComputationError: The loss or the weights are not finite; the folder stays as it was at
                the end of the last good epoch.
        """
        for step in self.training.run(self._batches, self.steps_per_epoch):
            if not step.rewound:
                self.losses.append(step.loss)
            if step.ends_epoch:
                self._end_epoch(step)
            yield step
            if self.group.any(stop()):
                self.save()
                return

    def _batches(self, epoch: int) -> Iterator[LabelledGraph]:
        """This process's part of the batches of an epoch: a pure function of seed and epoch."""
        seed, size = self.settings.recipe.seed, self.settings.batch_size
        order = np.random.default_rng((seed, epoch)).permutation(len(self.examples))
        frequency = self.rows.spectra.frequency
        for k in range(self.steps_per_epoch):
            index = order[k * size : (k + 1) * size].tolist()
            part = self.group.part(len(index))
            change = self.settings.varied(self.examples.target[index], frequency, (seed, epoch, k))
            batch = self.examples.batch(index[part])
            yield change.part(part).of(batch, frequency).to(self.device)

    def _end_epoch(self, step: Step) -> None:
        if not self.losses:
            raise _not_finite(step, "the loss of every step was not finite, or far off")
        model = self.averaged()
        self.history.append(self._validate(model, step, float(np.mean(self.losses))))
        self.losses = []
        if self.group.first:
            self._keep(model)

    def _keep(self, model: PhononNet) -> None:
        if self.best is self.history[-1]:
            checkpoint.save_model(self.folder / BEST, model, self._card(model))
        if self.finished:
            checkpoint.save_model(self.folder / FINAL, model, self._card(model))
        self.save()
        atomic_write(self.folder / METRICS, _table(self.history))

    def averaged(self) -> PhononNet:
        """The model with the moving average of the weights, ready to predict."""
        model = deepcopy(self.training.model)
        model.load_state_dict(self.training.average)
        return model.eval()  # type: ignore[return-value]

    @torch.no_grad()
    def _validate(self, model: PhononNet, step: Step, train_loss: float) -> Epoch:
        totals, loss, frequency = self._compared(model)
        density = totals[-1]
        if not bool(density.isfinite().all()):
            raise _not_finite(step, "the averaged weights predict numbers that are not finite")
        predicted = Spectrum(self.valid.spectra.frequency, density, self.valid.spectra.n_atoms)
        errors = spectrum_errors(predicted, self.valid.spectra)
        return Epoch(
            epoch=step.epoch + 1,
            rate=step.rate,
            train_loss=train_loss,
            valid_loss=loss,
            valid_mse=errors.mse.mean().item(),
            valid_mae=errors.mae.mean().item(),
            valid_wasserstein=errors.wasserstein.mean().item(),
            valid_frequency=frequency,
        )

    def _compared(self, model: PhononNet) -> tuple[Tensor, float, float | None]:
        """Totals (R, rows, F), the loss, and the median error of frequencies, held-out rows'."""
        totals, errors, lattice = [], [], 0.0
        for index in torch.arange(len(self.held)).split(64):
            batch = self.held.batch(index.tolist()).to(self.device)
            outputs, force_constants = model.all_heads(batch.graph)
            totals.append(batch.graph.totals(outputs).cpu())
            if batch.lesson and force_constants:
                terms = self.settings.lattice(force_constants, batch.lesson, all_q=True)
                lattice += float(sum(terms.values())) * len(index) / len(self.held)
                errors.append(rmse(force_constants, batch.lesson).cpu())
        found = torch.cat(totals, dim=1)
        density = self.settings.loss.of_head_outputs(
            model.heads, found, self.held.target, self.valid.spectra.weights
        )
        frequency = torch.cat(errors).median().item() if errors else None
        return found, float(sum(density.values())) + lattice, frequency

    def _card(self, model: PhononNet) -> dict[str, Any]:
        chosen = self.history[-1]
        taught = sum(label is not None for label in self.examples.taught)
        begun = self.data.get("begun_with", {})
        others = sorted({*self.examples.others, *taught_beyond(begun)})
        beyond = {TAUGHT: taught, TAUGHT_BEYOND: others} if taught else {}
        return model_card(
            model,
            elements=sorted({*self.rows.elements, *begun.get("elements", [])}),
            data={
                **self.settings.data,
                **self.data,
                "train_rows": len(self.rows),
                "valid_rows": len(self.valid),
                **beyond,
            },
            metrics={
                name: value
                for name, value in chosen._asdict().items()
                if name.startswith("valid_") and value is not None
            },
            settings=asdict(self.settings),
        )

    def save(self) -> None:
        """Write the last checkpoint, whole or not at all; the first process does.

        Raises:
            InputError: The file cannot be written there.
            ComputationError: The disk is full or failed while writing.
        """
        if not self.group.first:
            return
        numbers, tensors = self.training.state()
        numbers |= {
            "history": [list(epoch) for epoch in self.history],
            "losses": self.losses,
            "data": self.data,
            "settings": asdict(self.settings),
            "rows": self._rows(),
        }
        checkpoint.save(self.folder / LAST, numbers, tensors)


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a checkpoint or a model."""
    return any((folder / name).exists() for name in KEPT)


def clear(folder: Path) -> None:
    """Remove the run that a folder holds, and nothing else."""
    for name in (*KEPT, METRICS, SPLIT):
        (folder / name).unlink(missing_ok=True)


def check_same(folder: Path, settings: Settings, rows: Mapping[str, str] | None = None) -> None:
    """Refuse to go on with a run that is another one.

    Args:
        folder: It holds a run.
        settings: Those that the run must have been begun with.
        rows: Fingerprints of what it must be trained on (``the training rows``) and validated on
            (``the validation rows``); None to leave that to the run itself.

    Raises:
        InputError: The run has other settings or rows, or its checkpoint cannot be read.
    """
    card, _ = _last(folder)
    try:
        check_unchanged("the config", _flat(card.get("settings", {})), _flat(asdict(settings)))
        if rows is not None:
            check_unchanged("the data", card.get("rows", {}), rows)
    except InputError as error:
        raise _taken(folder, f"it is another one: {error.why}") from error


def _taken(folder: Path, why: str) -> InputError:
    return InputError(
        f"{folder} already holds a run",
        why=why,
        fix="repeat the command that began it, or add --resume, to go on; add --overwrite to begin "
        "anew; or choose another --output",
    )


def saved_settings(folder: Path) -> dict[str, Any]:
    """The settings a run was started with, as tables for `Settings.from_tables`.

    Raises:
        InputError: The folder holds no run.
    """
    return dict(_last(folder)[0].get("settings", {}))


def _last(folder: Path) -> tuple[checkpoint.Card, dict[str, Tensor]]:
    if not (folder / LAST).exists():
        raise InputError(
            f"there is no run to resume in {folder}",
            why=f"it holds no {LAST}",
            fix="name the folder of the run, or start one without --resume",
        )
    card, tensors = checkpoint.load(folder / LAST)
    if card["format"] < checkpoint.FORMAT:
        raise InputError(
            f"cannot go on with the run in {folder}",
            why="debye 0.1 began it, whose networks name their parts otherwise",
            fix="finish it with debye 0.1, or train anew; its best.safetensors can be used",
        )
    return card, tensors


def _flat(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by ``table.key``."""
    return {
        f"{name}.{key}" if isinstance(table, Mapping) else name: value
        for name, table in tables.items()
        for key, value in (table.items() if isinstance(table, Mapping) else [("", table)])
    }


def _not_finite(step: Step, why: str) -> ComputationError:
    return ComputationError(
        f"training stopped in epoch {step.epoch + 1}",
        why=why,
        fix="look for a broken row, or lower peak_rate; what was saved before stays good",
    )


def _table(history: list[Epoch]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Epoch._fields)
    writer.writerows(["" if x is None else f"{x:.8g}" for x in row] for row in history)
    return text.getvalue()
