"""What a fit says of its priors: what they alone know of, and what the frames contradict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from debye.speckle.dynamics.learnable import Smooth
from debye.speckle.fitting.instrument import UNKNOWNS
from debye.speckle.fitting.prior import Prior
from debye.speckle.fitting.starts import Starts

FAR = 3.0
"""Root mean square of distances from a prior, in its errors, above which it is said."""
FARTHEST = 4.0
"""The same of a value by itself."""
DARK = 1e-11
"""Part of the curvature below which frames tell nothing, in exact arithmetic."""


def unseen(experiment: nn.Module, H: Tensor, A: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """Coefficients, and numbers of combinations of them, of which the frames tell nothing.

    Of smooth terms those alone of which their prior tells nothing either: for these they have it.

    Args:
        experiment: What was fitted.
        H: (P, P) what the frames tell of the fitted unknowns.
        A: (P, P) the same with their prior.
        names: (P,) of the parameters they belong to.
    """
    rich = smooth_parameters(experiment)
    smooth = torch.tensor([name in rich for name in names])
    told = torch.where(smooth & smooth[:, None], A, H)
    scale = A.diagonal().clamp(min=1e-300).rsqrt()
    values, vectors = torch.linalg.eigh(told * scale * scale[:, None])
    dark = vectors[:, values < DARK].square().sum(1)
    dark[A.diagonal() <= 0] = 1.0
    said: list[str] = []
    for name in dict.fromkeys(names):
        own = [i for i, n in enumerate(names) if n == name]
        said += in_the_dark(name.removeprefix("system."), dark[own])
    return tuple(said)


def in_the_dark(name: str, dark: Tensor) -> list[str]:
    """What to say of a parameter of whose coefficients those parts (P,) are not seen.

    Example:
        >>> in_the_dark("force.c", torch.tensor([0.0, 1.0, 0.5, 0.5]))
        ['force.c[1]', '1 combination of force.c[2, 3]']
    """
    alone = (dark > 0.99).nonzero()[:, 0].tolist()
    mixed = ((dark > 0.01) & (dark <= 0.99)).nonzero()[:, 0].tolist()
    said = [name + few(alone) * (len(dark) > 1)] if alone else []
    if mixed:
        number = max(round(float(dark[mixed].sum())), 1)
        said.append(f"{number} combination{'s' * (number > 1)} of {name}{few(mixed)}")
    return said


def few(numbers: Sequence[int], most: int = 8) -> str:
    """Whole numbers in brackets, cut where they are many.

    Example:
        >>> few([1, 2, 3, 4], most=3)
        '[1, 2, … 4]'
    """
    words = [str(n) for n in numbers]
    short = words if len(words) <= most else [*words[: most - 1], f"… {words[-1]}"]
    return f"[{', '.join(short)}]"


def smooth_parameters(experiment: nn.Module) -> set[str]:
    """Names of the parameters of terms that have a smoothness prior."""
    owners = [(name, m) for name, m in experiment.named_modules() if isinstance(m, Smooth)]
    return {f"{name}.{p}" for name, m in owners for p, _ in m.named_parameters()}


def system_against(prior: Prior, vector: Tensor, names: Sequence[str]) -> list[str]:
    """What to say where the coefficients lie far from what was known of them.

    Args:
        prior: Of all that was fitted.
        vector: (P,) as fitted.
        names: (P,) of the parameters.
    """
    own = torch.tensor([name.startswith("system.") for name in names])
    P, away = prior.precision.to(vector)[own][:, own], (vector - prior.mean.to(vector))[own]
    count = int((P.diagonal() > 0).sum())
    far = (max(float(away @ P @ away), 0.0) / max(count, 1)) ** 0.5
    if far <= FAR:
        return []
    return [
        f"the coefficients lie {far:.2g} times as far from their prior as it allows: give a weaker "
        "one, or a smaller ridge"
    ]


def instrument_against(prior: Prior, vector: Tensor, names: Sequence[str]) -> list[str]:
    """What to say of values of the instrument far outside what was thought possible."""
    said = []
    errors = prior.precision.diagonal().rsqrt().tolist()
    for name, value, mean, sigma in zip(
        names, vector.tolist(), prior.mean.tolist(), errors, strict=True
    ):
        if name.startswith("instrument.") and abs(value - mean) > FARTHEST * sigma:
            one = UNKNOWNS[name.removeprefix("instrument.")]
            said.append(
                f"{one.words} is {value:.3g} {one.unit}, far beyond the {sigma:.2g} that was "
                "thought possible: the geometry may be wrong"
            )
    return said


def starts_against(starts: Starts | None, away: Mapping[str, Tensor]) -> list[str]:
    """What to say where first states lie far from where they were given.

    Args:
        starts: What was known of them.
        away: Of each, how far it lies from where it is expected.
    """
    if starts is None or not away:
        return []
    square = sum(float(x @ starts.pull(name, x)) for name, x in away.items())
    far = (square / sum(map(len, away.values()))) ** 0.5
    if far <= FAR:
        return []
    return [
        f"first states lie {far:.2g} times as far from where they were given as their error of "
        f"{starts.error:g} allows: give a larger one"
    ]
