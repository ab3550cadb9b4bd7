"""Train a PhononNet on a Collection, in a folder that can always be resumed.

RUN/last.safetensors   everything needed to go on as if never stopped
RUN/best.safetensors   the model file of the best validation so far (averaged weights)
RUN/metrics.csv        one row an epoch
RUN/split.csv          which rows were trained on
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from debye import checkpoint
from debye.crystals.dataset import Collection
from debye.crystals.graph import Graph
from debye.crystals.metrics import spectrum_errors
from debye.crystals.network import PhononNet
from debye.crystals.predictor import model_card
from debye.crystals.spectrum import Spectrum, trapezoid_weights
from debye.errors import Refusal
from debye.files import atomic_write
from debye.fit import Recipe, Step, Training


class LabelledGraph(NamedTuple):
    """A batch of crystals and their spectra in the max-1 view, (B, F)."""

    graph: Graph
    target: Tensor


@dataclass(frozen=True)
class DensityLoss:
    """How far a predicted density of states is from the labelled one; weights of three terms.

    With p and q the states per bin of prediction and label, each summing to 1:

    - kl: Σ q ln(q/p), which asks for the right weight in every bin;
    - cdf: mean |Σ_{j≤k} (p_j − q_j)|, the Wasserstein distance in units of the axis, which
      knows how far a peak is off;
    - mse: mean (p̂ − q̂)² of both scaled to a maximum of 1, the published measure.
    """

    kl: float = 1.0
    cdf: float = 2.0
    mse: float = 5.0

    def __call__(self, model: nn.Module, batch: LabelledGraph) -> dict[str, Tensor]:
        """Terms of the loss of a model on a batch, averaged over its crystals."""
        weights = trapezoid_weights(torch.tensor(model.frequency)).to(batch.target)
        return self.terms(model(batch.graph).total, batch.target, weights)

    def terms(self, density: Tensor, target: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Terms between densities (B, F) on a grid of trapezoid weights (F,)."""
        p, q = (_unit_sum(d * weights) for d in (density, target))
        kl = (torch.xlogy(q, q) - q * p.clamp_min(1e-12).log()).sum(-1)
        cdf = (p - q).cumsum(-1).abs().mean(-1)
        mse = (_unit_peak(density) - _unit_peak(target)).square().mean(-1)
        return {
            "kl": self.kl * kl.mean(),
            "cdf": self.cdf * cdf.mean(),
            "mse": self.mse * mse.mean(),
        }


def _unit_sum(x: Tensor) -> Tensor:
    return x / x.sum(-1, keepdim=True)


def _unit_peak(x: Tensor) -> Tensor:
    return x / x.amax(-1, keepdim=True)


@dataclass(frozen=True)
class Settings:
    """All that shapes a training: the tables of a config file, ``[network] [recipe] [loss]``.

    Attributes:
        network: Arguments of `PhononNet`.
        recipe: How long and how fast.
        loss: Weights of the terms.
        batch_size: Crystals a step.
    """

    network: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    loss: DensityLoss = field(default_factory=DensityLoss)
    batch_size: int = 16

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Settings:
        """Settings of a config file.

        Raises:
            Refusal: A table or a key is unknown, or a value has the wrong type.

        Example:
            >>> Settings.from_tables({"batch_size": 8, "recipe": {"epochs": 2}}).recipe.epochs
            2
        """
        _known(tables, [f.name for f in fields(cls)], "the config")
        network = dict(tables.get("network", {}))
        _known(network, NETWORK_ARGUMENTS, "[network]")
        for name, kind in (("recipe", Recipe), ("loss", DensityLoss)):
            _known(tables.get(name, {}), [f.name for f in fields(kind)], f"[{name}]")
        try:
            return cls(
                network=network,
                recipe=Recipe(**tables.get("recipe", {})),
                loss=DensityLoss(**tables.get("loss", {})),
                batch_size=int(tables.get("batch_size", 16)),
            )
        except (TypeError, ValueError) as error:
            raise Refusal(
                "cannot use the config", why=str(error), fix="compare it with the README's example"
            ) from error


NETWORK_ARGUMENTS = (
    "channels", "layers", "l_max", "r_max", "basis", "hidden", "dropout"
)  # fmt: skip
"""What a config may say of the network; its grid and mean neighbours come from the data."""


def _known(table: Mapping[str, Any], names: Any, where: str) -> None:
    for key in table:
        if key not in names:
            raise Refusal(
                f"unknown key {key!r} in {where}",
                why="a misspelt setting would silently do nothing",
                fix=f"use one of {', '.join(names)}",
            )


class Epoch(NamedTuple):
    """What is known at the end of an epoch."""

    epoch: int
    rate: float
    train_loss: float
    valid_loss: float
    valid_mse: float
    valid_mae: float
    valid_wasserstein: float


