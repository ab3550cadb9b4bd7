"""Model files: constructor arguments as JSON and tensors in safetensors, checked when read.

Nothing in the format can run code, and a file is written whole or not at all. The JSON header,
the *card*, is what a person wants to know of the file.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from debye.core.files import atomic_write
from debye.errors import DebyeError, InputError

FORMAT = 2
"""Raised when an older debye could no longer read the files; 0.1.0 wrote 1."""

LONGEST_HEADER = 100_000_000
"""Bytes, as the safetensors format has it."""

Card = dict[str, Any]
Upgrade = Callable[[Card, dict[str, Tensor]], tuple[Card, dict[str, Tensor]]]


def arguments_of(model: nn.Module) -> dict[str, Any]:
    """What a model was made with: every constructor argument is an attribute of the same name.

    Example:
        >>> from debye.core.radial import RadialMLP
        >>> arguments_of(RadialMLP(cutoff=5.0, outputs=3))
        {'cutoff': 5.0, 'outputs': 3, 'basis': 10, 'hidden': 64}
    """
    names = inspect.signature(type(model).__init__).parameters
    return {name: getattr(model, name) for name in names if name != "self"}


def fingerprint(model: nn.Module) -> str:
    """A checksum of what a model computes with: its constructor arguments and its tensors.

    Example:
        >>> from debye.core.radial import RadialMLP
        >>> f, g = RadialMLP(cutoff=5.0, outputs=1), RadialMLP(cutoff=5.0, outputs=1)
        >>> fingerprint(f) == fingerprint(f), fingerprint(f) == fingerprint(g)
        (True, False)
    """
    tensors = {name: t.detach().cpu() for name, t in model.state_dict().items()}
    return digest(arguments_of(model), tensors)


def save(
    path: str | os.PathLike[str], card: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a card and tensors as one safetensors file, atomically.

    Raises:
        InputError: The file cannot be written there.
        ComputationError: The disk is full or failed.
    """
    kept = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    card = {**card, "format": FORMAT, "sha256": digest(card, kept)}
    header = json.dumps(card, allow_nan=False)  # NaN is no JSON, and other readers refuse it
    atomic_write(path, save_tensors(kept, metadata={"debye": header}))


def load(path: str | os.PathLike[str]) -> tuple[Card, dict[str, Tensor]]:
    """Read a card and tensors, and check that they are what was written.

    Raises:
        InputError: The file is missing, no safetensors file, a pickle, truncated, of a newer
            format, not written by debye, or changed since.
    """
    content = _read(Path(path))
    card = _card(Path(path), content)
    try:
        tensors = load_tensors(content)
    except (SafetensorError, ValueError) as error:
        raise _broken(path, f"its tensors cannot be read, as if cut short ({error})") from error
    bare = {k: v for k, v in card.items() if k not in ("format", "sha256")}
    if card.get("sha256") != digest(bare, tensors):
        raise _broken(path, "its content does not match its checksum: it was edited or damaged")
    return card, tensors


def read_card(path: str | os.PathLike[str]) -> Card:
    """The card of a model file.

    Raises:
        InputError: What `load` refuses.
    """
    return load(path)[0]


def amend(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    facts: Mapping[str, Any],
    upgrade: Upgrade | None = None,
) -> None:
    """Write a model file again with more in its card, or other values; the tensors stay.

    Args:
        path: The file to read.
        output: The file to write; it may be the same.
        facts: What to put into the card.
        upgrade: As for `load_model`.

    Raises:
        InputError: What `load` and `save` refuse.
        ComputationError: The disk is full or failed.
    """
    card, tensors = load(path)
    if upgrade and card["format"] < FORMAT:
        card, tensors = upgrade(card, tensors)
    kept = {k: v for k, v in card.items() if k not in ("format", "sha256")}
    save(output, {**kept, **facts}, tensors)


