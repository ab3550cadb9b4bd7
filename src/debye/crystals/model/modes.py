"""Modes → densities of states: as the published labels show them, and finely.

    g_i(ω) ∝ Σ_qk |e_i|² Σ_w π_w L_w(ω, ω_qk)                   what a label shows of the modes

A label ends at 1000 cm⁻¹ and was smoothed over a hundred of them, so a network that is taught by
labels answers in their view. The fine density is made of the same modes, to the highest of them,
with narrow lines, and times whatever factor the answer differs by from what a label would show of
it: the density head's corrections carry over.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.lattice.dos import line_shapes, low_discrepancy, smoother
from debye.crystals.lattice.force_constants import ForceConstants, mean_force_constants
from debye.crystals.lattice.site_states import SPACING, SiteModes, site_states
from debye.crystals.model.force_constants import PairDecoder
from debye.crystals.model.layers import Features

WIDTHS = (0.0, 5.0, 10.0, 20.0, 40.0)
"""Gaussian widths, cm⁻¹, of which each site mixes its line shape: what modes cannot tell."""
NARROW, SHARP, LEAST = 15.0, 3000.0, 0.5
"""A line of the fine density is at most ω/15 wide (standard deviation) and at most ω²/3000 cm⁻¹,
and at least 0.5 cm⁻¹: a heat capacity at a few kelvins would count the slow half of a wide line."""
ROUNDS, CORRECTED = 3, 10.0
"""Rounds of correction, and the largest factor of one, and its inverse."""
SLOW = 0.6
"""Of a site's mean frequency: below it force constants alone count, above twice it the answer too.
A label of states so few and slow is mostly made of its smoothing."""
NOTHING = 2e-4
"""States per cm⁻¹ that are taken for none when two densities are compared."""
TOLD = 1e-3
"""Fraction of imaginary modes from which on they are shown as such, at negative frequencies."""
STEP = 100.0
"""cm⁻¹: ends of the axes are multiples of it, so that few axes serve many crystals."""


class ForceConstantHead(nn.Module):
    """Force constants and features of the sites → density of states of each, by way of modes.

    Each site mixes its line shape from Gaussians of `WIDTHS`, each seen through the filter that
    smoothed the labels (`line_shapes`). A density is non-negative and integrates to exactly 3;
    modes beyond the grid count at its end.

    Args:
        decoder: Predicts force constants.
        inputs: Number of scalars of a site.
        frequency: The grid ω, cm⁻¹.
        q_points: Wave vectors times sites of a crystal; random ones in training.
        q_start: Where those of a prediction begin in the sequence of `low_discrepancy`, times
            sites too: members of an ensemble look at different ones.
    """

    shapes: Tensor
    cell: Tensor

    def __init__(
        self,
        decoder: PairDecoder,
        inputs: int,
        frequency: list[float],
        q_points: int,
        q_start: int = 0,
    ) -> None:
        super().__init__()
        self.decoder, self.q_points, self.q_start = decoder, q_points, q_start
        self.mixture = nn.Linear(inputs, len(WIDTHS))
        nn.init.zeros_(self.mixture.weight)
        nn.init.zeros_(self.mixture.bias)
        self.register_buffer("shapes", line_shapes(tuple(frequency), WIDTHS), persistent=False)
        self.register_buffer("cell", trapezoid_weights(torch.tensor(frequency)), persistent=False)

    def forward(self, force_constants: ForceConstants, features: Features) -> Tensor:
        """(N, F) states per cm⁻¹, as the labels show them."""
        density = self.mixture.weight.new_zeros(len(features.scalars), self.shapes.shape[-1])
        for _, sites, of_size in force_constants.by_size():
            density = density.index_add(
                0, sites, self._shown(self._states(of_size), sites, features)
            )
        return self._normalised(density)

    def view(self, modes: Sequence[SiteModes], features: Features) -> Tensor:
        """The same of modes already found, (N, F)."""
        density = self.mixture.weight.new_zeros(len(features.scalars), self.shapes.shape[-1])
        for each in modes:
            states = each.on_wavenumbers(len(self.shapes)).flatten(0, 1)
            density.index_add_(0, each.sites, self._shown(states, each.sites, features))
        return self._normalised(density)

    def modes(self, force_constants: ForceConstants) -> list[SiteModes]:
        """The modes of a batch, crystals of one size together."""
        return list(SiteModes.even(force_constants, self.q_points, self.q_start))

    def mixtures(self, features: Features) -> Tensor:
        """(N, W) how much of each width of `WIDTHS` the line shape of each site holds."""
        return torch.softmax(self.mixture(features.scalars), dim=-1)

    def _shown(self, states: Tensor, sites: Tensor, features: Features) -> Tensor:
        """States (N', G) of some sites on 0, 1, 2 … cm⁻¹ as labels show them, (N', F)."""
        seen = (states @ self.shapes.flatten(1)).unflatten(-1, self.shapes.shape[1:])
        return (self.mixtures(features)[sites].unsqueeze(1) @ seen).squeeze(1)

    def _normalised(self, density: Tensor) -> Tensor:
        density = density.clamp(min=0) + 1e-9  # the filter rings below zero
        return 3 * density / (density * self.cell).sum(-1, keepdim=True)

    def _states(self, part: ForceConstants) -> Tensor:
        """States of each site on 0, 1, 2 … cm⁻¹, (N, G), for crystals of one size."""
        sites = len(part.mass) // part.n_crystals
        q = self._wave_vectors(part.n_crystals, sites).to(part.values)
        D = part.dynamical_matrix(q)
        return site_states(D, sites, len(self.shapes)).flatten(0, 1)

    def _wave_vectors(self, crystals: int, sites: int) -> Tensor:
        """(B, Q, 3): new ones at each step of a training, the same ones ever after."""
        count = max(1, round(self.q_points / sites))
        if self.training:
            return (low_discrepancy(count) + torch.rand(crystals, 1, 3)) % 1.0
        return low_discrepancy(count, round(self.q_start / sites)).expand(crystals, -1, -1)


class FineSites(NamedTuple):
    """The sites of one crystal, on 5 cm⁻¹ to beyond its highest mode."""

    frequency: Tensor
    """(F,) cm⁻¹, from below 0 where there are imaginary modes."""
    density: Tensor
    """(n, F) states per cm⁻¹ of a full site; integrates to 3."""
    lowest: Tensor
    """(members,) the lowest mode that each network finds, cm⁻¹."""

    @property
    def imaginary(self) -> float:
        """Part of the states that stand below 0."""
        total = self.density.sum(0)
        return float(total[self.frequency < 0].sum() / total.sum())


class ModesOf(NamedTuple):
    """What one network says of a batch by way of modes."""

    force_constants: ForceConstants
    modes: list[SiteModes]
    """On even meshes, by size of crystal."""
    mixtures: Tensor
    """(N, W) line shapes."""
    q_points: int


def fine_sites(
    members: Sequence[ModesOf], answer: Tensor, frequency: tuple[float, ...]
) -> list[FineSites]:
    """The fine densities of each crystal of a batch.

    f = mean over members of Σ_k |e_i|² Σ_w π_w G_w(ω − ω_k),   g = f · answer / view(f)

    Args:
        members: Networks that find modes.
        answer: (N, F) of the full sites in the labels' view: what all networks say together.
        frequency: Its grid, cm⁻¹.

    Returns:
        In the order of the crystals.
    """
    found: dict[int, FineSites] = {}
    mean = mean_force_constants([member.force_constants for member in members])
    for k, centre in enumerate(SiteModes.central(mean, members[0].q_points)):
        group = [member.modes[k] for member in members]
        lines = [member.mixtures[group[0].sites] for member in members]
        crystals = group[0].crystals.tolist()
        each = _of_one_size(group, centre, lines, answer[group[0].sites], frequency)
        found |= dict(zip(crystals, each, strict=True))
    return [found[k] for k in sorted(found)]


def _of_one_size(
    group: Sequence[SiteModes],
    centre: SiteModes | None,
    lines: Sequence[Tensor],
    answer: Tensor,
    view: tuple[float, ...],
) -> list[FineSites]:
    every = [*group, centre] if centre else group
    highest = max(float(modes.omega.abs().max()) for modes in every)
    points = _points(1.1 * highest + STEP)
    shapes = fine_shapes(_points(1000 * np.ceil(SPACING * points / 1000)))[:points, :, :points]
    crystals = len(group[0].crystals)
    lowest = torch.stack([modes.omega.flatten(1).amin(-1) for modes in group], dim=-1)
    if centre:
        lowest = torch.minimum(lowest, centre.omega.flatten(1).amin(-1, keepdim=True))

    def states(*, imaginary: bool = False) -> Tensor:  # [member, b, n, g]
        of_members = torch.stack([modes.fine(points, imaginary=imaginary) for modes in group])
        return of_members + centre.fine(points, imaginary=imaginary) if centre else of_members

    above = states()
    shown, imaginary = torch.zeros(crystals, dtype=torch.bool), torch.zeros_like(above[0])
    if lowest.min() < 0:
        below = states(imaginary=True)
        shown = below.mean(0).sum((1, 2)) / below.shape[2] >= 3 * TOLD  # [b]
        above = torch.where(shown[:, None, None], above, above + below)
        if shown.any():
            imaginary = _broadened(below, lines, shapes)
    real = _corrected(_broadened(above, lines, shapes).flatten(0, 1), answer, view)
    real = real.unflatten(0, (crystals, -1))
    return [
        _trimmed(real[b], imaginary[b] if shown[b] else None, lowest[b]) for b in range(crystals)
    ]


def _points(end: float) -> int:
    """Points of the fine axis from 0 to the next multiple of `STEP`."""
    return int(np.ceil(end / STEP) * STEP / SPACING) + 1


def _broadened(states: Tensor, lines: Sequence[Tensor], shapes: Tensor) -> Tensor:
    """Mean density (B, n, G) of members' states (M, B, n, G), each site with its line shape."""
    mixtures = torch.stack([*lines]).view(*states.shape[:3], -1) / len(lines)  # [member, b, n, w]
    parts = (states.unsqueeze(-2) * mixtures.unsqueeze(-1)).sum(0)  # [b, n, w, g]
    density = torch.zeros_like(states[0])
    for w in range(len(WIDTHS)):
        density += parts[:, :, w] @ shapes[:, w]
    return density