class TrainingRun:
    """A training with its folder.

    Args:
        train: Rows to learn from.
        valid: Rows to choose the best epoch by.
        folder: Where to keep the run; made if missing.
        settings: What to train and how.
        data: What the model's card shall say of the data.
        resume: Go on from the folder's last checkpoint.
        device: Where to train.

    Raises:
        Refusal: The folder holds another run, or nothing to resume, or cannot be written.
    """

    def __init__(
        self,
        train: Collection,
        valid: Collection,
        folder: Path,
        settings: Settings,
        *,
        data: Mapping[str, Any] | None = None,
        resume: bool = False,
        device: str = "cpu",
    ) -> None:
        self.settings, self.folder, self.data = settings, folder, dict(data or {})
        self.rows, self.valid, self.device = train, valid, device
        reach = settings.network.get("r_max", 5.0)
        self.graphs = [Graph.of(c, reach) for c in train.crystals]
        self.valid_graphs = [Graph.of(c, reach) for c in valid.crystals]
        self.training = Training(self._network(), settings.loss, settings.recipe)
        self.history: list[Epoch] = []
        self._open(resume)

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch; the rows left over at its end come in another one."""
        return max(1, len(self.graphs) // self.settings.batch_size)

    @property
    def best(self) -> Epoch:
        """The epoch of the lowest validation loss."""
        return min(self.history, key=lambda e: e.valid_loss)

    def _network(self) -> PhononNet:
        edges, sites = (
            sum(n) for n in zip(*((len(g.center), g.n_sites) for g in self.graphs), strict=True)
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.settings.recipe.seed)
            frequency = self.rows.spectra.frequency.tolist()
            network = PhononNet(
                frequency, neighbours=round(edges / sites, 3), **self.settings.network
            )
        return network.to(self.device)

    def _open(self, resume: bool) -> None:
        last = self.folder / "last.safetensors"
        if resume:
            card, tensors = checkpoint.load(last)
            self.training.restore(card, tensors)
            self.history = [Epoch(*row) for row in card["history"]]
            return
        if last.exists():
            raise Refusal(
                f"{self.folder} already holds a run",
                why="starting anew would overwrite its checkpoints",
                fix="add --resume to go on with it, or choose another --output",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refusal(
                f"cannot make the folder {self.folder}",
                why=str(error),
                fix="choose another --output",
            ) from error
        self.save()  # now, not after the first epoch: a folder that cannot be written costs nothing

    def steps(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Step]:
        """Train, and keep the folder up to date at the end of every epoch.

        Args:
            stop: Asked after every step; once it says yes, the run is saved and ends.
        """
        losses: list[float] = []
        for step in self.training.run(self._batches, self.steps_per_epoch):
            losses.append(step.loss)
            if step.ends_epoch:
                self._end_epoch(step, float(np.mean(losses)))
                losses.clear()
            yield step
            if stop():
                self.save()
                return

    def _batches(self, epoch: int) -> Iterator[LabelledGraph]:
        """The batches of an epoch: a pure function of seed and epoch."""
        order = np.random.default_rng((self.settings.recipe.seed, epoch)).permutation(
            len(self.graphs)
        )
        size = self.settings.batch_size
        for k in range(self.steps_per_epoch):
            yield _batch(self.graphs, self.rows, order[k * size : (k + 1) * size], self.device)

    def _end_epoch(self, step: Step, train_loss: float) -> None:
        model = self.averaged()
        self.history.append(self._validate(model, step, train_loss))
        if self.best is self.history[-1]:
            checkpoint.save_model(self.folder / "best.safetensors", model, self._card(model))
        self.save()
        atomic_write(self.folder / "metrics.csv", _table(self.history))

    def averaged(self) -> PhononNet:
        """The model with the moving average of the weights, ready to predict."""
        model = deepcopy(self.training.model)
        model.load_state_dict(self.training.average)
        return model.eval()  # type: ignore[return-value]

    @torch.no_grad()
    def _validate(self, model: PhononNet, step: Step, train_loss: float) -> Epoch:
        parts = [
            _batch(self.valid_graphs, self.valid, rows, self.device)
            for rows in np.array_split(np.arange(len(self.valid)), max(1, len(self.valid) // 64))
        ]
        density = torch.cat([model(part.graph).total for part in parts]).cpu()
        loss = self.settings.loss.terms(
            density, self.valid.spectra.density, self.valid.spectra.weights
        )
        predicted = Spectrum(self.valid.spectra.frequency, density, self.valid.spectra.n_atoms)
        errors = spectrum_errors(predicted, self.valid.spectra)
        return Epoch(
            epoch=step.epoch + 1,
            rate=step.rate,
            train_loss=train_loss,
            valid_loss=float(sum(loss.values())),
            valid_mse=errors.mse.mean().item(),
            valid_mae=errors.mae.mean().item(),
            valid_wasserstein=errors.wasserstein.mean().item(),
        )

    def _card(self, model: PhononNet) -> dict[str, Any]:
        chosen = self.history[-1]
        return model_card(
            model,
            elements=sorted(self.rows.elements),
            data={**self.data, "train_rows": len(self.rows), "valid_rows": len(self.valid)},
            metrics={k: v for k, v in chosen._asdict().items() if k.startswith("valid_")},
            settings=asdict(self.settings),
        )

    def save(self) -> None:
        """Write the last checkpoint, whole or not at all."""
        numbers, tensors = self.training.state()
        numbers["history"] = [list(epoch) for epoch in self.history]
        checkpoint.save(self.folder / "last.safetensors", numbers, tensors)


def _batch(graphs: list[Graph], rows: Collection, index: np.ndarray, device: str) -> LabelledGraph:
    graph = Graph.batch([graphs[i] for i in index])
    return LabelledGraph(graph.to(device), rows.spectra.density[index].to(device))


def _table(history: list[Epoch]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Epoch._fields)
    writer.writerows([f"{x:.8g}" for x in row] for row in history)
    return text.getvalue()
