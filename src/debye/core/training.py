"""The training loop: a generator of Steps that knows a model, its batches and a loss callable.

    for step in training.run(batches, steps_per_epoch):
        if step.ends_epoch: validate, save training.state(), draw a curve …

Everything random in a step is a pure function of (seed, step), the learning rate is a pure
function of the step, and `Training.state` holds all the rest, so a run resumed from any saved
step goes on exactly as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from math import cos, isfinite, pi
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from debye.core.device import seeded
from debye.core.distributed import ALONE, ProcessGroup
from debye.errors import ComputationError, InputError

Batch = TypeVar("Batch")
Loss = Callable[[nn.Module, Batch], Mapping[str, Tensor]]
"""Model and batch → named terms, whose sum is minimised."""


RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 1_000_000),
    "peak_rate": (1e-12, 1e3),
    "warmup": (0.0, 1.0),
    "weight_decay": (0.0, 1e3),
    "clip": (1e-12, 1e12),
    "average": (0.0, 1 - 1e-9),
    "spike": (1.0, 1e12),
    "rewinds": (0, 1_000_000),
    "seed": (0, 2**32 - 1),
}
"""What each field of a `Recipe` may be; whole numbers where the least is one."""
OPTIMIZERS = ("adamw", "muon")
"""What steps the weights: AdamW (Loshchilov & Hutter, arXiv:1711.05101), or with Muon (Jordan et
al. 2024; Liu et al., arXiv:2502.16982) for matrices, whose steps are orthogonalised momentum."""


def check_numbers(where: str, values: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Refuse settings that are no numbers, or are out of range.

    Args:
        where: What the settings are of; named in the error.
        values: Holds one attribute or key for each range; what it lacks is not checked.
        ranges: Least and largest value by name; whole numbers where the least is an ``int``.

    Raises:
        InputError: The first value at fault.

    Example:
        >>> check_numbers("[network]", {"layers": 2}, {"layers": (1, 8)})
    """
    given = values if isinstance(values, Mapping) else vars(values)
    for name in ranges.keys() & given.keys():
        value, (low, high) = given[name], ranges[name]
        whole = isinstance(low, int)
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            raise InputError(
                f"{where} {name} is {value!r}",
                why=f"it must be a {'whole ' if whole else ''}number from {low:g} to {high:g}",
                fix="correct it in the config or the options",
            )


