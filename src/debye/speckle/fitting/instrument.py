"""What is not known of an instrument, as parameters with weak priors in physical units.

    λ = [gain·e^g·(β I + (1 − β) Ī) + background + halo·e^{−ρ/h}] · mask

I is the intensity of an instrument whose beam misses its centre, whose wave numbers are stretched
and whose probe is wider than written (`debye.speckle.scattering.optics.Setting`); Ī is I without
its speckle, which is what partial coherence leaves: blurred, before the beamstop, by a Gaussian of
three pixels. ρ is the distance from the middle pixel and h an eighth of the side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from debye.errors import InputError
from debye.speckle.fitting.prior import Prior, independent, joined
from debye.speckle.scattering.models import Scattering
from debye.speckle.scattering.optics import Setting
from debye.speckle.values import OneLine

BLUR = 3.0
"""Pixels over which speckle is averaged away, one standard deviation."""


class Unknown(NamedTuple):
    """One thing that is not known of an instrument.

    Attributes:
        words: What it is called.
        unit: Of its values.
        sigma: How far from 0 it may well be; of counts, in units of the mean count of a pixel.
        least: Below which it cannot be.
        most: Above which it cannot be.
        size: How many numbers it is.
    """

    words: str
    unit: str
    sigma: float
    least: float = -math.inf
    most: float = math.inf
    size: int = 1


UNKNOWNS = {
    "gain": Unknown("the gain", "ln", 0.5),
    "background": Unknown("a constant background", "counts", 1.0, least=0.0),
    "halo": Unknown("a background around the beam", "counts at its middle", 1.0, least=0.0),
    "centre": Unknown("the beam's centre", "pixels", 2.0, size=2),
    "q_scale": Unknown("the scale of q", "relative", 0.1),
    "width": Unknown("the probe's width", "relative", 0.2),
    "incoherence": Unknown("partial coherence, 1 − β", "1", 0.5, least=0.0, most=1.0),
}
"""Everything that can be fitted of an instrument."""
COUNTS = ("background", "halo")


class Instrument(OneLine, nn.Module):
    """What differs from what is written of an instrument; all of it 0 where nothing does.

    Args:
        free: Names from `UNKNOWNS` of what is fitted; the others stay as they are.
        values: What each is to begin with, 0 if not given.

    Raises:
        InputError: There is no such unknown.

    Example:
        >>> from debye.speckle.scattering.models import Cloud
        >>> from debye.speckle.scattering.optics import Detector, GaussianProbe
        >>> model = Cloud(Detector(16, 0.5, 2.0), GaussianProbe(0.25, 2.0), R=0.05)
        >>> dusty = Instrument(values={"background": [2.0], "centre": [0.5, 0.0]})
        >>> cloud = torch.zeros(1, 7, 2).double()
        >>> bool(dusty.counts(model, cloud).min() >= 2.0 * model.mask.min())
        True
    """

    gain: Tensor
    background: Tensor
    halo: Tensor
    centre: Tensor
    q_scale: Tensor
    width: Tensor
    incoherence: Tensor

    def __init__(
        self,
        free: Sequence[str] = (),
        values: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        given = values or {}
        if unknown := sorted((set(free) | set(given)) - set(UNKNOWNS)):
            raise InputError(
                f"an instrument has no {', '.join(unknown)}",
                why=f"what can be unknown of it is {', '.join(UNKNOWNS)}",
                fix="name some of these",
            )
        self.free = tuple(free)
        for name, one in UNKNOWNS.items():
            value = torch.tensor(list(given.get(name, [0.0] * one.size)), dtype=torch.float64)
            self.register_parameter(name, nn.Parameter(value, requires_grad=name in self.free))

    @property
    def values(self) -> dict[str, list[float]]:
        """Of everything that is free or not 0, its numbers as they stand."""
        return {n: self.get_parameter(n).tolist() for n in UNKNOWNS if self.uses(n)}

    @classmethod
    def of(cls, scattering: nn.Module) -> Instrument:
        """All that can be unknown of an instrument with this scattering model."""
        return cls(possible(scattering))

    def counts(
        self,
        scattering: nn.Module,
        states: Tensor,
        specimen: Tensor | None = None,
        gain: float = 1.0,
    ) -> Tensor:
        """Expected counts (…, qy, qx) of states (…)."""
        if heeds(scattering):
            seen = scattering.intensity(states, specimen, self.setting(scattering))
        else:
            seen = scattering(states, specimen)
        seen = self.response(seen, scattering, gain) + self.background
        if self.uses("halo"):
            seen = seen + self.halo * around_the_beam(seen)
        return seen * mask_of(scattering)

    def response(self, intensity: Tensor, scattering: nn.Module, gain: float = 1.0) -> Tensor:
        """Counts of intensities (…, qy, qx), linear in them: without backgrounds or beamstop."""
        mixes = heeds(scattering) and self.uses("incoherence")
        seen = mixed(intensity, self.incoherence) if mixes else intensity
        return gain * self.gain.exp() * seen

    def setting(self, scattering: Scattering) -> Setting | None:
        """How it stands, for a model that heeds it; None where it stands as written."""
        if not any(self.uses(name) for name in scattering.adjustable):
            return None
        return Setting(self.centre, self.q_scale[0], self.width[0])

    def uses(self, name: str) -> bool:
        """Whether something is free or not 0."""
        return name in self.free or bool((self.get_parameter(name).detach() != 0).any())

    def prior(self, mean_count: float) -> Prior:
        """What is known beforehand of what is free, in the order of the parameters.

        Args:
            mean_count: Of an open pixel, the unit of backgrounds.
        """
        parts = []
        for name in (n for n in UNKNOWNS if n in self.free):
            one = UNKNOWNS[name]
            sigma = one.sigma * (mean_count if name in COUNTS else 1.0)
            whole = torch.ones(one.size, dtype=torch.float64)
            known = independent(0 * whole, whole / sigma**2)
            parts.append(known._replace(least=one.least * whole, most=one.most * whole))
        return joined(parts)

    def errors(self, covariance: Tensor, size: int) -> dict[str, dict[str, list[float]]]:
        """Of what is free, its errors and its multiple correlation with a law's coefficients.

        Args:
            covariance: Of all that was fitted, the law first, then what is free here.
            size: How many coefficients the law has.
        """
        named = [n for n, p in self.named_parameters() if p.requires_grad]
        sizes = [self.get_parameter(n).numel() for n in named]
        own = slice(size, size + sum(sizes))
        inverse = torch.linalg.pinv(covariance[:size, :size], hermitian=True)
        cross, variance = covariance[own, :size], covariance.diagonal()[own].clamp(min=1e-300)
        shared = (cross * (inverse @ cross.T).T).sum(-1) / variance
        both = (x.split(sizes) for x in (variance.sqrt(), shared.clamp(0, 1).sqrt()))
        parts = zip(named, *both, strict=True)
        return {n: {"error": e.tolist(), "correlation": r.tolist()} for n, e, r in parts}

    def as_json(self) -> dict[str, Any]:
        """What makes it anew."""
        return {"free": list(self.free), "values": self.values}


def mean_count(counts: Tensor, mask: Tensor) -> float:
    """Of an open pixel; the unit of backgrounds, and never so small that they are nailed.

    Args:
        counts: (…, qy, qx).
        mask: (qy, qx) open pixels.

    Example:
        >>> mean_count(torch.tensor([[2.0, 8.0]]), torch.tensor([[True, False]]))
        2.0
    """
    return max(float(counts[..., mask].mean()), 1e-3)


def mask_of(scattering: nn.Module) -> Tensor:
    """The open pixels of a scattering model; of somebody's own without a mask, all."""
    mask = getattr(scattering, "mask", None)
    return mask if isinstance(mask, Tensor) else torch.ones((), dtype=torch.bool)


