"""Where HDF5 files say that their data lie: links and virtual sources, followed with care.

HDF5 itself reads what is missing as zeros; here it is named. Nothing outside the folder of the
file is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

import h5py

from debye.errors import InputError

Source: TypeAlias = Any
"""A `VDSmap` of h5py."""
HOPS = 8
"""Links that may follow one another."""


def check_links(file: h5py.File, name: str, hops: int = HOPS) -> None:
    """Refuse a path on which a link leaves the folder of the file, leads nowhere or in circles.

    Raises:
        InputError: It does.
    """
    if hops == 0:
        raise InputError(
            f"cannot follow {name}", why="its links run in circles", fix="check the file"
        )
    here = Path(file.filename).resolve().parent
    parts = [p for p in name.split("/") if p]
    for depth in range(1, len(parts) + 1):
        at = "/" + "/".join(parts[:depth])
        try:
            link = file.get(at, getlink=True)
        except (KeyError, OSError):
            return  # the way ends here: whoever asked will find nothing, and say so
        if isinstance(link, h5py.ExternalLink):
            to = in_words(link.filename)  # bytes, where it is no UTF-8
            refuse_outside(here, to, at)
            rest = "/".join([in_words(link.path).rstrip("/"), *parts[depth:]])
            check_source(file, here / to, rest, at, hops)
            return
        if isinstance(link, h5py.SoftLink):
            path = in_words(link.path)
            full = path if path.startswith("/") else f"{at.rsplit('/', 1)[0]}/{path}"
            check_links(file, full, hops - 1)


def in_words(name: str | bytes) -> str:
    r"""A name in a file; h5py hands those over as bytes that are no UTF-8.

    Example:
        >>> in_words(b"part\xff.h5")
        'part�.h5'
    """
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def check_sources(found: h5py.Dataset, what: str, hops: int = HOPS) -> None:
    """Refuse raw data kept in other places, and virtual sources that are missing or too small.

    Raises:
        InputError: They are.
    """
    here = Path(found.file.filename).resolve().parent
    if found.external:
        raise InputError(
            what,
            why="its data lie in a raw file outside HDF5",
            fix="store them inside, or link HDF5 files",
        )
    if not found.is_virtual:
        return
    filled = 0
    for source in found.virtual_sources():
        filled += source.vspace.get_select_npoints() if _is_bounded(source.vspace) else found.size
        if source.file_name == ".":
            check_links(found.file, source.dset_name, hops - 1)
            _check_extent(found.file, source, what)
            continue
        refuse_outside(here, source.file_name, found.name)
        for path in _numbered(here / source.file_name):
            check_source(found.file, path, source.dset_name, found.name, hops, source)
    if filled < found.size:
        raise InputError(
            what,
            why=f"it is virtual, and {found.size - filled} of its {found.size} numbers have no "
            "source: they would be read as zeros",
            fix="write the virtual dataset again, over all files of the series",
        )


def check_source(
    file: h5py.File,
    path: Path,
    name: str,
    at: str,
    hops: int,
    source: Source | None = None,
) -> None:
    """Refuse a link or virtual source that is not there, or is smaller than what is taken of it.

    Raises:
        InputError: It is.
    """
    what = f"cannot read {at} from {file.filename}"
    fix = "copy it beside the first file, where the whole series belongs"
    if hops == 0:
        raise InputError(
            f"cannot follow {at}", why="its links run in circles", fix="check the file"
        )
    if not path.is_file():
        raise InputError(what, why=f"its source {path.name} is missing", fix=fix)
    if path.resolve() == Path(file.filename).resolve():
        check_links(file, name, hops - 1)
        return
    try:
        with h5py.File(path, "r") as other:
            check_links(other, name, hops - 1)
            if name not in other:
                raise InputError(what, why=f"{path.name} holds no {name}", fix=fix)
            found = other[name]
            if isinstance(found, h5py.Dataset):
                check_sources(found, what, hops - 1)
            if source is not None:
                _check_extent(other, source, what)
    except (OSError, RuntimeError, KeyError) as error:
        why = f"its source {path.name} cannot be read: {str(error).splitlines()[0]}"
        raise InputError(what, why=why, fix="copy that file again") from error


def _check_extent(file: h5py.File, source: Source, what: str) -> None:
    """Refuse a source that ends before what is taken of it, as an unfinished one does."""
    found, space = file.get(source.dset_name), source.src_space
    if not isinstance(found, h5py.Dataset):
        return
    if space.get_select_type() == h5py.h5s.SEL_ALL and _is_bounded(source.vspace):
        wanted, short = source.vspace.get_select_npoints(), found.size
        lacking = short < wanted
    elif space.get_select_type() == h5py.h5s.SEL_HYPERSLABS and _is_bounded(space):
        wanted, short = tuple(n + 1 for n in space.get_select_bounds()[1]), found.shape
        lacking = len(wanted) != len(short) or any(
            n > m for n, m in zip(wanted, short, strict=True)
        )
    else:
        return
    if lacking:
        raise InputError(
            what,
            why=f"its source {Path(file.filename).name} holds {short}, and {wanted} is taken of "
            "it: the rest would be read as zeros",
            fix="copy that file again when it is finished",
        )


def _is_bounded(space: h5py.h5s.SpaceID) -> bool:
    """Whether a selection is of a known size: it does not grow with the source."""
    if not space.is_regular_hyperslab():
        return True
    _, _, count, block = space.get_regular_hyperslab()
    return all(n < h5py.h5s.UNLIMITED for n in (*count, *block))


def _numbered(path: Path) -> list[Path]:
    """The files that a source names: one, or where it holds %b those from 0 to the last there."""
    if "%b" not in path.name:
        return [path.with_name(path.name.replace("%%", "%"))]
    before, _, after = path.name.partition("%b")
    pattern = re.compile(f"{re.escape(before)}([0-9]+){re.escape(after)}")
    there = [int(m[1]) for p in path.parent.iterdir() if (m := pattern.fullmatch(p.name))]
    return [path.with_name(f"{before}{n}{after}") for n in range(max(there, default=0) + 1)]


def refuse_outside(here: Path, target: str, at: str) -> None:
    """Refuse a link to a file that is not in the folder ``here`` or below it.

    Raises:
        InputError: It is not.
    """
    full = (here / target.partition("\0")[0]).resolve()
    if not full.is_relative_to(here):
        raise InputError(
            f"will not follow the link {at}",
            why=f"it leads to {target}, outside {here}",
            fix="copy the linked file beside the first, or merge them with h5repack",
        )