def save_model(path: str | os.PathLike[str], model: nn.Module, card: Mapping[str, Any]) -> None:
    """Write a model so that `load_model` can build it again.

    Args:
        path: File to write, ending in ``.safetensors`` by custom.
        model: Every constructor argument must be an attribute and fit into JSON.
        card: What else to tell: training data, metrics, licence.

    Raises:
        InputError: The file cannot be written there.
        ComputationError: The disk is full or failed.
    """
    made = {"class": type(model).__name__, "arguments": arguments_of(model)}
    save(path, {**made, **card}, model.state_dict())


def load_model(
    path: str | os.PathLike[str], *kinds: type[Any], upgrade: Upgrade | None = None
) -> tuple[Any, Card]:
    """Build a saved model again, in evaluation mode.

    Args:
        path: A file of `save_model`.
        kinds: The classes it may hold.
        upgrade: Turns a card and tensors of an older format into those of today.

    Raises:
        InputError: What `load` refuses, or the file holds another class or other tensors.

    Example:
        >>> import tempfile
        >>> from debye.core.radial import RadialMLP
        >>> f = RadialMLP(cutoff=5.0, outputs=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(f"{folder}/f.safetensors", f, {"licence": "CC-BY-4.0"})
        ...     g, card = load_model(f"{folder}/f.safetensors", RadialMLP)
        >>> card["licence"], bool(f(torch.ones(1)) == g(torch.ones(1)))
        ('CC-BY-4.0', True)
    """
    card, tensors = load(path)
    if upgrade and card["format"] < FORMAT:
        card, tensors = upgrade(card, tensors)
    kind = next((k for k in kinds if k.__name__ == card.get("class")), None)
    if kind is None:
        wanted = " or ".join(k.__name__ for k in kinds)
        raise InputError(
            f"cannot load {path} as a {wanted}",
            why=f"it holds {card.get('class', 'no model; perhaps the checkpoint of a training')}",
            fix=f"give a file that holds a {wanted}, such as a training's best.safetensors",
        )
    try:
        model = kind(**card["arguments"])
        model.load_state_dict(tensors)
    except DebyeError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _broken(path, f"its tensors and arguments do not fit together: {error}") from error
    for name, made in model.state_dict().items():
        if made.dtype != tensors[name].dtype:
            raise _broken(path, f"{name} is {tensors[name].dtype} and not {made.dtype}")
    return model.eval(), card


def _read(path: Path) -> bytes:
    """The whole file, once its first bytes say that it can be one of ours."""
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            _check_start(path, start)
            return start + stream.read()
    except OSError as error:
        raise InputError(
            f"cannot read {path}", why=str(error.strerror), fix="check the path and its permissions"
        ) from error


def _check_start(path: Path, start: bytes) -> None:
    """A safetensors file starts with the length of its header, in 8 bytes."""
    if len(start) == 8 and int.from_bytes(start, "little") <= LONGEST_HEADER:
        return
    if start.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise InputError(
            f"will not load {path}",
            why="it is a pickle (a .pt or .torch file), and reading one can run any code",
            fix="use a .safetensors file written by debye, or train the model again",
        )
    why = "it is no safetensors file" if len(start) == 8 else f"it ends after {len(start)} bytes"
    raise _broken(path, why)


def _card(path: Path, content: bytes) -> Card:
    """The JSON header of a safetensors file: 8 bytes of length, then a dictionary."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 + size:
        raise _broken(path, f"it ends after {len(content)} bytes, within its header")
    try:
        header = json.loads(content[8 : 8 + size])
        card = json.loads(header["__metadata__"]["debye"])
        made_in = int(card["format"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(path, "its header is not one that debye writes") from error
    if made_in > FORMAT:
        raise InputError(
            f"cannot read {path}",
            why=f"it has format {made_in}, and this debye knows formats up to {FORMAT}",
            fix="install a newer debye",
        )
    return dict(card)


def _broken(path: str | os.PathLike[str], why: str) -> InputError:
    return InputError(
        f"cannot load {path}",
        why=why,
        fix="give a .safetensors file written by debye, copied whole",
    )


def digest(card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """A checksum of JSON values and tensors."""
    total = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