@lru_cache(maxsize=8)
def fine_shapes(points: int) -> Tensor:
    """How a mode at 0, 5, 10 … cm⁻¹ appears on the same axis, for each of `WIDTHS`, (G, W, G)."""
    axis = SPACING * torch.arange(points, dtype=torch.float32)
    shapes = []
    for width in WIDTHS:
        narrow = torch.minimum(axis / NARROW, axis.square() / SHARP)
        sigma = narrow.clamp(min=LEAST, max=max(width, 4.0)).unsqueeze(-1)
        line = torch.exp(-0.5 * ((axis - axis.unsqueeze(-1)) / sigma).square())
        shapes.append(line / (line @ trapezoid_weights(axis)).unsqueeze(-1))
    return torch.stack(shapes, dim=1)


@lru_cache(maxsize=8)
def _viewing(points: int, view: tuple[float, ...]) -> Tensor:
    """(G, F) matrix: density on 0, 5, 10 … cm⁻¹ → what a label shows of it."""
    matrix = smoother(np.array(view))
    wavenumbers = np.arange(matrix.shape[1])
    hats = [
        np.interp(wavenumbers, SPACING * np.arange(points), row, right=0.0)
        for row in np.eye(points)
    ]
    return torch.from_numpy(np.array(hats) @ matrix.T).float()


