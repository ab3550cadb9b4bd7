"""The training loop: a generator of Steps that knows a model, its batches and a loss callable.

    for step in training.run(batches, steps_per_epoch):
        if step.ends_epoch: validate, save training.state(), draw a curve …

Everything random in a step is a pure function of (seed, step) and the learning rate is a pure
function of the step, so a run resumed from any saved step goes on exactly as if it had never
stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from itertools import islice
from math import cos, isfinite, pi
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from debye.errors import Failure, Refusal

Batch = TypeVar("Batch")
Loss = Callable[[nn.Module, Batch], Mapping[str, Tensor]]
"""Model and batch → named terms, whose sum is minimised."""


@dataclass(frozen=True)
class Recipe:
    """How to train; every field can stand in a config file.

    Attributes:
        epochs: Passes over the data.
        peak_rate: Highest learning rate of the one-cycle schedule.
        warmup: Share of the steps in which the rate rises.
        weight_decay: Decoupled weight decay (AdamW).
        clip: Largest norm of the gradient; a longer one is scaled down to it.
        average: Decay per step of the exponential moving average of the weights.
        spike: A loss above this multiple of its running mean rewinds to the last good weights
            at half the rate; ``inf`` leaves only losses that are not finite to do so.
        rewinds: Rewinds before giving up.
        seed: Seed of everything random.
    """

    epochs: int = 36
    peak_rate: float = 5e-3
    warmup: float = 0.3
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.995
    spike: float = float("inf")
    rewinds: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise Refusal(
                f"cannot train for {self.epochs} epochs",
                why="nothing would be learned",
                fix="ask for 1 or more",
            )
        if self.peak_rate <= 0:
            raise Refusal(
                f"peak_rate is {self.peak_rate}",
                why="a step needs a positive learning rate",
                fix="try 5e-3",
            )


@dataclass(frozen=True)
class Step:
    """What one step of training did."""

    step: int
    """Steps done, this one included."""
    epoch: int
    """Epoch it belongs to, from 0."""
    ends_epoch: bool
    loss: float
    terms: dict[str, float]
    rate: float
    """Learning rate."""
    gradient: float
    """Norm of the gradient before clipping."""
    rewound: bool = False
    """The loss was not finite or spiked, and the last good weights were taken up again."""


def one_cycle(done: float, peak: float, warmup: float = 0.3) -> float:
    """One-cycle learning rate (Smith & Topin 2019): a cosine up to ``peak``, a cosine down to 0.

    Args:
        done: Share of the training behind, 0 … 1.
        peak: Highest rate.
        warmup: Share in which the rate rises, from peak/25.

    Example:
        >>> [round(one_cycle(x, 1.0), 2) for x in (0.0, 0.3, 1.0)]
        [0.04, 1.0, 0.0]
    """
    if done < warmup:
        return peak * (0.04 + 0.96 * (1 - cos(pi * done / warmup)) / 2)
    return peak * (1 + cos(pi * (done - warmup) / (1 - warmup))) / 2


@dataclass
class Snapshot:
    """The last good weights, to rewind to."""

    model: dict[str, Tensor]
    optimizer: dict[str, Any]


@dataclass
class Training(Generic[Batch]):
    """A model on its way through a recipe.

    Args:
        model: Trained in place.
        loss: Model and batch → named terms, whose sum is minimised.
        recipe: How to train.

    Example:
        >>> line = nn.Linear(1, 1)
        >>> x = torch.linspace(-1, 1, 8).unsqueeze(-1)
        >>> training = Training(
        ...     line,
        ...     lambda model, batch: {"mse": (model(batch) - 2 * batch).square().mean()},
        ...     Recipe(epochs=200, peak_rate=0.1, weight_decay=0.0),
        ... )
        >>> *_, last = training.run(lambda epoch: [x], steps_per_epoch=1)
        >>> last.loss < 1e-4
        True
    """

    model: nn.Module
    loss: Loss[Batch]
    recipe: Recipe
    step: int = 0
    rate_scale: float = 1.0
    mean_loss: float | None = None
    average: dict[str, Tensor] = field(init=False)
    """The moving average of the weights, by name: what to validate, save and ship."""

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.recipe.peak_rate, weight_decay=self.recipe.weight_decay
        )
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def run(
        self, batches: Callable[[int], Iterable[Batch]], steps_per_epoch: int
    ) -> Iterator[Step]:
        """Train from the step it stands at to the end of the recipe.

        Args:
            batches: Epoch → its batches; must give the same ones whenever asked.
            steps_per_epoch: How many there are.

        Raises:
            Failure: The loss stayed not finite through every rewind.
        """
        total = self.recipe.epochs * steps_per_epoch
        snapshot, rewinds = self._snapshot(), 0
        while self.step < total:
            epoch, begun = divmod(self.step, steps_per_epoch)
            for batch in islice(batches(epoch), begun, None):
                rate = self.rate_scale * one_cycle(
                    self.step / total, self.recipe.peak_rate, self.recipe.warmup
                )
                step = self._advance(batch, epoch, rate, (self.step + 1) % steps_per_epoch == 0)
                if step.rewound:
                    rewinds += 1
                    self._rewind(snapshot, rewinds, step.loss)
                yield step
            if rewinds == 0 or self._healthy():
                snapshot = self._snapshot()

    def _advance(self, batch: Batch, epoch: int, rate: float, ends_epoch: bool) -> Step:
        """One step; where the loss is bad, nothing is changed but the count."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
            terms = self.loss(self.model, batch)
            loss = torch.stack(list(terms.values())).sum()
            loss.backward()
        gradient = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip).item()
        value = loss.item()
        bad = not (isfinite(value) and isfinite(gradient)) or self._spikes(value)
        self.step += 1
        if not bad:
            self._take(rate)
            mean = value if self.mean_loss is None else self.mean_loss
            self.mean_loss = 0.98 * mean + 0.02 * value
        numbers = {k: v.item() for k, v in terms.items()}
        return Step(self.step, epoch, ends_epoch, value, numbers, rate, gradient, rewound=bad)

    def _take(self, rate: float) -> None:
        """Step the optimiser and the moving average."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        # A short memory at first, so that the average does not remember the initial weights.
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
                else:
                    self.average[name].copy_(value)

    def _spikes(self, loss: float) -> bool:
        return self.mean_loss is not None and loss > self.recipe.spike * self.mean_loss

    def _healthy(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.model.parameters())

    def _snapshot(self) -> Snapshot:
        return Snapshot(deepcopy(self.model.state_dict()), deepcopy(self.optimizer.state_dict()))

    def _rewind(self, snapshot: Snapshot, rewinds: int, loss: float) -> None:
        if rewinds > self.recipe.rewinds:
            raise Failure(
                f"training stopped at step {self.step}: the loss is {loss:g}",
                why=f"it stayed bad through {self.recipe.rewinds} rewinds, each at half the rate",
                fix="lower peak_rate or look for a broken row; the last good weights stay",
            )
        self.model.load_state_dict(snapshot.model)
        self.optimizer.load_state_dict(deepcopy(snapshot.optimizer))
        self.rate_scale /= 2

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that a resumed run needs: plain numbers, and tensors by name."""
        numbers = {
            "step": self.step,
            "rate_scale": self.rate_scale,
            "mean_loss": self.mean_loss,
            "recipe": asdict(self.recipe),
        }
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{k}": v for k, v in moments.items()}
        return numbers, tensors

    def restore(self, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take up a saved state.

        Raises:
            Refusal: The state was made by another recipe, so the run would not be the same.
        """
        changed = {k for k, v in asdict(self.recipe).items() if numbers["recipe"].get(k) != v}
        if changed:
            raise Refusal(
                "cannot resume this training",
                why=f"the recipe has changed in {', '.join(sorted(changed))}",
                fix="resume with the settings it was started with, or start a new run",
            )
        self.step, self.rate_scale = int(numbers["step"]), numbers["rate_scale"]
        self.mean_loss = numbers["mean_loss"]
        self.model.load_state_dict(_under(tensors, "model."))
        self.average = {k: v.clone() for k, v in _under(tensors, "average.").items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(tensors, "adam.").items():
            i, key = name.split(".", 1)
            moments.setdefault(int(i), {})[key] = value.clone()
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