def possible(scattering: nn.Module) -> tuple[str, ...]:
    """What can be unknown of an instrument with this scattering model.

    Example:
        >>> possible(nn.Identity())  # somebody's own: its geometry is in its own hands
        ('gain', 'background', 'halo')
    """
    geometry = (*scattering.adjustable, "incoherence") if heeds(scattering) else ()
    return tuple(n for n in UNKNOWNS if n in ("gain", "background", "halo", *geometry))


def heeds(scattering: nn.Module) -> TypeGuard[Scattering]:
    """Whether a scattering model's ``intensity`` is what its ``forward`` masks.

    A class of somebody's own that changes ``forward`` alone has another intensity than it says.
    """
    defining = next(c for c in type(scattering).__mro__ if {"forward", "intensity"} & set(vars(c)))
    return isinstance(scattering, Scattering) and "intensity" in vars(defining)


def mixed(intensity: Tensor, incoherence: Tensor) -> Tensor:
    """β I + (1 − β) Ī, with Ī the intensity (…, qy, qx) without its speckle."""
    along = [blur(n, BLUR).to(intensity) for n in intensity.shape[-2:]]
    return torch.lerp(intensity, along[0] @ intensity @ along[1].mT, incoherence.to(intensity))


def blur(size: int, sigma: float) -> Tensor:
    """(size, size) matrix that averages over neighbours by a Gaussian; its rows add up to 1.

    Example:
        >>> blur(3, 1.0).sum(-1)
        tensor([1., 1., 1.], dtype=torch.float64)
    """
    i = torch.arange(size, dtype=torch.float64)
    near = torch.exp(-((i[:, None] - i) ** 2) / (2 * sigma**2))
    return near / near.sum(-1, keepdim=True)


def around_the_beam(like: Tensor) -> Tensor:
    """(qy, qx) e^{−ρ/h}: 1 at the middle pixel, h an eighth of the side away 1/e."""
    rows, columns = like.shape[-2:]
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) - n // 2 for n in (rows, columns))
    return torch.exp(-torch.hypot(y[:, None], x) / (max(rows, columns) / 8))
