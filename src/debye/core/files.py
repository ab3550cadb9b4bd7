"""Files are written whole or not at all; config files."""

from __future__ import annotations

import errno
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

from debye.errors import ComputationError, DebyeError, InputError

DEMO = Path(__file__).parents[1] / "data" / "demo"
"""The folder of small structures and spectra that come with debye."""


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> Path:
    """Write a file under a temporary name beside it, flush it to disk, and rename it.

    A reader sees the old file or the new one, never a part, even if the power fails.
    A link is followed, and a file that exists keeps its permissions. A pipe or a device,
    such as ``/dev/stdout``, is written straight, because it cannot be replaced.

    Args:
        path: The file to write; its folder must exist.
        data: Its content; text is encoded as UTF-8, line ends as given.

    Returns:
        The path written.

    Raises:
        InputError: The folder is missing or cannot be written, or the path is a folder.
        ComputationError: The disk is full or failed while writing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atomic_write(Path(folder) / "greeting.txt", "hello").read_text()
        'hello'
    """
    target = Path(path)
    content = data.encode() if isinstance(data, str) else data
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            target.write_bytes(content)
        else:
            _replace(target.resolve(), content)
    except OSError as error:
        raise _explain(target, error) from error
    return target


def remove_partial_files(folder: Path) -> None:
    """Remove what `atomic_write` had begun in a folder when its process was killed.

    Nobody else may be writing there.
    """
    for temporary in folder.glob(".debye-*.tmp"):
        temporary.unlink(missing_ok=True)


def _replace(target: Path, content: bytes) -> None:
    """Write beside the target, then rename: both names lie on one file system."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # Not named after the target: its name may already be as long as the file system allows.
    temporary = target.with_name(f".debye-{secrets.token_hex(8)}.tmp")
    mode = target.stat().st_mode & 0o7777 if target.exists() else None
    handle = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:  # an interrupt must not leave it behind either
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Flush the rename itself; only POSIX lets a folder be opened for that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explain(target: Path, error: OSError) -> DebyeError:
    """Say what the operating system's error means for the person who chose the path."""
    what = f"cannot write {target}"
    if isinstance(error, IsADirectoryError):
        return InputError(what, why="it is a folder", fix="give the name of a file in it")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        why = f"there is no folder {target.parent}"
        return InputError(what, why=why, fix="create the folder, or choose another")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        why = f"the folder {target.parent} or the file may not be written ({error.strerror})"
        return InputError(what, why=why, fix="choose a folder you may write to")
    if error.errno == errno.ENAMETOOLONG:
        return InputError(what, why="its name is too long", fix="choose a shorter name")
    return ComputationError(
        what, why=str(error), fix="free some space or choose another disk, and try again"
    )


def folder(path: str | os.PathLike[str]) -> Path:
    """A folder to write into, made if missing.

    Raises:
        InputError: It cannot be made, or is a file, or cannot be written into.
    """
    made = Path(path)
    try:
        made.mkdir(parents=True, exist_ok=True)
        # Tried, not asked: a full disk or an odd file system lets itself be asked in vain.
        with tempfile.TemporaryFile(dir=made):
            return made
    except OSError as error:
        raise InputError(
            f"cannot write into the folder {path}",
            why=error.strerror or str(error),
            fix="choose another one",
        ) from error


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tables of a config file.

    Raises:
        InputError: It cannot be read or is no TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"cannot read the config {path}", why=str(error), fix="give a TOML file"
        ) from error