def _corrected(density: Tensor, answer: Tensor, view: tuple[float, ...]) -> Tensor:
    """The fine density (N, G), corrected by what labels would show of it, (N, F).

    Smoothing hides what a factor must be, so it is sought in a few rounds: those of W. Richardson
    (J. Opt. Soc. Am. 62, 55, 1972) and L. Lucy, with the ratio itself laid between the points.
    What is not corrected keeps its states, and the rest is scaled to hold all others.
    """
    grid, axis = torch.tensor(view), SPACING * torch.arange(density.shape[-1])
    viewing = _viewing(len(axis), view).to(density)
    right = torch.searchsorted(grid, axis.float()).clamp(1, len(grid) - 1)
    along = ((axis - grid[right - 1]) / (grid[right] - grid[right - 1])).clamp(0, 1).to(density)
    cell = trapezoid_weights(axis.to(density))
    mean = (density @ (axis * cell)).unsqueeze(-1) / 3
    states = (density @ cell).unsqueeze(-1)
    known = ((axis / mean - SLOW) / SLOW).clamp(0, 1) * ((grid[-1] - axis) / STEP).clamp(0, 1)
    for _ in range(ROUNDS):
        seen = (density @ viewing).clamp(min=0)
        seen = 3 * seen / (seen @ trapezoid_weights(grid)).clamp(min=NOTHING).unsqueeze(-1)
        ratio = ((answer + NOTHING) / (seen + NOTHING)).clamp(1 / CORRECTED, CORRECTED)
        factor = torch.lerp(ratio[:, right - 1], ratio[:, right], along)
        density = density * torch.lerp(torch.ones_like(factor), factor, known)
        kept, rest = (((density * part) @ cell).unsqueeze(-1) for part in (1 - known, known))
        scale = ((states - kept) / rest.clamp(min=NOTHING)).clamp(1 / CORRECTED, CORRECTED)
        density = density * torch.lerp(torch.ones_like(known), scale, known)
    return density


def _trimmed(real: Tensor, imaginary: Tensor | None, lowest: Tensor) -> FineSites:
    """Of one crystal: an axis as long as its modes ask for, and 3 states of every site."""
    after = _used(real)
    density = real[:, :after]
    first = 0
    if imaginary is not None:
        first = _used(imaginary) - 1
        density = torch.cat([imaginary[:, 1 : first + 1].flip(-1), density], dim=-1)
        density[:, first] += imaginary[:, 0]
    axis = SPACING * torch.arange(-first, after)
    states = density @ trapezoid_weights(axis.to(density))
    return FineSites(axis, 3 * density / states.unsqueeze(-1), lowest)


def _used(density: Tensor) -> int:
    """Points to the multiple of `STEP` behind the last state, (n, G)."""
    total = density.sum(0)
    last = int((total > 1e-4 * total.max()).nonzero().max())
    return min(_points(SPACING * (last + 1)), len(total))
