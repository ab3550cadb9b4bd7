"""Ensemble: networks that predict on their own, and agree the better the more is known.

The density of states of the ensemble is the mean of its members' answers; how far all head
outputs are apart is a first hint at the error. Force constants are given member by member; their
mean is a force constant again (`mean_force_constants`). Files of earlier versions are read under
today's names (`upgraded`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from debye.core.checkpoint import Card, arguments_of, digest
from debye.crystals.graph import Graph
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.model.modes import ModesOf
from debye.crystals.model.network import PhononNet, SiteDensities
from debye.errors import InputError


class Ensemble(nn.Module):
    """Several `PhononNet`, all of one grid.

    Args:
        members: Constructor arguments of each.

    Raises:
        InputError: Grids differ.

    Example:
        >>> net = PhononNet([0.0, 10.0, 20.0], channels=4)
        >>> Ensemble.of([net, net]).kinds
        ('density', 'density')
    """

    def __init__(self, members: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.members = [dict(member) for member in members]
        self.nets = nn.ModuleList(PhononNet(**member) for member in self.members)
        if len({tuple(net.frequency) for net in self._each()}) != 1:
            raise InputError(
                "these networks make no ensemble",
                why="they differ in their frequencies, or there are none",
                fix="put together what was trained with one grid",
            )

    @classmethod
    def of(cls, nets: Sequence[PhononNet]) -> Ensemble:
        """The ensemble of trained networks."""
        ensemble = cls([arguments_of(net) for net in nets])
        ensemble.nets = nn.ModuleList(nets)
        return ensemble.eval()

    @classmethod
    def sharing(cls, nets: Sequence[PhononNet]) -> Ensemble:
        """The same, whose members look for modes at half as many wave vectors, each at its own.

        Together they see more of the zone than one network does.

        Example:
            >>> net = PhononNet([0.0, 10.0, 20.0], channels=4, q_points=128)
            >>> [(m["q_points"], m["q_start"]) for m in Ensemble.sharing([net, net]).members]
            [(64, 0), (64, 64)]
        """
        members = []
        for k, net in enumerate(nets):
            half = -(-net.q_points // 2) if len(nets) > 1 else net.q_points
            members.append({**arguments_of(net), "q_points": half, "q_start": k * half})
        ensemble = cls(members)
        for mine, net in zip(ensemble.nets, nets, strict=True):
            mine.load_state_dict(net.state_dict())
        return ensemble.eval()

    def _each(self) -> list[PhononNet]:
        return [cast("PhononNet", net) for net in self.nets]

    @property
    def frequency(self) -> list[float]:
        """The grid, cm⁻¹."""
        return list(self.members[0]["frequency"])

    @property
    def cutoff(self) -> float:
        """Longest edge that a member looks at, Å."""
        return max(net.cutoff for net in self._each())

    @property
    def kinds(self) -> tuple[str, ...]:
        """The head of each output; ``corrected`` is a density that began from force constants."""
        return tuple(
            "corrected" if net.force_constant_head and kind == "density" else kind
            for net in self._each()
            for kind in net.heads
        )

    @property
    def answers(self) -> list[int]:
        """Which head_outputs are the answers of the members: the last of each."""
        return [int(k) - 1 for k in np.cumsum([len(net.heads) for net in self._each()])]

    def head_outputs(self, graph: Graph) -> Tensor:
        """What each head of each member says of each full site, (R, N, F)."""
        return torch.cat([net.head_outputs(graph) for net in self._each()])

    def with_modes(self, graph: Graph) -> tuple[Tensor, list[ModesOf]]:
        """`head_outputs`, and the modes that each member that has some finds."""
        outputs, modes = zip(*(net.with_modes(graph) for net in self._each()), strict=True)
        return torch.cat(outputs), [each for each in modes if each]

    def forward(self, graph: Graph) -> SiteDensities:
        """Mean densities of every site and crystal of a batch."""
        sites = self.head_outputs(graph)[self.answers].mean(0)
        return SiteDensities(sites, graph.totals(sites))

    def force_constants(self, graph: Graph) -> list[ForceConstants]:
        """The force constants of a batch, as each member that predicts them has them.

        Raises:
            InputError: None does.
        """
        able = [net for net in self._each() if net.force_constant_head] or self._each()
        return [net.force_constants(graph) for net in able]


OLD_HEAD = "springs"
"""What 0.1.0 called the head of force constants."""


def upgraded(card: Card, tensors: dict[str, Tensor]) -> tuple[Card, dict[str, Tensor]]:
    """A card and tensors that 0.1.0 wrote, as this version would have written them.

    A calibration names the model that it is of by a checksum of arguments and tensors, so it is
    given the new one, if it was of the old.
    """
    arguments = {
        name: [_arguments(member) for member in value] if name == "members" else value
        for name, value in _arguments(card.get("arguments", {})).items()
    }
    renamed = {_tensor_name(name): tensor for name, tensor in tensors.items()}
    new = {**card, "arguments": arguments}
    if "calibration" in card:
        calibration = dict(card["calibration"])
        calibration["kinds"] = [head_of_today(kind) for kind in calibration["kinds"]]
        if calibration["model"] == digest(card["arguments"], tensors):
            calibration["model"] = digest(arguments, renamed)
        new["calibration"] = calibration
    return new, renamed


def _arguments(old: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(old)
    if "readouts" in new:
        new["heads"] = [head_of_today(kind) for kind in new.pop("readouts")]
    if "r_max" in new and "r_pairs" not in new:
        new |= {"r_pairs": new["r_max"], "positive": True}  # there was no other class
    return new


def head_of_today(kind: str) -> str:
    """The name of a head that 0.1.0 called something else.

    Example:
        >>> head_of_today("springs"), head_of_today("density")
        ('force_constants', 'density')
    """
    return "force_constants" if kind == OLD_HEAD else kind


def _tensor_name(old: str) -> str:
    """``springs.springs.near.weight`` → ``force_constant_head.decoder.near.weight``."""
    decoder = old.replace(f"{OLD_HEAD}.{OLD_HEAD}.", "force_constant_head.decoder.")
    return decoder.replace(f"{OLD_HEAD}.", "force_constant_head.")