@dataclass(frozen=True)
class Recipe:
    """How to train; every field can stand in a config file.

    Attributes:
        epochs: Passes over the data.
        peak_rate: Highest learning rate of the one-cycle schedule.
        warmup: Fraction of the steps in which the rate rises.
        weight_decay: Decoupled weight decay (AdamW).
        clip: Largest norm of the gradient; a longer one is scaled down to it.
        average: Decay per step of the exponential moving average of the weights.
        spike: A loss above this multiple of its running mean is bad, as is one that is not
            finite: the step is not taken, the weights go back to their moving average, and the
            rate is halved from there on.
        rewinds: Bad steps before giving up.
        seed: Seed of everything random.
        optimizer: One of `OPTIMIZERS`: ``"adamw"``, or ``"muon"``, which gives the weights of
            linear maps to Muon and the rest to AdamW.

    Raises:
        InputError: A value is no number or outside `RANGES`, or there is no such optimizer.
    """

    epochs: int = 36
    peak_rate: float = 5e-3
    warmup: float = 0.3
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.995
    spike: float = 100.0
    rewinds: int = 10
    seed: int = 0
    optimizer: str = "adamw"

    def __post_init__(self) -> None:
        check_numbers("[recipe]", self, RANGES)
        if self.optimizer not in OPTIMIZERS:
            raise InputError(
                f"[recipe] optimizer is {self.optimizer!r}",
                why="there is no such optimizer",
                fix=f"choose {' or '.join(OPTIMIZERS)}",
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
    """The loss was bad: the step was not taken, and the weights went back to their average."""


def one_cycle(done: float, peak: float, warmup: float = 0.3) -> float:
    """One-cycle learning rate (Smith & Topin 2019): a cosine up to ``peak``, a cosine down to 0.

    Args:
        done: Fraction of the training behind, 0 … 1.
        peak: Highest rate.
        warmup: Fraction in which the rate rises, from peak/25.

    Example:
        >>> [round(one_cycle(x, 1.0), 2) for x in (0.0, 0.3, 1.0)]
        [0.04, 1.0, 0.0]
    """
    if done < warmup:
        return peak * (0.04 + 0.96 * (1 - cos(pi * done / warmup)) / 2)
    return peak * (1 + cos(pi * (done - warmup) / (1 - warmup))) / 2


@dataclass
class Training(Generic[Batch]):
    """A model on its way through a recipe.

    Args:
        model: Trained in place.
        loss: Model and batch → named terms, whose sum is minimised.
        recipe: How to train.
        group: Processes that train the model together. A step's batch is shared out among them:
            each gets its part of it, and a loss whose terms are its part of the whole batch's, so
            that the terms of all processes add up to those of one process alone.

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
    group: ProcessGroup = ALONE
    step: int = 0
    rate_scale: float = 1.0
    mean_loss: float | None = None
    rewinds: int = 0
    average: dict[str, Tensor] = field(init=False)
    """The moving average of the weights, by name: what to validate, save and ship."""

    def __post_init__(self) -> None:
        self.optimizers = _optimizers(self.model, self.recipe)
        # First of all, because it gives every process the weights of the first.
        self._terms = self.group.spread(_Terms(self.model, self.loss))
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def run(
        self, batches: Callable[[int], Iterable[Batch]], steps_per_epoch: int
    ) -> Iterator[Step]:
        """Train from the step it stands at to the end of the recipe.

        Args:
            batches: Epoch → its batches; must give the same ones whenever asked.
            steps_per_epoch: How many there are.

        Raises:
            ComputationError: The loss was bad more often than the recipe allows.
            InputError: An epoch has fewer batches than announced.
        """
        total = self.recipe.epochs * steps_per_epoch
        while self.step < total:
            epoch, begun = divmod(self.step, steps_per_epoch)
            for batch in islice(batches(epoch), begun, steps_per_epoch):
                yield self._advance(batch, epoch, self._rate(total), steps_per_epoch)
            if self.step < (epoch + 1) * steps_per_epoch:
                raise InputError(
                    f"epoch {epoch} ended after {self.step % steps_per_epoch} batches",
                    why=f"{steps_per_epoch} were announced",
                    fix="announce as many as every epoch has",
                )

    def _rate(self, total: int) -> float:
        recipe = self.recipe
        return self.rate_scale * one_cycle(self.step / total, recipe.peak_rate, recipe.warmup)

    def _advance(self, batch: Batch, epoch: int, rate: float, steps_per_epoch: int) -> Step:
        """One step; where the loss is bad, back to the average instead."""
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        # A process's noise is its own; alone, or as the first, what it is without the others.
        seed = self.recipe.seed * 1_000_003 + self.step + (self.group.rank << 52)
        with seeded(seed, next(self.model.parameters()).device):
            terms = self._terms(batch)
            part = torch.stack(list(terms.values()))
            # The gradients are averaged over the processes, and their sum is wanted.
            (self.group.size * part.sum()).backward()
        whole = self.group.total(part)
        loss = whole.sum()
        gradient = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip).item()
        value = loss.item()
        bad = not (isfinite(value) and isfinite(gradient)) or self._spikes(value)
        self.step += 1
        if bad:
            self._rewind(value)
        else:
            self._take(rate)
            mean = value if self.mean_loss is None else self.mean_loss
            self.mean_loss = 0.98 * mean + 0.02 * value
        ends_epoch = self.step % steps_per_epoch == 0
        numbers = dict(zip(terms, whole.tolist(), strict=True))
        return Step(self.step, epoch, ends_epoch, value, numbers, rate, gradient, rewound=bad)

    def _take(self, rate: float) -> None:
        """Step the optimiser and the moving average."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
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

    def _rewind(self, loss: float) -> None:
        """The moving average is sound as long as the steps taken were: no other copy is kept."""
        self.rewinds += 1
        if self.rewinds > self.recipe.rewinds:
            raise ComputationError(
                f"training stopped at step {self.step}: the loss is {loss:g}",
                why=f"it was bad {self.rewinds} times, though the rate was halved each time",
                fix="look for a broken row, or lower peak_rate; what was saved before stays good",
            )
        self.model.load_state_dict(self.average)
        self.rate_scale /= 2

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that a resumed run needs: plain numbers, and tensors by name."""
        numbers = {
            "step": self.step,
            "rate_scale": self.rate_scale,
            "mean_loss": self.mean_loss,
            "rewinds": self.rewinds,
            "recipe": asdict(self.recipe),
        }
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for kind, optimizer in self.optimizers.items():
            for i, moments in optimizer.state_dict()["state"].items():
                tensors |= {f"{kind}.{i}.{k}": v for k, v in moments.items()}
        return numbers, tensors

    def restore(self, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take up a saved state.

        Raises:
            InputError: It is no such state, was made by another recipe, or is of another model.
        """
        if "recipe" not in numbers:
            raise InputError(
                "cannot resume from this file",
                why="it holds no training, perhaps a finished model",
                fix="resume from the checkpoint that the training wrote",
            )
        check_unchanged("the recipe", numbers["recipe"], asdict(self.recipe))
        average = _under(tensors, "average.")
        shapes = [{k: (v.shape, v.dtype) for k, v in w.items()} for w in (average, self.average)]
        check_unchanged("the model", *shapes)
        self.step, self.rate_scale = numbers["step"], numbers["rate_scale"]
        self.mean_loss, self.rewinds = numbers["mean_loss"], numbers["rewinds"]
        self.model.load_state_dict(_under(tensors, "model."))
        # Onto the device of the model, whatever the one they were saved from.
        self.average = {k: v.to(self.average[k].device, copy=True) for k, v in average.items()}
        for kind, optimizer in self.optimizers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in _under(tensors, f"{kind}.").items():
                i, key = name.split(".", 1)
                moments.setdefault(int(i), {})[key] = value.clone()
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _optimizers(model: nn.Module, recipe: Recipe) -> dict[str, torch.optim.Optimizer]:
    """What steps the weights, by the name that its state is saved under."""
    rate, decay = recipe.peak_rate, recipe.weight_decay
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    maps = [module.weight for module in linear] if recipe.optimizer == "muon" else []
    known = {id(weight) for weight in maps}
    rest = [weight for weight in model.parameters() if id(weight) not in known]
    found: dict[str, torch.optim.Optimizer] = {}
    if maps:
        # Steps as long as AdamW's, so that one rate does for both.
        found["muon"] = torch.optim.Muon(
            maps, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
        )
    if rest:
        found["adam"] = torch.optim.AdamW(rest, lr=rate, weight_decay=decay)
    return found


class _Terms(nn.Module):
    """A model's loss as a module, which is what torch spreads over processes."""

    def __init__(self, model: nn.Module, loss: Loss[Any]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: object) -> Mapping[str, Tensor]:
        return self.loss(self.model, batch)


def check_unchanged(what: str, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to resume a run whose settings or data are no longer those it was started with.

    Args:
        what: Whose they are; named in the error.
        saved: By name, as they were.
        now: By name, as they are.

    Raises:
        InputError: Some differ; their names are told.
    """
    changed = sorted(k for k in saved.keys() | now.keys() if saved.get(k) != now.get(k))
    if changed:
        first = changed[0]
        raise InputError(
            "cannot resume this training",
            why=f"{what} has changed in {', '.join(changed[:5])}"
            f" ({first} was {saved.get(first)}, is {now.get(first)})",
            fix="resume with what it was started with, or start a new run",
        )


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
