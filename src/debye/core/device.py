"""Where to compute, and what is drawn there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from debye.errors import InputError


def pick_device(name: str = "auto", local: int | None = None, *, precise: bool = False) -> str:
    """The device of a name; ``auto`` takes an accelerator where there is one.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``xpu`` or ``mps``; ``cuda:1`` is the second.
        local: Which of several processes on this machine asks, from 0: each takes a device of its
            own. Where a process sees one only, the launcher has given it that one.
        precise: Only one that computes in double precision will do, which ``mps`` does not.

    Raises:
        InputError: The name is unknown, or this machine has no such device, or too few.

    Example:
        >>> pick_device("cpu")
        'cpu'
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "xpu": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available() and not precise,
        "cpu": True,
    }
    present = [device for device, is_there in there.items() if is_there]
    kind, _, index = (present[0] if name == "auto" else name).partition(":")
    if kind not in present:
        why = f"this machine has {', '.join(present)}" + " for double precision" * precise
        raise _no_device(name, why)
    count = getattr(torch, kind).device_count() if kind != "cpu" else 1
    if index and not (index.isdecimal() and int(index) < count):
        raise _no_device(name, f"this machine has {count} of them, counted from 0")
    if local is None or kind == "cpu":
        return f"{kind}:{index}" if index else kind
    if index:
        raise _no_device(name, "each of several processes takes a device of its own")
    if local >= count > 1:
        raise _no_device(name, f"process {local} of this machine finds {count} of them")
    return f"{kind}:{local if count > 1 else 0}"


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """What is drawn inside follows from the seed; what is drawn outside knows nothing of it.

    Args:
        seed: From 0 to 2⁶⁴ - 1.
        device: Where it is drawn, beside the CPU.

    Example:
        >>> with seeded(1):
        ...     a = torch.rand(3)
        >>> with seeded(1):
        ...     torch.equal(a, torch.rand(3))
        True
    """
    kind = torch.device(device).type
    accelerator = kind in ("cuda", "xpu")
    # Named, because torch warns where it has to guess among several.
    with torch.random.fork_rng([device] * accelerator, device_type=kind if accelerator else "cuda"):
        torch.manual_seed(seed)
        yield


def _no_device(name: str, why: str) -> InputError:
    return InputError(
        f"cannot compute on {name!r}", why=why, fix="use --device auto, or one that is there"
    )
