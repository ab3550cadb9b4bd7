"""All that shapes a training, as a config file says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from debye.core.training import Recipe, check_numbers
from debye.crystals.dos.quadrature import trapezoid_weights
from debye.crystals.model.network import HEADS
from debye.crystals.training.examples import LabelledGraph
from debye.crystals.training.lattice_loss import LatticeLoss
from debye.crystals.training.loss import DensityLoss
from debye.crystals.training.variations import Isotopes, Strain, Variation
from debye.errors import InputError


@dataclass(frozen=True)
class Settings:
    """All that shapes a training: the tables of a config file, ``[network] [recipe] …``.

    Attributes:
        network: Arguments of `PhononNet`; its grid comes from the data, and so do its mean
            neighbours, where they are not given.
        recipe: How long and how fast.
        loss: Weights of the terms of a density of states.
        lattice: Weights of the terms of force constants.
        isotopes: How training crystals are varied by the isotope law.
        strain: How their lattices are stretched.
        data: What the model's card shall say of the data: name, licence, citation.
        batch_size: Crystals a step.

    Raises:
        InputError: A value is no number or out of range.
    """

    network: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    loss: DensityLoss = field(default_factory=DensityLoss)
    lattice: LatticeLoss = field(default_factory=LatticeLoss)
    isotopes: Isotopes = field(default_factory=Isotopes)
    strain: Strain = field(default_factory=Strain)
    data: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 16

    def __post_init__(self) -> None:
        check_numbers("[network]", self.network, NETWORK_RANGES)
        _check_heads(self.network.get("heads", ["density"]), self.network.get("l_max", 2))
        if self.network.get("l_pairs") == 3:
            raise InputError(
                "[network] l_pairs is 3",
                why="orders 3 and 4 come together",
                fix="write l_pairs = 4, or 2 for neither",
            )
        if not isinstance(positive := self.network.get("positive", False), bool):
            raise InputError(
                f"[network] positive is {positive!r}",
                why="it says whether force constants are squares",
                fix="write positive = true, or false",
            )
        for key, value in self.data.items():
            if not isinstance(value, str):
                raise InputError(
                    f"[data] {key} is {value!r}", why="a card tells it as text", fix="quote it"
                )
        check_numbers("the config's", self, {"batch_size": (1, 1_000_000)})

    @property
    def cutoff(self) -> float:
        """Longest edge that the network looks at, Å."""
        pairs = "force_constants" in self.network.get("heads", [])
        r_max = float(self.network.get("r_max", 5.0))
        return max(r_max, float(self.network.get("r_pairs", 6.5))) if pairs else r_max

    def varied(self, target: Tensor, frequency: Tensor, seed: Sequence[int]) -> Variation:
        """How the crystals of a batch are changed; a pure function of the seed.

        Args:
            target: (B, F) their spectra, NaN where there is none.
            frequency: (F,), cm⁻¹.
            seed: Of the batch.
        """
        rng = np.random.default_rng(seed)
        heavier = self.isotopes.draw(target, frequency, rng)
        # What bends a lattice is told by force constants alone.
        taught = "force_constants" in self.network.get("heads", [])
        stretch = self.strain.draw(len(target), rng) if taught else torch.ones(len(target))
        return Variation(stretch, heavier)

    def terms(self, model: nn.Module, batch: LabelledGraph) -> dict[str, Tensor]:
        """Terms of the loss of a `PhononNet` on a batch, by name."""
        outputs, force_constants = model.all_heads(batch.graph)  # type: ignore[operator]
        weights = trapezoid_weights(torch.tensor(model.frequency)).to(batch.target)
        totals = batch.graph.totals(outputs)
        terms = self.loss.of_head_outputs(model.heads, totals, batch.target, weights)  # type: ignore[arg-type]
        if batch.lesson and force_constants:
            terms |= self.lattice(force_constants, batch.lesson)
        return terms

    @classmethod
    def from_tables(cls, tables: Mapping[str, Any]) -> Settings:
        """Settings of a config file.

        Raises:
            InputError: A table or a key is unknown, or a value is of the wrong type or range.

        Example:
            >>> Settings.from_tables({"batch_size": 8, "recipe": {"epochs": 2}}).recipe.epochs
            2
        """
        _known(tables, [f.name for f in fields(cls)], "the config")
        network = _table_of(tables, "network", [*NETWORK_RANGES, "heads", "positive"])
        recipe = _table_of(tables, "recipe", [f.name for f in fields(Recipe)])
        loss = _table_of(tables, "loss", [f.name for f in fields(DensityLoss)])
        lattice = _table_of(tables, "lattice", [f.name for f in fields(LatticeLoss)])
        isotopes = _table_of(tables, "isotopes", [f.name for f in fields(Isotopes)])
        strain = _table_of(tables, "strain", [f.name for f in fields(Strain)])
        data = _table_of(tables, "data")
        size = {k: tables[k] for k in ("batch_size",) if k in tables}
        return cls(
            network=network,
            recipe=Recipe(**recipe),
            loss=DensityLoss(**loss),
            lattice=LatticeLoss(**lattice),
            isotopes=Isotopes(**isotopes),
            strain=Strain(**strain),
            data=data,
            **size,
        )


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of settings laid over each other, the later ones on top.

    Example:
        >>> layered({"recipe": {"epochs": 2, "seed": 1}}, {"recipe": {"epochs": 3}})
        {'recipe': {'epochs': 3, 'seed': 1}}
    """
    tables: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = tables.get(name)
            both = isinstance(value, Mapping) and isinstance(below, Mapping)
            tables[name] = {**below, **value} if both else value  # type: ignore[dict-item]
    return tables


