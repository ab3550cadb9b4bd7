"""PhononNet: Graph → the phonon density of states of every site.

    Graph → Encoder (equivariant convolutions) → Features → DensityHead → densities
                                                          → ForceConstantHead  ↗

The encoder knows nothing of spectra. One head predicts force constants, whose modes make a
density; the other writes a density down, from nothing or as a correction to that of the modes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from debye.core.neighbors import sum_onto
from debye.core.radial import RadialMLP, on_distinct
from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.graph import Graph
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.model.force_constants import FreePairs, PositivePairs, Surroundings
from debye.crystals.model.layers import Convolution, Features, Gate, Linear, spherical_harmonics
from debye.crystals.model.modes import ForceConstantHead, ModesOf
from debye.crystals.structure.elements import descriptors
from debye.errors import InputError

HEADS = ("density", "force_constants")
"""What a network can be asked for."""
EMPTY = 2e-3
"""States that a bin without modes counts as, of one, so that the density may fill it."""
N_ELEMENTS = 119
EDGES_AT_ONCE = 1024
"""Edges whose messages are held together when predicting; more would fall out of the cache."""
MASS_SCALE = 100.0
"""Masses enter in hundreds of u, so that the inputs are of order one."""


class SpeciesEmbedding(nn.Module):
    """What stands on a site: x_i = Σ_k f_k (m_k/100 u · W_{Z_k} + D d_{Z_k}).

    The first term is the mass-weighted multi-hot encoding of Chen et al. (Adv. Sci. 8, 2004214,
    2021), linear in the fractions f_k of a mixed site; the second maps chemical descriptors
    (period, group, electronegativity, radius), so that an element rarely or never seen is placed
    between its neighbours of the periodic table. W starts at zero: what training has not seen
    stays with its descriptors alone.

    Args:
        channels: Width of x.
    """

    table: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        table = torch.tensor(descriptors(), dtype=torch.float32)
        self.register_buffer("table", table, persistent=False)
        self.weight = nn.Parameter(torch.zeros(N_ELEMENTS, channels))
        self.mix = nn.Linear(table.shape[1] + 1, channels)

    def forward(self, graph: Graph) -> Tensor:
        """(N, channels)."""
        mass = graph.mass.unsqueeze(-1) / MASS_SCALE
        known = torch.cat([self.table[graph.number], mass.log()], dim=-1)
        x = mass * self.weight[graph.number] + self.mix(known)  # [k, c]
        return sum_onto(graph.site, graph.fraction.unsqueeze(-1) * x, graph.n_sites)


class Interaction(nn.Module):
    """One message passing: h'_i = Gate(W h_i + W' Σ_j h_j ⊗ Y(r̂_ij) w(r_ij) / √n̄).

    The scalars that the gate takes are modulated by what stands on the site, 1 + V z_i.

    Args:
        l_in: Highest order that comes in.
        l_out: Highest order that goes out.
        l_edge: Highest order of the harmonics.
        channels: Channels of each order.
        cutoff: Cutoff distance, Å.
        basis: Number of radial functions.
        neighbours: Mean number of neighbours n̄.
    """

    def __init__(
        self,
        l_in: int,
        l_out: int,
        l_edge: int,
        channels: int,
        cutoff: float,
        basis: int,
        neighbours: float,
    ) -> None:
        super().__init__()
        self.channels, self.norm, self.l_shared = channels, neighbours**-0.5, min(l_in, l_out)
        self.convolution = Convolution(l_in, l_edge, l_out)
        self.filters = RadialMLP(cutoff, len(self.convolution.paths) * channels, basis=basis)
        self.before = Linear(l_in, channels, channels)
        self.after = Linear(l_out, channels, channels)
        self.kept = Linear(self.l_shared, channels, channels)
        self.species = nn.Linear(channels, (1 + l_out) * channels)
        self.gates = nn.Linear(channels, (1 + l_out) * channels)
        self.gate = Gate(l_out)

    def forward(self, h: Tensor, z: Tensor, graph: Graph, Y: Tensor, r: Tensor) -> Tensor:
        """Pass messages once.

        Args:
            h: (N, m, C) features.
            z: (N, C) what stands on each site.
            graph: Who sees whom.
            Y: (E, m) harmonics of the directions.
            r: (E,) distances, Å.

        Returns:
            (N, m', C).
        """
        message = self._messages(self.before(h), graph, Y, r)
        total = self.after(message * self.norm)
        kept = self.kept(h[:, : (self.l_shared + 1) ** 2])
        total = total + nn.functional.pad(kept, (0, 0, 0, total.shape[1] - kept.shape[1]))
        scalars = self.gates(total[:, 0]) * (1 + self.species(z))
        return self.gate(scalars, total)

    def _messages(self, h: Tensor, graph: Graph, Y: Tensor, r: Tensor) -> Tensor:
        """Sum of the messages to each site, (N, m', C).

        Without a gradient nothing of an edge need be kept, so they are taken a piece at a time:
        a cell of thousands of atoms costs no more memory than a small one.
        """
        piece = len(r) if torch.is_grad_enabled() else EDGES_AT_ONCE
        total = h.new_zeros(len(h), (self.convolution.l_out + 1) ** 2, self.channels)
        for at in range(0, len(r), piece):
            part = slice(at, at + piece)
            weight = on_distinct(self.filters, r[part]).unflatten(-1, (-1, self.channels))
            others = h.index_select(0, graph.other[part])
            messages = self.convolution(others, Y[part], weight)  # [e, m, c]
            total.index_add_(0, graph.center[part], messages)
        return total


class Encoder(nn.Module):
    """Equivariant features of every site, invariant under translation and relabelling.

    Args:
        channels: Channels of each order.
        layers: Number of message passings.
        l_max: Highest order between them.
        l_out: Highest order of the last one.
        cutoff: Cutoff distance, Å.
        basis: Number of radial functions.
        neighbours: Mean number of neighbours within the cutoff, for the norm of the messages.
    """

    def __init__(
        self,
        channels: int,
        layers: int,
        l_max: int,
        l_out: int,
        cutoff: float,
        basis: int,
        neighbours: float,
    ) -> None:
        super().__init__()
        self.l_max = l_max
        self.embedding = SpeciesEmbedding(channels)
        l_in = [0] + [l_max] * (layers - 1)
        l_outs = [l_max] * (layers - 1) + [l_out]
        self.interactions = nn.ModuleList(
            Interaction(i, o, l_max, channels, cutoff, basis, neighbours)
            for i, o in zip(l_in, l_outs, strict=True)
        )

    def forward(self, graph: Graph) -> Features:
        """C·(layers + 1) scalars, the species and what each layer made of it; and tensors."""
        r = graph.vector.norm(dim=-1)
        Y = spherical_harmonics(graph.vector / r.unsqueeze(-1), self.l_max)
        z = self.embedding(graph)
        h = z.unsqueeze(1)
        scalars = [z]
        for interaction in self.interactions:
            h = interaction(h, z, graph, Y, r)
            scalars.append(h[:, 0])
        return Features(torch.cat(scalars, dim=-1), h)


class DensityHead(nn.Module):
    """Scalars of a site → a non-negative density of states that integrates to exactly 3.

    g_i(ω_k) = 3 p_k / Δ_k with p = softmax(MLP(s_i)) and Δ the trapezoid weights of the grid.
    Where modes have spoken first, with p⁰ the states they put into each bin, the perceptron
    only corrects them: p = softmax(MLP(s_i, p⁰) + ln(p⁰ + `EMPTY`)).

    Args:
        inputs: Number of scalars of a site.
        frequency: The grid ω, cm⁻¹.
        hidden: Width of the hidden layer.
        dropout: Share of hidden units silenced in training.
        corrects: Whether modes speak first.
    """

    cell: Tensor

    def __init__(
        self, inputs: int, frequency: list[float], hidden: int, dropout: float, corrects: bool
    ) -> None:
        super().__init__()
        self.register_buffer("cell", trapezoid_weights(torch.tensor(frequency)), persistent=False)
        self.mlp = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(inputs + len(frequency) * corrects, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(frequency)),
        )

    def forward(self, features: Features, from_modes: Tensor | None = None) -> Tensor:
        """(N, F) states per cm⁻¹, from features and what the modes say, (N, F)."""
        if from_modes is None:
            logits = self.mlp(features.scalars)
        else:
            p = from_modes * self.cell / 3
            # Five times, so that a peak is of order one.
            seen = torch.cat([features.scalars, 5 * p], dim=-1)
            logits = self.mlp(seen) + (p + EMPTY).log()
        return 3 * torch.softmax(logits, dim=-1) / self.cell


class SiteDensities(NamedTuple):
    """What the network says of a batch."""

    sites: Tensor
    """(N, F) density of states of each full site, states per cm⁻¹; integrates to 3."""
    total: Tensor
    """(B, F) density of states of each crystal; integrates to 3 × its atoms."""


class PhononNet(nn.Module):
    """Graph → per-site phonon densities of states.

    Args:
        frequency: The grid, cm⁻¹.
        heads: Some of `HEADS`, each once; the last one is the network's answer.
        channels: Channels of each order.
        layers: Number of message passings.
        l_max: Highest order of harmonics and features; force constants need 2.
        r_max: Cutoff of the messages, Å.
        r_pairs: Cutoff of force constants, Å.
        l_pairs: Highest order of a site that free force constants know, 2 or 4; see `Surroundings`.
        envelope: Exponent of what free force constants vanish by at their cutoff; see `FreePairs`.
        positive: Whether force constants are squares, rather than free.
        basis: Number of radial functions.
        neighbours: Mean number of neighbours of the training set, within ``r_max``.
        hidden: Width of the heads.
        dropout: Share of units silenced in training.
        q_points: Wave vectors times sites at which force constants are asked for their modes.
        q_start: Where the wave vectors of predictions begin in their sequence, so that members of
            an ensemble look at different ones.
    """

    def __init__(
        self,
        frequency: list[float],
        *,
        heads: Sequence[str] = ("density",),
        channels: int = 32,
        layers: int = 2,
        l_max: int = 2,
        r_max: float = 5.0,
        r_pairs: float = 6.5,
        l_pairs: int = 4,
        envelope: int = 2,
        positive: bool = False,
        basis: int = 10,
        neighbours: float = 30.0,
        hidden: int = 128,
        dropout: float = 0.15,
        q_points: int = 128,
        q_start: int = 0,
    ) -> None:
        super().__init__()
        self.frequency, self.heads = list(frequency), list(heads)
        self.channels, self.layers = channels, layers
        self.l_max, self.r_max, self.basis, self.neighbours = l_max, r_max, basis, neighbours
        self.r_pairs, self.l_pairs, self.positive = r_pairs, l_pairs, positive
        self.envelope = envelope
        self.cutoff = max(r_max, r_pairs) if "force_constants" in heads else r_max
        self.hidden, self.dropout, self.q_points, self.q_start = hidden, dropout, q_points, q_start
        scalars, l_out = channels * (layers + 1), l_max if "force_constants" in heads else 0
        self.encoder = Encoder(channels, layers, l_max, l_out, r_max, basis, neighbours)
        self.force_constant_head: ForceConstantHead | None = None
        self.density: DensityHead | None = None
        if "force_constants" in heads:
            pairs = PositivePairs if positive else partial(FreePairs, envelope=envelope)
            # Noise of free force constants adds up: nothing pushes it back.
            silenced = dropout if positive else 0.0
            beyond = l_pairs > 2 and not positive
            around = Surroundings(scalars, r_max, basis, neighbours) if beyond else None
            decoder = pairs(scalars, channels, l_max, r_pairs, basis, hidden, silenced, around)
            self.force_constant_head = ForceConstantHead(
                decoder, scalars, self.frequency, q_points, q_start
            )
        if "density" in heads:
            corrects = "force_constants" in heads
            self.density = DensityHead(scalars, self.frequency, hidden, dropout, corrects)

    def head_outputs(self, graph: Graph) -> Tensor:
        """What each head says of each full site, (R, N, F) states per cm⁻¹."""
        return self.all_heads(graph)[0]

    def all_heads(self, graph: Graph) -> tuple[Tensor, ForceConstants | None]:
        """`head_outputs`, and the force constants that one of them came from."""
        features, said = self._features(graph), dict[str, Tensor]()
        found: ForceConstants | None = None
        if self.force_constant_head:
            found = self.force_constant_head.decoder(features, graph)
            said["force_constants"] = self.force_constant_head(found, features)
        if self.density:
            said["density"] = self.density(features, said.get("force_constants"))
        return torch.stack([said[name] for name in self.heads]), found

    def with_modes(self, graph: Graph) -> tuple[Tensor, ModesOf | None]:
        """`head_outputs`, and the modes that one of them came from, without gradients."""
        head = self.force_constant_head
        if not head:
            return self.head_outputs(graph), None
        features = self._features(graph)
        force_constants = head.decoder(features, graph)
        modes = head.modes(force_constants)
        said = {"force_constants": head.view(modes, features)}
        if self.density:
            said["density"] = self.density(features, said["force_constants"])
        outputs = torch.stack([said[name] for name in self.heads])
        return outputs, ModesOf(force_constants, modes, head.mixtures(features), self.q_points)

    def forward(self, graph: Graph) -> SiteDensities:
        """Densities of every site and crystal of a batch, as the last head has them."""
        sites = self.head_outputs(graph)[-1]
        return SiteDensities(sites, graph.totals(sites))

    def force_constants(self, graph: Graph) -> ForceConstants:
        """The force constants of a batch.

        Raises:
            InputError: The network has no such head.
        """
        if not self.force_constant_head:
            raise InputError(
                "this model predicts no force constants",
                why=f"its heads are {', '.join(self.heads)}",
                fix="use the shipped ensemble, or train with force_constants among the heads",
            )
        decoded: ForceConstants = self.force_constant_head.decoder(self._features(graph), graph)
        return decoded

    def _features(self, graph: Graph) -> Features:
        """Force constants do not know the masses, so a network of them is not told."""
        near = graph.within(self.r_max)
        # Those that were trained with a density head before 0.2 were told.
        blind = self.heads == ["force_constants"] or (
            "force_constants" in self.heads and not self.positive
        )
        return cast("Features", self.encoder(near.of_natural_mass() if blind else near))
