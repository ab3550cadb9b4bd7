"""ForceConstantHead: features of sites → force constants → modes → densities of states.

    K_ij = w(r) S²,   S = a n nᵀ + b (1 − n nᵀ) + T            the force constant of a pair
    D(q) = M^{-½} Φ(q) M^{-½},   D e = ω² e                     `ForceConstants`
    g_i(ω) ∝ Σ_qk |e_i|² Σ_w π_w L_w(ω, ω_qk)                   what a label shows of the modes

a stretches along the bond n, b across it, and T is the symmetric tensor that equivariant features
allow besides. All three are unchanged when the two ends are exchanged, so Φ is symmetric; K is a
square, so none pushes and no mode is imaginary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from debye.core.radial import bessel_basis, on_distinct
from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.graph import Graph
from debye.crystals.lattice.dos import line_shapes, low_discrepancy
from debye.crystals.lattice.force_constants import ForceConstants, site_states
from debye.crystals.model.layers import Features, by_order, coupling, spherical_harmonics

WIDTHS = (0.0, 5.0, 10.0, 20.0, 40.0)
"""Gaussian widths, cm⁻¹, of which each site mixes its line shape: what modes cannot tell."""
TENSORS = 8
"""Tensors a site offers to its force constants, and vectors."""


class ForceConstantDecoder(nn.Module):
    """Features of two sites and the line between them → the force constant that joins them.

    What each end sees along the line, its scalars and h·Y(r̂), enters a perceptron once as the
    near and once as the far end; the sum of the two does not know which is which.

    Args:
        inputs: Number of scalars of a site.
        channels: Channels of the features.
        l_max: Highest order of the features, 2 or 3.
        cutoff: Length at which force constants vanish, Å.
        basis: Number of radial functions.
        hidden: Width of the perceptron.
        dropout: Share of hidden units silenced in training.
    """

    basis_2: Tensor
    parity: Tensor

    def __init__(
        self,
        inputs: int,
        channels: int,
        l_max: int,
        cutoff: float,
        basis: int,
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.l_max, self.cutoff, self.basis = l_max, cutoff, basis
        self.dropout = nn.Dropout(dropout)
        self.near = nn.Linear(inputs, hidden)
        self.far = nn.Linear(inputs, hidden, bias=False)
        self.seen_near = nn.Linear(l_max * channels, hidden, bias=False)
        self.seen_far = nn.Linear(l_max * channels, hidden, bias=False)
        self.distance = nn.Sequential(
            nn.Linear(basis, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.strength = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 + 2 * TENSORS),
        )
        self.tensors = nn.Linear(channels, TENSORS, bias=False)
        self.vectors = nn.Linear(channels, TENSORS, bias=False)
        parity = torch.cat([torch.full((2 * l + 1,), (-1.0) ** l) for l in range(l_max + 1)])
        self.register_buffer("parity", parity, persistent=False)
        self.register_buffer("basis_2", coupling(1, 1, 2).float(), persistent=False)

    def forward(self, features: Features, graph: Graph) -> ForceConstants:
        """The force constants of a batch."""
        pair = graph.one_way()
        i, j, vector = graph.center[pair], graph.other[pair], graph.vector[pair]
        r = vector.norm(dim=-1)
        n = vector / r.unsqueeze(-1)
        a, b, of_tensors, of_vectors = self._strengths(features, i, j, r, n)
        along = n.unsqueeze(-1) * n.unsqueeze(-2)  # [pair, xyz, xyz]
        S = a * along + b * (torch.eye(3).to(along) - along)
        S = S + self._tensor(features.tensors, i, j, n, of_tensors, of_vectors)
        K = self._envelope(r)[:, None, None] * (S @ S)
        into_steps = torch.linalg.inv(graph.cell)[graph.crystal[i]]  # [pair, xyz, cell vector]
        step = (vector.unsqueeze(-2) @ into_steps).squeeze(-2)
        return ForceConstants(graph.crystal, graph.site_mass, i, j, step, K, graph.n_crystals)

    def _strengths(
        self, features: Features, i: Tensor, j: Tensor, r: Tensor, n: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Square roots a and b (P, 1, 1), and the weights of tensors and vectors (P, TENSORS)."""
        Y = spherical_harmonics(n, self.l_max)
        seen_i = self._along(features.tensors[i], Y)
        seen_j = self._along(features.tensors[j], Y * self.parity)
        scalars = self.dropout(features.scalars)
        near, far = self.near(scalars), self.far(scalars)
        distance = on_distinct(lambda x: self.distance(bessel_basis(x, self.cutoff, self.basis)), r)
        from_i = near[i] + far[j] + self.seen_near(seen_i) + self.seen_far(seen_j) + distance
        from_j = near[j] + far[i] + self.seen_near(seen_j) + self.seen_far(seen_i) + distance
        both = nn.functional.silu(from_i) + nn.functional.silu(from_j)
        a, b, *weights = self.strength(both).split([1, 1, TENSORS, TENSORS], dim=-1)
        stretch = 2 * nn.functional.softplus(a + 2).sqrt()
        bend = nn.functional.softplus(b - 1).sqrt()
        return stretch.unsqueeze(-1), bend.unsqueeze(-1), *weights

    def _along(self, h: Tensor, Y: Tensor) -> Tensor:
        """h·Y for every order above 0: what a site is like in a direction, (P, l_max·C)."""
        products = by_order(h * Y.unsqueeze(-1), self.l_max)[1:]
        return torch.cat([block.sum(1) for block in products], dim=-1)

    def _tensor(
        self, h: Tensor, i: Tensor, j: Tensor, n: Tensor, of_tensors: Tensor, of_vectors: Tensor
    ) -> Tensor:
        """T (P, 3, 3): tensors of both ends, and vectors of both ends bound to the direction.

        A vector of the far end counts the other way, as the direction seen from there does.
        """
        _, h1, h2, *_ = by_order(h, self.l_max)
        tensors, vectors = self.tensors(h2), self.vectors(h1)
        order_2 = ((tensors[i] + tensors[j]) * of_tensors.unsqueeze(1)).sum(-1)
        vector = ((vectors[i] - vectors[j]) * of_vectors.unsqueeze(1)).sum(-1)
        bound = n.unsqueeze(-1) * vector.unsqueeze(-2)
        return 0.3 * (torch.einsum("abm,pm->pab", self.basis_2, order_2) + bound + bound.mT)

    def _envelope(self, r: Tensor) -> Tensor:
        """w(r) = e^{−1.2 (r − 2 Å)/Å} (1 − (r/cutoff)²)²: force constants weaken with length."""
        return torch.exp(-1.2 * (r - 2)) * (1 - (r / self.cutoff).square()).clamp(min=0).square()