NETWORK_RANGES: dict[str, tuple[float, float]] = {
    "channels": (1, 1024),
    "layers": (1, 16),
    "l_max": (0, 3),
    "r_max": (0.5, 20.0),
    "r_pairs": (0.5, 20.0),
    "l_pairs": (2, 4),
    "envelope": (2, 64),
    "basis": (1, 256),
    "neighbours": (1e-3, 1e6),
    "hidden": (1, 65536),
    "dropout": (0.0, 0.99),
    "q_points": (1, 1_000_000),
}
"""What a config may say of the network."""


def _check_heads(heads: Any, l_max: int) -> None:  # noqa: ANN401
    listed = isinstance(heads, list) and all(name in HEADS for name in heads)
    if not listed or not heads or len(set(heads)) < len(heads):
        raise InputError(
            f"[network] heads is {heads!r}",
            why=f"it must list one or more of {', '.join(HEADS)}, each once",
            fix='write heads = ["density"]',
        )
    if "force_constants" in heads and l_max < 2:
        raise InputError(
            f"[network] l_max is {l_max} with force constants",
            why="a force constant is a tensor, made of features of order 2",
            fix="raise l_max to 2 or 3, or leave force constants out of heads",
        )


def _table_of(
    tables: Mapping[str, Any], name: str, keys: list[str] | None = None
) -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, Mapping):
        raise InputError(
            f"{name} of the config is {table!r}",
            why="it is no table",
            fix=f"begin it with [{name}]",
        )
    _known(table, list(table) if keys is None else keys, f"[{name}]")
    return dict(table)


RENAMED = {("[isotopes]", "share"): "fraction", ("[network]", "readouts"): "heads"}
"""Keys of debye 0.1 by table, and what they are called now."""


def _known(table: Mapping[str, Any], names: list[str], where: str) -> None:
    for key in table:
        if new := RENAMED.get((where, key)):
            raise InputError(
                f"unknown key {key!r} in {where}",
                why=f"it is called {new!r} since debye 0.2",
                fix=f"write {new} in its place",
            )
        if key not in names:
            raise InputError(
                f"unknown key {key!r} in {where}",
                why="a misspelt setting would silently do nothing",
                fix=f"use one of {', '.join(names)}",
            )
