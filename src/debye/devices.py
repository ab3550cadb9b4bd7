"""Where to compute."""

from __future__ import annotations

import torch

from debye.errors import Refusal


def pick_device(name: str = "auto") -> str:
    """The device of a name; ``auto`` takes an accelerator where there is one.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``xpu`` or ``mps``.

    Raises:
        Refusal: The name is unknown or this machine has no such device.

    Example:
        >>> pick_device("cpu")
        'cpu'
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, there in present.items() if there)
    if not present.get(name.split(":")[0], False):
        raise Refusal(
            f"cannot compute on {name!r}",
            why=f"this machine has {', '.join(d for d, there in present.items() if there)}",
            fix="use --device auto, or one of these",
        )
    return name
