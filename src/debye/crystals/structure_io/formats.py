"""What a file holds, by its name and its first bytes; and what is refused unopened."""

from __future__ import annotations

import re
from pathlib import Path

from debye.core.packed import compression_of, inner_name, open_unpacked
from debye.crystals.structure_io.foreign import (
    ARCHIVES,
    foreign_error,
    is_named_foreign,
    program_of,
)
from debye.errors import DebyeError, InputError

SUFFIXES = {
    ".cif": "cif",
    ".mcif": "cif",
    ".xyz": "xyz",
    ".extxyz": "xyz",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".db": "db",
    ".parquet": "parquet",
}
"""Format of each suffix; files called POSCAR… and CONTCAR… are POSCARs.

Behind it may stand that of a compressed file, ``.gz``, ``.bz2`` or ``.xz``."""

_EXECUTABLE = {
    ".pkl",
    ".pickle",
    ".pt",
    ".pth",
    ".ckpt",
    ".torch",
    ".joblib",
    ".traj",
    ".npy",
    ".npz",
}
_MAGIC = {
    b"\x28\xb5\x2f\xfd": "packed", b"PK\x03\x04": "packed", b"7z\xbc\xaf": "packed",
    b"\x1f\x9d": "packed", b"\x80\x02": "pickle", b"\x80\x03": "pickle", b"\x80\x04": "pickle",
    b"\x80\x05": "pickle", b"- of Ulm": "pickle", b"\x93NUMPY": "pickle",
    b"SQLite format 3\0": "db", b"PAR1": "parquet",
}  # fmt: skip

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdDqQ][-+]?\d+)?"
_SCALE = re.compile(rf"\s*{_NUMBER}(\s+{_NUMBER}\s+{_NUMBER})?\s*(?:[!#%].*)?")
"""The second line of a POSCAR."""
_VECTOR = re.compile(rf"\s*{_NUMBER}(?:[\s,]+{_NUMBER}){{2}}")
"""How its next three lines begin."""
_UNNAMED = ("", ".txt", ".yaml", ".yml")
"""Suffixes of files of a folder into which is looked; others say what they are."""
_VASP = ("XDATCAR", "CHG", "LOCPOT", "PARCHG", "ELFCAR", "AECCAR", "OUTCAR", "INCAR", "POTCAR")
"""What VASP calls its other files, some of which begin as a POSCAR does."""

HEAD = 8192
"""Bytes at the start of a file by which its format is known."""


def named_format(name: str | Path) -> str:
    """The format that a file's name promises; empty where it promises none.

    Example:
        >>> named_format("run/POSCAR_2"), named_format("a.extxyz"), named_format("a.txt")
        ('poscar', 'xyz', '')
    """
    path = inner_name(name)
    if path.suffix.lower() not in SUFFIXES and path.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "poscar"
    return SUFFIXES.get(path.suffix.lower(), "")


def format_of(head: bytes, name: str, label: str) -> str:
    """The format by name, and by content where the name says nothing.

    Args:
        head: The first `HEAD` bytes, or all, of what a compressed file holds.
        name: The file's, or nothing.
        label: What to call it in errors.

    Raises:
        InputError: It is empty, compressed, binary, could execute code, or is in no known format.
    """
    suffix = inner_name(name).suffix.lower()
    magic = next((kind for start, kind in _MAGIC.items() if head.startswith(start)), "")
    if suffix in _EXECUTABLE or magic == "pickle":
        why = "a pickle or an array file can execute code when it is opened"
        raise unreadable(label, why, "write the structures as .cif, .extxyz or .json")
    if suffix in ARCHIVES or magic == "packed" or compression_of(head):
        twice = " within a compressed file" if compression_of(head) else ""
        why = f"it is compressed{twice}, and not as .gz, .bz2 or .xz alone"
        raise unreadable(label, why, "unpack it first")
    if not head.strip():
        raise unreadable(label, "the file is empty" if name else "it is empty", "export it again")
    if magic in ("db", "parquet"):
        return magic
    if b"\0" in head:
        raise unreadable(label, "it is binary, not text", "give a structure file, in UTF-8")
    kind, text = named_format(name), decoded(head)
    if not kind and (program := program_of(name, text)):
        raise foreign_error(program, label)
    kind = kind or sniffed(text)
    if kind == "db":
        raise unreadable(label, "it is no SQLite database", _KNOWN)
    if kind == "parquet":
        raise unreadable(label, "it is no Parquet table", _KNOWN)
    if not kind:
        why = "its content looks like no known format"
        raise unreadable(
            label, f"unrecognised suffix {suffix!r}, and {why}" if suffix else why, _KNOWN
        )
    return kind


_KNOWN = f"known are {', '.join(SUFFIXES)}, POSCAR and CONTCAR"


def sniffed(text: str) -> str:
    r"""The format a text looks like: ``cif``, ``xyz``, ``json``, ``jsonl``, ``poscar``, or nothing.

    Example:
        >>> sniffed("data_quartz\n_cell_length_a 4.9")
        'cif'
    """
    text = text.lstrip("\ufeff \t\r\n")
    first, second = [*text[:HEAD].splitlines(), "", ""][:2]
    if re.search(r"(?im)^data_", text):
        return "cif"
    if text[:1] in ("{", "["):
        return "jsonl" if re.match(r"\{.*\}\s*?\n\s*\{", text) else "json"
    if first.strip().isdigit():
        return "xyz"
    if _SCALE.fullmatch(second):
        return "poscar"
    return ""


def could_hold_structures(path: Path) -> bool:
    """Whether a file of a folder is to be read, or else to be refused by its name.

    It is where its name says so, or where it has no suffix, ``.txt`` or ``.yaml``, and begins as
    a CIF, an extended xyz, a POSCAR or a file of another program does.
    """
    if named_format(path) or is_named_foreign(inner_name(path)):
        return True
    if inner_name(path).suffix not in _UNNAMED or path.name.startswith(_VASP):
        return False
    try:
        with open_unpacked(path) as stream:
            text = decoded(stream.read(HEAD))
    except (OSError, DebyeError):
        return False
    first, second, *rest = [*text.splitlines(), "", "", "", "", ""][:5]
    xyz = first.strip().isdigit() and "lattice=" in second.lower()
    poscar = _SCALE.fullmatch(second) and all(map(_VECTOR.match, rest))
    cif = re.search(r"(?im)^data_\S+\s*$", text) and re.search(r"(?im)^(?:loop_|_cell)", text)
    return bool(xyz or poscar or cif or program_of("", text))


def decoded(data: bytes) -> str:
    """UTF-8, or Latin-1, in which older CIFs spell their authors."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def unreadable(label: str, why: str, fix: str) -> InputError:
    """The `InputError` of what ``label`` names."""
    return InputError(f"cannot read {label}", why=why, fix=fix)
