"""Features of sites → the force constants of the pairs between them.

Two classes of force constants K_ij of a pair can be decoded, from what both ends are and see of
each other along n, the direction between them. `FreePairs` are general 3 × 3 matrices,

    K_ij = M_ij + M_jiᵀ,   M_ij = w(r) Σ_k c_k B_k,

where the B_k are all that the near end i of a pair offers: 1, the bond's n nᵀ, tensors T_i, and
vectors of i bound to the bond, n vᵀ and v nᵀ. The weights c_k tell the near end from the far one.
On a site of cubic symmetry there is neither vector nor tensor of order 2, and pairs would be of
axial symmetry about the bond, which in silicon and rock salt they are not. What surrounds such a
site begins at order 3 (tetrahedra) or 4 (octahedra): A³ n and A⁴ n n are tensors of order 2.
K of the pair seen from its other end is the transpose, as it must be; none is asked to be positive,
and a crystal may be unstable. Of `PositivePairs`,

    K_ij = w(r) S²,   S = a n nᵀ + b (1 − n nᵀ) + T,

none pushes and no mode is imaginary; 10 to 40 % of true force constants are of the other sign.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from debye.core.radial import RadialMLP, bessel_basis, on_distinct
from debye.crystals.graph import Graph
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.model.layers import Features, by_order, coupling, spherical_harmonics

TENSORS = 8
"""Tensors a site offers to its force constants, and vectors."""
STRENGTH = 3.0
"""Weights of order one make force constants of so many eV/Å² at a distance of 2 Å."""
BEYOND = 16
"""Components of orders 3 and 4."""
PAIRS_AT_ONCE = 1024
"""Pairs decoded together when predicting; more would fall out of the cache."""


class SiteOffers(NamedTuple):
    """What the N sites of a batch bring into their pairs."""

    ends: Tensor
    """(N, m, 2 · hidden): harmonics of a direction times this are what a site is as the near end
    of a pair in that direction, and as the far end."""
    vectors: Tensor
    """(N, 3, TENSORS)."""
    tensors: Tensor
    """(N, 9, 9 · offered): orders 0 to 2 of a direction's harmonics times this are what a site
    offers there, 3 × 3, traceless and symmetric. TENSORS of them are the same everywhere, and
    without `Surroundings` there are no others, nor orders but 0."""


class Pairs(NamedTuple):
    """P pairs of sites."""

    i: Tensor
    j: Tensor
    n: Tensor
    """(P, 3) unit vectors from i to j."""
    r: Tensor
    """(P,) distances, Å."""
    Y: Tensor
    """(P, m) harmonics of n."""
    waves: Tensor
    """(P, hidden) what the perceptron takes of the distances."""

    def part(self, part: slice) -> Pairs:
        """Some of them."""
        return Pairs(*(each[part] for each in self))


class Ends(NamedTuple):
    """Both ends of P pairs, the i and then the j, each with what it sees of the other."""

    site: Tensor
    """(2P,)"""
    n: Tensor
    """(2P, 3) unit vectors to the other end."""
    Y: Tensor
    """(2P, m) their harmonics."""
    here: Tensor
    """(S,) the sites that are an end."""
    most: int
    """Ends of the site that has most."""
    row: Tensor
    """(2P,) rank of an end among those of its site, behind `most` rows for each site before."""

    @staticmethod
    def of(pairs: Pairs, parity: Tensor) -> Ends:
        """The ends of pairs, given the parity (m,) of each harmonic."""
        site = torch.cat([pairs.i, pairs.j])
        order = site.argsort()
        here, group, count = site[order].unique_consecutive(return_inverse=True, return_counts=True)
        rank = torch.arange(len(site), device=site.device) - (count.cumsum(0) - count)[group]
        most = max(count.tolist(), default=0)
        row = torch.empty_like(site).index_copy(0, order, group * most + rank)
        n, Y = torch.cat([pairs.n, -pairs.n]), torch.cat([pairs.Y, pairs.Y * parity])
        return Ends(site, n, Y, here, most, row)

    def offered(self, h: Tensor) -> Tensor:
        """Σ_m h_im Y_m, (N, m, C) → (2P, C); only so many harmonics as h has.

        One product of matrices for each site: to gather h for every end would cost as much again.
        """
        Y = self.Y[:, : h.shape[1]]
        sites, most, m = len(self.here), self.most, h.shape[1]
        rows = Y.new_zeros(sites * most, m).index_copy(0, self.row, Y).view(sites, most, m)
        product = rows @ h[self.here]
        return product.flatten(0, 1).index_select(0, self.row)


class Surroundings(nn.Module):
    """Orders 3 and 4 of what stands around a site: A_lm = Σ_j w_l(r_ij) ∘ V_l s_j Y_lm(r̂_ij) / √n̄.

    Args:
        inputs: Number of scalars s of a site.
        cutoff: Distance at which neighbours vanish, Å.
        basis: Number of radial functions.
        neighbours: Mean number n̄ of neighbours.
    """

    tensor: Tensor

    def __init__(self, inputs: int, cutoff: float, basis: int, neighbours: float) -> None:
        super().__init__()
        self.norm = neighbours**-0.5
        self.others = nn.Linear(inputs, 2 * TENSORS)
        self.filters = RadialMLP(cutoff, 2 * TENSORS, basis=basis)
        # Y¹(n) with order 3, and Y²(n) with order 4, make order 2: [harmonic, xyz·xyz, component].
        table = torch.zeros(8, 5, BEYOND, dtype=torch.float64)
        table[:3, :, :7] = coupling(1, 3, 2).permute(0, 2, 1)
        table[3:, :, 7:] = coupling(2, 4, 2).permute(0, 2, 1)
        tensor = torch.einsum("abm,hmc->habc", coupling(1, 1, 2), table)
        self.register_buffer("tensor", tensor.flatten(1, 2).float(), persistent=False)

    def forward(self, scalars: Tensor, graph: Graph) -> Tensor:
        """(N, BEYOND, TENSORS)."""
        near = graph.within(self.filters.cutoff)
        r = near.vector.norm(dim=-1)
        others = self.others(scalars)
        total = scalars.new_zeros(len(scalars), BEYOND, TENSORS)
        piece = len(r) if torch.is_grad_enabled() else 2 * PAIRS_AT_ONCE
        for at in range(0, len(r), max(piece, 1)):
            part = slice(at, at + piece)
            Y = spherical_harmonics(near.vector[part] / r[part].unsqueeze(-1), 4)[:, 9:]
            weight = on_distinct(self.filters, r[part]) * others.index_select(0, near.other[part])
            three, four = weight.unsqueeze(1).chunk(2, dim=-1)
            message = torch.cat([Y[:, :7, None] * three, Y[:, 7:, None] * four], dim=1)
            total.index_add_(0, near.center[part], message)
        return total * self.norm

    def seen(self, around: Tensor, weight: Tensor) -> Tensor:
        """(N, BEYOND, C): Y³(n) and Y⁴(n) times this are W [A³·Y³(n), A⁴·Y⁴(n)], W (C, 2 TENSORS).

        Args:
            around: (N, BEYOND, TENSORS), orders 3 and 4 of sites.
            weight: W.
        """
        three, four = around.split([7, 9], dim=1)
        of_three, of_four = weight.mT.split(TENSORS)
        return torch.cat([three @ of_three, four @ of_four], dim=1)

    def tensors(self, around: Tensor) -> Tensor:
        """(N, 8, 9, TENSORS): Y¹(n), Y²(n) times this are A³ n + A⁴ n n."""
        return (self.tensor.flatten(0, 1) @ around).unflatten(1, (8, 9))


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
        surroundings: Orders 3 and 4 of a site, if pairs are to know of them.
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
        surroundings: Surroundings | None = None,
    ) -> None:
        super().__init__()
        self.l_max, self.cutoff, self.basis = l_max, cutoff, basis
        self.surroundings = surroundings
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
        if surroundings:
            self.seen_beyond = nn.Linear(2 * TENSORS, 2 * hidden, bias=False)
        self.l_seen = 4 if surroundings else l_max
        parity = torch.cat([torch.full((2 * l + 1,), (-1.0) ** l) for l in range(self.l_seen + 1)])
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
        Y = spherical_harmonics(n, self.l_seen)
        return Pairs(i, j, n, r, Y, on_distinct(self._waves, r))

    def decoded(self, features: Features, graph: Graph, pairs: Pairs) -> Tensor:
        """K (P, 3, 3) of all pairs of a batch, a piece at a time where no gradient is wanted."""
        sites, piece = self._offers(features, graph), max(len(pairs.r), 1)
        if not torch.is_grad_enabled():
            piece = PAIRS_AT_ONCE
        starts = range(0, max(len(pairs.r), 1), piece)
        K = [self.values(sites, pairs.part(slice(at, at + piece))) for at in starts]
        return self.finished(torch.cat(K), pairs, graph)

    def _offers(self, features: Features, graph: Graph) -> SiteOffers:
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
        ends = torch.cat([known, *seen], dim=1)
        vectors, tensors = self.vectors(blocks[0]), self.tensors(blocks[1])
        T = (self.basis_2.flatten(0, 1) @ tensors).unsqueeze(1)
        if self.surroundings:
            around = self.surroundings(scalars, graph)
            beyond = self.surroundings.seen(around, self.seen_beyond.weight)
            pad = nn.functional.pad
            ends = pad(ends, (0, 0, 0, 9 + BEYOND - ends.shape[1])) + pad(beyond, (0, 0, 9, 0))
            beyond = self.surroundings.tensors(around)
            T = torch.cat([pad(T, (0, TENSORS)), pad(beyond, (TENSORS, 0))], dim=1)
        return SiteOffers(ends, vectors, T.flatten(2))

    def both_ends(self, sites: SiteOffers, pairs: Pairs) -> tuple[Ends, Tensor]:
        """The ends of pairs, and what they are: (2P, hidden), with i as the near end, then j."""
        ends = Ends.of(pairs, self.parity)
        near, far = ends.offered(sites.ends).chunk(2, dim=-1)
        other_far = far.roll(len(pairs.i), 0)
        return ends, near + other_far + torch.cat([pairs.waves, pairs.waves])

    def _waves(self, r: Tensor) -> Tensor:
        waves: Tensor = self.distance(bessel_basis(r, self.cutoff, self.basis))
        return waves

    def _perceptron(self, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
        return nn.Sequential(
            nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
        )


class FreePairs(PairDecoder):
    """General 3 × 3 matrices, that vanish smoothly at the cutoff; see `PairDecoder`.

    Args:
        args: Those of `PairDecoder`.
        envelope: Exponent p of what they vanish by, 1 − (r/cutoff)^p. In silicon the fifth
            neighbours, at 5.9 Å, bend transverse waves as much as the second ones do: with p = 2
            and a cutoff of 6.5 Å they have nearly vanished there.
    """

    def __init__(self, *args: Any, envelope: int = 2) -> None:  # noqa: ANN401 - of PairDecoder
        super().__init__(*args)
        self.envelope = envelope
        hidden, dropout = args[5:7]
        self.offered = 2 * TENSORS if self.surroundings else TENSORS
        self.weights = self._perceptron(hidden, 2 + 2 * TENSORS + 3 * self.offered, dropout)

    def values(self, sites: SiteOffers, pairs: Pairs) -> Tensor:
        """K (P, 3, 3), not yet balanced."""
        ends, seen = self.both_ends(sites, pairs)
        from_i, from_j = self._matrix(sites, ends, self.weights(nn.functional.silu(seen))).chunk(2)
        return self._envelope(pairs.r)[:, None, None] * (from_i + from_j.mT)

    def finished(self, K: Tensor, pairs: Pairs, graph: Graph) -> Tensor:
        """K (P, 3, 3), balanced at every site."""
        return balanced(K, self._envelope(pairs.r), pairs.i, pairs.j, graph)

    def _matrix(self, sites: SiteOffers, ends: Ends, weights: Tensor) -> Tensor:
        """M (2P, 3, 3) of pairs seen from either end."""
        n = ends.n
        T = ends.offered(sites.tensors).unflatten(-1, (9, -1))
        v = sites.vectors.index_select(0, ends.site)
        sizes = [1, 1, self.offered, TENSORS, self.offered, TENSORS, self.offered]
        a, b, c, v_left, T_left, v_right, T_right = weights.split(sizes, dim=-1)
        tensors = (T @ torch.stack([c, T_left, T_right], dim=-1)).unflatten(1, (3, 3))
        vectors = v @ torch.stack([v_left, v_right], dim=-1)
        vectors = vectors + (tensors[..., 1:] * n[:, None, :, None]).sum(-2)
        left, right = vectors.unbind(-1)
        M = tensors[..., 0] + n.unsqueeze(-1) * (a * n + left).unsqueeze(-2)
        M = M + right.unsqueeze(-1) * n.unsqueeze(-2)
        return STRENGTH * (M + b.unsqueeze(-1) * torch.eye(3).to(M))

    def _envelope(self, r: Tensor) -> Tensor:
        """w(r) = (2 Å/r)⁴ (1 − (r/cutoff)^p)²: force constants weaken with length."""
        return (2 / r) ** 4 * (1 - (r / self.cutoff) ** self.envelope).clamp(min=0).square()


class PositivePairs(PairDecoder):
    """Squares of symmetric matrices; see `PairDecoder`."""

    def __init__(self, *args: Any) -> None:  # noqa: ANN401 - those of PairDecoder
        super().__init__(*args)
        hidden, dropout = args[5:7]
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
        from_i, from_j = nn.functional.silu(self.both_ends(sites, pairs)[1]).chunk(2)
        both = from_i + from_j  # which does not know which is which
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
        T = sites.tensors[i] + sites.tensors[j]  # [pair, order 0, xyz · xyz · tensor]
        order_2 = T.unflatten(-1, (3, 3, TENSORS)).squeeze(1) @ of_tensors[:, None, :, None]
        vector = ((sites.vectors[i] - sites.vectors[j]) * of_vectors.unsqueeze(1)).sum(-1)
        bound = n.unsqueeze(-1) * vector.unsqueeze(-2)
        return 0.3 * (order_2.squeeze(-1) + bound + bound.mT)

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