class ForceConstantHead(nn.Module):
    """Features of the sites → density of states of each, by way of force constants and modes.

    Each site mixes its line shape from Gaussians of `WIDTHS`, each seen through the filter that
    smoothed the labels (`line_shapes`). A density is non-negative and integrates to exactly 3;
    modes beyond the grid count at its end.

    Args:
        force_constants: Predicts them.
        inputs: Number of scalars of a site.
        frequency: The grid ω, cm⁻¹.
        q_points: Wave vectors times sites of a crystal; random ones in training.
    """

    shapes: Tensor
    cell: Tensor

    def __init__(
        self, decoder: ForceConstantDecoder, inputs: int, frequency: list[float], q_points: int
    ) -> None:
        super().__init__()
        self.decoder, self.q_points = decoder, q_points
        self.mixture = nn.Linear(inputs, len(WIDTHS))
        nn.init.zeros_(self.mixture.weight)
        nn.init.zeros_(self.mixture.bias)
        self.register_buffer("shapes", line_shapes(tuple(frequency), WIDTHS), persistent=False)
        self.register_buffer("cell", trapezoid_weights(torch.tensor(frequency)), persistent=False)

    def forward(self, features: Features, graph: Graph) -> Tensor:
        """(N, F) states per cm⁻¹."""
        mixture = torch.softmax(self.mixture(features.scalars), dim=-1)  # [site, width]
        density = mixture.new_zeros(graph.n_sites, self.shapes.shape[-1])
        for _, sites, of_size in self.decoder(features, graph).by_size():
            states = self._states(of_size)
            seen = (states @ self.shapes.flatten(1)).unflatten(-1, self.shapes.shape[1:])
            mixed = (mixture[sites].unsqueeze(1) @ seen).squeeze(1)
            density = density.index_add(0, sites, mixed)
        density = density.clamp(min=0) + 1e-9  # the filter rings below zero
        return 3 * density / (density * self.cell).sum(-1, keepdim=True)

    def _states(self, decoder: ForceConstants) -> Tensor:
        """States of each site on 0, 1, 2 … cm⁻¹, (N, G), for crystals of one size."""
        sites = len(decoder.mass) // decoder.n_crystals
        q = self._wave_vectors(decoder.n_crystals, sites).to(decoder.values)
        D = decoder.dynamical_matrix(q)
        return site_states(D, sites, len(self.shapes)).flatten(0, 1)

    def _wave_vectors(self, crystals: int, sites: int) -> Tensor:
        """(B, Q, 3): new ones at each step of a training, the same ones ever after."""
        count = max(1, round(self.q_points / sites))
        if self.training:
            return (low_discrepancy(count) + torch.rand(crystals, 1, 3)) % 1.0
        return low_discrepancy(count).expand(crystals, -1, -1)
