"""The studio's server: a socket, an address that is told, and the application behind it."""

from __future__ import annotations

import secrets
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn

from debye import InputError
from debye.core.executors import cores
from debye.studio.app import application
from debye.studio.guard import Rules, allowed_hosts, is_local
from debye.studio.shared import Studio
from debye.studio.workers import Limits, Workers

STACKS = (".h5", ".hdf5", ".nxs", ".cxi", ".npy", ".tif", ".tiff", ".edf", ".cbf", ".hdf", ".npz")
"""Suffixes of what is opened as a stack of frames."""


def serve(
    files: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    limits: Limits | None = None,
    open_page: Callable[[str], None] = print,
) -> None:
    """Serve the studio until it is interrupted.

    Args:
        files: Structures, folders of screenings, stacks of frames and fitted systems.
        host: Where to listen; elsewhere than on this machine alone a token is asked for.
        port: Which port; 0 for any that is free.
        model: A model file, ``fast``, ``labels``, or None for the shipped ensemble.
        limits: Of each computation.
        open_page: Is told the address.

    Raises:
        InputError: A file is not there, or the port cannot be had.
    """
    for path in files:
        if not path.exists():
            fix = "check the path"
            raise InputError(f"cannot open {path}", why="there is no such file", fix=fix)
    token = None if is_local(host) else secrets.token_urlsafe(24)
    listening = _socket(host, port)
    port = listening.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="debye-studio-") as folder:
        workers = Workers(min(2, cores()), model, limits or Limits())
        rules = Rules(allowed_hosts(host, port), token)
        studio = Studio(workers, rules, folder, **_sorted(files))
        config = uvicorn.Config(
            application(studio), log_level="warning", server_header=False, ws="none"
        )
        open_page(_address(host, port) + (f"?token={token}" if token else ""))
        uvicorn.Server(config).run(sockets=[listening])


def _sorted(files: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Structures, screenings, stacks and fitted systems, as `Studio` calls them."""
    systems = tuple(p for p in files if p.suffix == ".safetensors")
    files = [p for p in files if p not in systems]
    screenings = tuple(p for p in files if (p / "debye-screen.json").is_file())
    stacks = tuple(p for p in files if p not in screenings and _is_stack(p))
    rest = (p for p in files if p not in screenings and p not in stacks)
    structures = (q for p in rest for q in (sorted(p.iterdir()) if p.is_dir() else [p]))
    found = tuple(p for p in structures if p.is_file())
    return {"files": found, "screenings": screenings, "stacks": stacks, "fitted": systems}


def _is_stack(path: Path) -> bool:
    """Whether it is opened as frames: by its suffix, or a folder of images."""
    if path.is_dir():
        return any(p.suffix.lower() in STACKS for p in path.iterdir())
    return path.suffix.lower() in STACKS


def _socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: The address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(100)  # whoever is told the address may connect at once
    except (OSError, OverflowError) as error:
        what = f"cannot listen on {host} port {port}"
        fix = "choose another with --port, or --port 0 for any that is free"
        raise InputError(what, why=str(error), fix=fix) from error
    return listening


def _address(host: str, port: int) -> str:
    """The address of the page.

    Example:
        >>> _address("0.0.0.0", 8000).endswith(":8000/")
        True
    """
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104 - asked for
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"
