"""Model files of earlier versions, under today's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from debye.core.checkpoint import Card, digest

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
