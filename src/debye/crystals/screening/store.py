"""The folder of a screening: a manifest that says what run it is, and parts that say what is done.

    DIR/debye-screen.json              model, settings, inputs; when all is done, the count
    DIR/parts/part-000012-1f0c93aa.parquet

A part is there, whole, or it is not: that, and nothing else, tells whether a shard is done. Its
name holds the shard's number and digest, so that two workers who do the same shard write the same
file, and a part of inputs that have changed since is known.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from debye.core.files import atomic_write, remove_partial_files
from debye.crystals.structure_io.read import RESULTS
from debye.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
"""Raised when columns come or change their meaning."""
_PART = re.compile(r"part-(\d{6,})-([0-9a-f]{8})\.parquet")


def part_path(folder: Path, number: int, digest: str) -> Path:
    """Where the part of a shard is, once it is done."""
    return folder / "parts" / f"part-{number:06d}-{digest}.parquet"


def write_part(folder: Path, number: int, digest: str, content: pa.Table, failed: int) -> None:
    """Write a part, whole or not at all.

    Raises:
        InputError: The folder cannot be written.
        ComputationError: The disk is full.
    """
    import pyarrow as pa
    from pyarrow import parquet

    stream = pa.BufferOutputStream()
    marked = content.replace_schema_metadata({"debye": json.dumps({"failed": failed})})
    parquet.write_table(marked, stream, compression="zstd")
    atomic_write(part_path(folder, number, digest), stream.getvalue().to_pybytes())


def rewrite_part(part: Path, content: pa.Table) -> None:
    """Write a part anew, with as many failures as it had.

    Raises:
        InputError: It is damaged, or the folder cannot be written.
        ComputationError: The disk is full.
    """
    match = _PART.fullmatch(part.name)
    if match is None:
        raise damaged(part, ValueError("its name is none of a part"))
    write_part(part.parent.parent, int(match[1]), match[2], content, counts(part)[1])


def note_refined(folder: Path, refined: Mapping[str, Any]) -> None:
    """Note how a screening is refined.

    Raises:
        InputError: The folder holds no run, or cannot be written.
        ComputationError: The disk is full.
    """
    manifest = {**read_manifest(folder), "refined": dict(refined)}
    atomic_write(folder / RESULTS, json.dumps(manifest, indent=1) + "\n")


def parts(folder: Path) -> dict[int, Path]:
    """The parts that are there, by the number of their shards, in order."""
    found = {int(m[1]): p for p in (folder / "parts").iterdir() if (m := _PART.fullmatch(p.name))}
    return dict(sorted(found.items()))


def counts(part: Path) -> tuple[int, int]:
    """Structures of a part, and how many of them failed.

    Raises:
        InputError: It is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        about = parquet.read_metadata(part)
        return about.num_rows, json.loads((about.metadata or {})[b"debye"])["failed"]
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise damaged(part, error) from error


def read_part(part: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Columns of a part, all if None.

    Raises:
        InputError: It is damaged, or has no such column.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # A name that is no UTF-8 raises where it is asked for.
        known = parquet.read_schema(part).names
        missing = [column for column in columns or () if column not in known]
        if missing:
            raise InputError(
                f"no column {missing[0]!r} in {part.parent.parent}",
                why=f"its columns are {', '.join(known)}",
                fix="ask for these",
            )
        return parquet.read_table(part, columns=columns and [*columns])
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise damaged(part, error) from error


def damaged(part: Path, error: Exception) -> InputError:
    """The `InputError` of a part that cannot be read."""
    return InputError(
        f"cannot read {part}",
        why=f"it is damaged ({error})",
        fix="delete it and run the same `debye screen` again, which makes it anew",
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """What run a folder holds.

    Raises:
        InputError: It holds none, or one of a newer debye.
    """
    path = folder / RESULTS
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        made_in = manifest["format"]
        whole = made_in != FORMAT or _is_whole(manifest)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{folder} holds no screening",
            why=f"{path.name} is missing or unreadable ({error})",
            fix="give the folder that `debye screen --output` wrote",
        ) from error
    if made_in != FORMAT:
        raise InputError(
            f"cannot use the screening {folder}",
            why=f"it has format {made_in}, and this debye writes and reads format {FORMAT}",
            fix="use the debye that wrote it, or screen again into another folder",
        )
    if not whole:
        raise InputError(
            f"cannot use the screening {folder}",
            why=f"{path.name} is incomplete: it lacks temperatures, frequencies or a model",
            fix="screen again into another folder",
        )
    return dict(manifest)


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    """Whether a manifest has what its readers take from it, of the right kind."""
    axes = (manifest.get("temperatures"), manifest.get("frequency"))
    return (
        all(axes)
        and all(type(x) in (int, float) and isfinite(x) for axis in axes for x in axis or ())
        and type(manifest.get("calibrated")) is bool
        and "model_sha256" in manifest
        and type(manifest.get("interval_level", 0.9)) is float
    )


def begin(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Start a run in a folder, or go on with the same one.

    Args:
        folder: It exists; it is empty or holds the same run.
        manifest: What run this is, ready for JSON.

    Raises:
        InputError: The folder holds another run, or files that are none, or cannot be written.
        ComputationError: The disk is full.
    """
    manifest = {"format": FORMAT, **manifest}
    if (folder / RESULTS).exists():
        known = {k: v for k, v in read_manifest(folder).items() if k not in ("done", "refined")}
        _check_same(folder, known, manifest)
    elif (folder / "parts").exists():
        raise InputError(
            f"will not write into {folder}",
            why=f"it holds a folder 'parts' but no {RESULTS}",
            fix="name another folder",
        )
    else:
        atomic_write(folder / RESULTS, json.dumps(manifest, indent=1) + "\n")
    (folder / "parts").mkdir(exist_ok=True)
    remove_partial_files(folder)
    remove_partial_files(folder / "parts")


def clear(folder: Path) -> None:
    """Remove the run that a folder holds, and nothing else."""
    if (folder / RESULTS).exists():
        for part in parts(folder).values() if (folder / "parts").is_dir() else ():
            part.unlink()
        (folder / RESULTS).unlink()
        shutil.rmtree(folder / "refined", ignore_errors=True)
        with suppress(OSError):  # it holds files that are not ours
            (folder / "parts").rmdir()


def finish(folder: Path, structures: int, failed: int) -> None:
    """Note that all is done.

    Raises:
        InputError: The folder holds no run, or cannot be written.
        ComputationError: The disk is full.
    """
    done = {"parts": len(parts(folder)), "structures": structures, "failed": failed}
    manifest = {**read_manifest(folder), "done": done}
    atomic_write(folder / RESULTS, json.dumps(manifest, indent=1) + "\n")


def _check_same(folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    differing = [k for k in {**known, **asked} if known.get(k) != asked.get(k)]
    if differing:
        why = "; ".join(
            f"its {key.replace('_', ' ')} is {_short(known.get(key))} and not "
            f"{_short(asked.get(key))}"
            for key in differing
        )
        raise InputError(
            f"will not go on in {folder}",
            why=f"it holds another screening: {why}",
            fix="repeat the command that began it to go on, name another folder with --output, or "
            "add --overwrite to begin anew",
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of a folder; the lock goes with the process, however it ends.

    Raises:
        InputError: Another run is at work there.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"will not write into {folder}",
            why="another `debye screen` is at work there",
            fix="wait for it, or name another folder",
        ) from error
    except (OSError, NotImplementedError):  # some file systems of clusters know no locks
        pass
    try:
        yield
    finally:
        lock.release()
