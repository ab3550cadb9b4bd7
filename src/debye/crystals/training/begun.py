"""Trainings that begin with the weights of a model, and not at random.

What a network knows of many crystals it need not learn again from a few: a model that comes with
debye, or the networks of an earlier run, are trained on. The rows that they were trained on are
not new to them, and an error on these is no error on rows left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from debye.core import checkpoint
from debye.core.files import read_toml
from debye.crystals.model.ensemble import Ensemble, upgraded
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.model_files import TAUGHT_BEYOND, model_path
from debye.crystals.training.config import NETWORK_RANGES, Settings, layered
from debye.errors import InputError

FREE = ("dropout", "q_points")
"""Arguments of a network that no weight depends on."""

KNOWN = ("elements", "data", "settings")
"""What a card says of what its model learned, and how."""


class Beginning(NamedTuple):
    """A network to go on with."""

    net: PhononNet
    known: dict[str, Any]
    """What its card says of `KNOWN`."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the card of whatever begins with it shall say of it."""
        return {"sha256": checkpoint.fingerprint(self.net), **self.known}


def read_beginning(given: str | os.PathLike[str]) -> Beginning:
    """The network of a model file, or the first one of an ensemble's.

    Args:
        given: A file, or the name of a model that comes with debye.

    Raises:
        InputError: It cannot be read, or is no model.

    Example:
        >>> read_beginning("fast").net.heads
        ['density']
    """
    model, card = checkpoint.load_model(model_path(given), PhononNet, Ensemble, upgrade=upgraded)
    known: dict[str, Any] = {name: card[name] for name in KNOWN if name in card}
    net = cast("PhononNet", model.nets[0] if isinstance(model, Ensemble) else model)
    return Beginning(net, known)


def taught_beyond(begun: Mapping[str, Any]) -> set[str]:
    """Formulas whose force constants a beginning and all before it were taught, beyond their rows.

    Args:
        begun: `Beginning.facts`.
    """
    data = begun.get("data", {})
    earlier = taught_beyond(data["begun_with"]) if "begun_with" in data else set()
    return earlier | set(data.get(TAUGHT_BEYOND, []))


def network_table(net: PhononNet) -> dict[str, Any]:
    """The arguments of a network, as the table of a config holds them.

    Args:
        net: To go on with.
    """
    made = checkpoint.arguments_of(net)
    return {name: made[name] for name in (*NETWORK_RANGES, "heads", "positive")}


def check_beginning(net: PhononNet, network: dict[str, Any], frequency: list[float]) -> None:
    """Refuse to begin another network with these weights.

    Args:
        net: Whose weights they are.
        network: The table of the config.
        frequency: Of the rows, cm⁻¹.

    Raises:
        InputError: The config asks for another network, or the rows have another grid.
    """
    of_net = network_table(net)
    other = [k for k, v in network.items() if k not in FREE and v != of_net.get(k)]
    if other:
        first = other[0]
        raise InputError(
            f"cannot begin with this model: [network] {first} is {network[first]!r}",
            why=f"the model was made with {of_net.get(first)!r}, and its weights fit no other",
            fix="leave it out of the config, or begin at random",
        )
    if net.frequency != frequency:
        raise InputError(
            "cannot begin with this model",
            why=f"it tells {len(net.frequency)} points up to {net.frequency[-1]:g} cm⁻¹, the rows"
            f" have {len(frequency)} up to {frequency[-1]:g}",
            fix="begin at random, or bring the rows onto its grid",
        )


def settings_of(config: str | os.PathLike[str], begin: str | os.PathLike[str] | None) -> Settings:
    """The settings of a config file, its network that of a model unless it says more.

    Args:
        config: TOML.
        begin: As for `read_beginning`, or None.

    Raises:
        InputError: One of them cannot be read.
    """
    below = {"network": network_table(read_beginning(begin).net)} if begin else {}
    return Settings.from_tables(layered(below, read_toml(Path(config))))
