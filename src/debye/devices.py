"""Where to compute."""

from __future__ import annotations

import torch

from debye.errors import Refusal


def pick_device(name: str = "auto") -> str:
    """The device of a name; ``auto`` takes an accelerator where there is one.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``xpu`` or ``mps``; ``cuda:1`` is the second.

    Raises:
        Refusal: The name is unknown or this machine has no such device.

    Example:
        >>> pick_device("cpu")
        'cpu'
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    present = [device for device, is_there in there.items() if is_there]
    if name == "auto":
        return present[0]
    kind, _, index = name.partition(":")
    if kind not in present:
        raise _refusal(name, f"this machine has {', '.join(present)}")
    count = getattr(torch, kind).device_count() if kind != "cpu" else 1
    if index and not (index.isdecimal() and int(index) < count):
        raise _refusal(name, f"this machine has {count} of them, counted from 0")
    return name


def _refusal(name: str, why: str) -> Refusal:
    return Refusal(
        f"cannot compute on {name!r}", why=why, fix="use --device auto, or one that is there"
    )
