"""Features of sites → the force constants of the pairs between them.

Two classes of force constants K_ij of a pair can be decoded, from what both ends are and see of
each other along n, the direction between them. `FreePairs` are general 3 × 3 matrices,

    K_ij = M_ij + M_jiᵀ,   M_ij = w(r) Σ_k c_k B_k,

where the B_k are all that the near end i of a pair offers: 1, the bond's n nᵀ, tensors T_i, and
vectors of i bound to the bond, n vᵀ and v nᵀ. The weights c_k tell the near end from the far one.
K of the pair seen from its other end is the transpose, as it must be; none is asked to be positive,
and a crystal may be unstable. Of `PositivePairs`,

    K_ij = w(r) S²,   S = a n nᵀ + b (1 − n nᵀ) + T,

none pushes and no mode is imaginary; 10 to 40 % of true force constants are of the other sign.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from debye.core.radial import bessel_basis, on_distinct
from debye.crystals.graph import Graph
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.model.layers import Features, by_order, coupling, spherical_harmonics

TENSORS = 8
"""Tensors a site offers to its force constants, and vectors."""
STRENGTH = 3.0
"""Weights of order one make force constants of so many eV/Å² at a distance of 2 Å."""
PAIRS_AT_ONCE = 512
"""Pairs decoded together when predicting; more would fall out of the cache."""


class SiteOffers(NamedTuple):
    """What the N sites of a batch bring into their pairs."""

    ends: Tensor
    """(N, m, 2 · hidden): harmonics of a direction times this are what a site is as the near end
    of a pair in that direction, and as the far end."""
    vectors: Tensor
    """(N, 3, TENSORS)."""
    tensors: Tensor
    """(N, 3, 3, TENSORS), traceless and symmetric."""


class Pairs(NamedTuple):
    """P pairs of sites."""

    i: Tensor
    j: Tensor
    n: Tensor
    """(P, 3) unit vectors from i to j."""
    r: Tensor
    """(P,) distances, Å."""
    waves: Tensor
    """(P, hidden) what the perceptron takes of the distances."""

    def part(self, part: slice) -> Pairs:
        """Some of them."""
        return Pairs(*(each[part] for each in self))


class PairDecoder(nn.Module):
    """Features of two sites and the line between them → the force constant that joins them.

    What each end sees along the line is its scalars and h·Y(r̂).

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
        K = self.decoded(features, graph, self.pairs(i, j, vector / r.unsqueeze(-1), r))
        into_steps = torch.linalg.inv(graph.cell)[graph.crystal[i]]  # [pair, xyz, cell vector]
        step = (vector.unsqueeze(-2) @ into_steps).squeeze(-2)
        return ForceConstants(graph.crystal, graph.site_mass, i, j, step, K, graph.n_crystals)

    def values(self, sites: SiteOffers, pairs: Pairs) -> Tensor:
        """K (P, 3, 3) of pairs, eV/Å²."""
        raise NotImplementedError

    def finished(self, K: Tensor, pairs: Pairs, graph: Graph) -> Tensor:
        """The K of all pairs of a batch, put right together."""
        del pairs, graph
        return K

    def pairs(self, i: Tensor, j: Tensor, n: Tensor, r: Tensor) -> Pairs:
        """Pairs (P,) of sites, with the unit vectors n (P, 3) from i to j and distances r, Å."""
        return Pairs(i, j, n, r, on_distinct(self._waves, r))

    def decoded(self, features: Features, graph: Graph, pairs: Pairs) -> Tensor:
        """K (P, 3, 3) of all pairs of a batch, a piece at a time where no gradient is wanted."""
        sites, piece = self._offers(features), max(len(pairs.r), 1)
        if not torch.is_grad_enabled():
            piece = PAIRS_AT_ONCE
        starts = range(0, max(len(pairs.r), 1), piece)
        K = [self.values(sites, pairs.part(slice(at, at + piece))) for at in starts]
        return self.finished(torch.cat(K), pairs, graph)

    def _offers(self, features: Features) -> SiteOffers:
        """The part of the decoding that is of each site alone.

        The perceptron's first layer is linear in what a site sees along the bond, h·Y(n): its
        weights are applied before the direction is known.
        """
        scalars, h = self.dropout(features.scalars), features.tensors
        _, *blocks = by_order(h, self.l_max)
        maps = zip(
            self.seen_near.weight.chunk(self.l_max, 1),
            self.seen_far.weight.chunk(self.l_max, 1),
            strict=True,
        )
        known = torch.cat([self.near(scalars), self.far(scalars)], -1).unsqueeze(1)
        seen = [block @ torch.cat(both).mT for block, both in zip(blocks, maps, strict=True)]
        vectors, tensors = self.vectors(blocks[0]), self.tensors(blocks[1])
        T = torch.einsum("abm,nmt->nabt", self.basis_2, tensors)
        return SiteOffers(torch.cat([known, *seen], dim=1), vectors, T)

    def both_ends(self, sites: SiteOffers, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """What pairs are, (P, hidden), with i as the near end and with j."""
        Y = spherical_harmonics(pairs.n, self.l_max)
        near_i, far_i = _along(sites.ends.index_select(0, pairs.i), Y).chunk(2, dim=-1)
        near_j, far_j = _along(sites.ends.index_select(0, pairs.j), Y * self.parity).chunk(
            2, dim=-1
        )
        return near_i + far_j + pairs.waves, near_j + far_i + pairs.waves

    def _waves(self, r: Tensor) -> Tensor:
        waves: Tensor = self.distance(bessel_basis(r, self.cutoff, self.basis))
        return waves

    def _perceptron(self, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
        return nn.Sequential(
            nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
        )


def _along(h: Tensor, Y: Tensor) -> Tensor:
    """Σ_m h_m Y_m: (P, m, C), (P, m) → (P, C)."""
    return (Y.unsqueeze(-2) @ h).squeeze(-2)


class FreePairs(PairDecoder):
    """General 3 × 3 matrices, that vanish smoothly at the cutoff; see `PairDecoder`."""

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - those of PairDecoder
        super().__init__(*args)
        hidden, dropout = args[-2:]
        self.weights = self._perceptron(hidden, 2 + 5 * TENSORS, dropout)

    def values(self, sites: SiteOffers, pairs: Pairs) -> Tensor:
        """K (P, 3, 3), not yet balanced."""
        i, j, n, r, _ = pairs
        ends = torch.stack(self.both_ends(sites, pairs))
        from_i, from_j = self.weights(nn.functional.silu(ends))
        M = self._matrix(sites, i, n, from_i) + self._matrix(sites, j, -n, from_j).mT
        return self._envelope(r)[:, None, None] * M

    def finished(self, K: Tensor, pairs: Pairs, graph: Graph) -> Tensor:
        """K (P, 3, 3), balanced at every site."""
        return balanced(K, self._envelope(pairs.r), pairs.i, pairs.j, graph)

    def _matrix(self, sites: SiteOffers, i: Tensor, n: Tensor, weights: Tensor) -> Tensor:
        """M (P, 3, 3) of pairs seen from their ends i, along n."""
        T, v = sites.tensors.index_select(0, i), sites.vectors.index_select(0, i)
        a, b, c, *bound = weights.split([1, 1] + 5 * [TENSORS], dim=-1)
        u = torch.einsum("pabt,pb->pat", T, n)
        left = torch.einsum("pat,pt->pa", v, bound[0]) + torch.einsum("pat,pt->pa", u, bound[1])
        right = torch.einsum("pat,pt->pa", v, bound[2]) + torch.einsum("pat,pt->pa", u, bound[3])
        M = torch.einsum("pabt,pt->pab", T, c)
        M = (
            M
            + n.unsqueeze(-1) * (a * n + left).unsqueeze(-2)
            + right.unsqueeze(-1) * n.unsqueeze(-2)
        )
        return STRENGTH * (M + b.unsqueeze(-1) * torch.eye(3).to(M))

    def _envelope(self, r: Tensor) -> Tensor:
        """w(r) = (2 Å/r)⁴ (1 − (r/cutoff)²)²: force constants weaken with length."""
        return (2 / r) ** 4 * (1 - (r / self.cutoff).square()).clamp(min=0).square()


class PositivePairs(PairDecoder):
    """Squares of symmetric matrices; see `PairDecoder`."""

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - those of PairDecoder
        super().__init__(*args)
        hidden, dropout = args[-2:]
        self.strength = self._perceptron(hidden, 2 + 2 * TENSORS, dropout)

    def values(self, sites: SiteOffers, pairs: Pairs) -> Tensor:
        """K = w(r) S², (P, 3, 3)."""
        n = pairs.n
        a, b, of_tensors, of_vectors = self._strengths(sites, pairs)
        along = n.unsqueeze(-1) * n.unsqueeze(-2)  # [pair, xyz, xyz]
        S = a * along + b * (torch.eye(3).to(along) - along)
        S = S + self._tensor(sites, pairs, of_tensors, of_vectors)
        return self._envelope(pairs.r)[:, None, None] * (S @ S)

    def _strengths(self, sites: SiteOffers, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Square roots a and b (P, 1, 1), and the weights of tensors and vectors (P, TENSORS)."""
        from_i, from_j = self.both_ends(sites, pairs)
        # The sum of the two does not know which is which.
        both = nn.functional.silu(from_i) + nn.functional.silu(from_j)
        a, b, *weights = self.strength(both).split([1, 1, TENSORS, TENSORS], dim=-1)
        stretch = 2 * nn.functional.softplus(a + 2).sqrt()
        bend = nn.functional.softplus(b - 1).sqrt()
        return stretch.unsqueeze(-1), bend.unsqueeze(-1), *weights

    def _tensor(
        self, sites: SiteOffers, pairs: Pairs, of_tensors: Tensor, of_vectors: Tensor
    ) -> Tensor:
        """T (P, 3, 3): tensors of both ends, and vectors of both ends bound to the direction.

        A vector of the far end counts the other way, as the direction seen from there does.
        """
        i, j, n = pairs[:3]
        order_2 = torch.einsum("pabt,pt->pab", sites.tensors[i] + sites.tensors[j], of_tensors)
        vector = ((sites.vectors[i] - sites.vectors[j]) * of_vectors.unsqueeze(1)).sum(-1)
        bound = n.unsqueeze(-1) * vector.unsqueeze(-2)
        return 0.3 * (order_2 + bound + bound.mT)

    def _envelope(self, r: Tensor) -> Tensor:
        """w(r) = e^{−1.2 (r − 2 Å)/Å} (1 − (r/cutoff)²)²: force constants weaken with length."""
        return torch.exp(-1.2 * (r - 2)) * (1 - (r / self.cutoff).square()).clamp(min=0).square()


def balanced(K: Tensor, strength: Tensor, first: Tensor, second: Tensor, graph: Graph) -> Tensor:
    """Force constants whose sum at each site is symmetric: no torque that holds an atom in place.

    The antisymmetric part of K_ij is an axial vector a_ij = −a_ji, a flow between sites, which must
    neither begin nor end at one. What does is taken off as a gradient, w_ij (φ_i − φ_j), with
    Σ_j w_ij (φ_i − φ_j) = Σ_j a_ij.

    Args:
        K: (P, 3, 3) of pairs.
        strength: (P,) w > 0, how much each pair may be changed.
        first: (P,) one site of each.
        second: (P,) the other.
        graph: Whose sites they are.

    Example:
        >>> K = torch.tensor([[[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]])
        >>> one = torch.tensor([0])
        >>> graph = Graph(*9 * [one], 1)
        >>> balanced(K, torch.ones(1), torch.tensor([0]), torch.tensor([0]), graph).equal(K)
        True
    """
    flow = K - K.mT
    flow = torch.stack([flow[:, 2, 1], flow[:, 0, 2], flow[:, 1, 0]], -1).double() / 2
    source = flow.new_zeros(graph.n_sites, 3).index_add(0, first, flow).index_add(0, second, -flow)
    rise = _potential(source, strength.double(), first, second, graph)
    off = strength.unsqueeze(-1) * (rise[first] - rise[second]).to(K)
    zero = torch.zeros_like(off[:, 0])
    x, y, z = off.unbind(-1)
    axial = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return K - axial


def _potential(
    source: Tensor, strength: Tensor, first: Tensor, second: Tensor, graph: Graph
) -> Tensor:
    """φ (N, 3) whose gradient has these sources, by the Laplacians of crystals of one size."""
    found = torch.zeros_like(source)
    sizes = torch.bincount(graph.crystal, minlength=graph.n_crystals)
    start = sizes.cumsum(0) - sizes
    of_pair = graph.crystal[first]
    for size in sizes.unique().tolist():
        if size == 1:
            continue
        chosen = (sizes == size).nonzero().squeeze(-1)
        number = torch.full_like(sizes, -1)
        number[chosen] = torch.arange(len(chosen), device=sizes.device)
        pairs = (number[of_pair] >= 0) & (first != second)
        crystal = of_pair[pairs]
        i, j = (end[pairs] - start[crystal] for end in (first, second))
        where = (number[crystal] * size + i) * size + j
        W = strength.new_zeros(len(chosen) * size * size).index_add(0, where, strength[pairs])
        W = W.view(-1, size, size)
        W = W + W.mT
        # No strength joins the parts of a crystal that is in two; the mean of φ is of no account.
        ridge = 1e-9 * torch.eye(size).to(W)
        L = torch.diag_embed(W.sum(-1)) - W + ridge + 1 / size
        sites = (start[chosen].unsqueeze(-1) + torch.arange(size, device=sizes.device)).flatten()
        phi = torch.linalg.solve(L, source[sites].unflatten(0, (-1, size)))
        found = found.index_add(0, sites, phi.flatten(0, 1))
    return found
