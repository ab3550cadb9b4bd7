"""What a file holds, by its name and its first bytes; and what is refused unopened."""

from __future__ import annotations

import re
from pathlib import Path

from debye.errors import InputError

SUFFIXES = {
    ".cif": "cif",
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
"""Format of each suffix; files called POSCAR… and CONTCAR… are POSCARs."""

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
_PACKED = {".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z"}
_MAGIC = {
    b"\x1f\x8b": "packed", b"BZh": "packed", b"\xfd7zXZ": "packed", b"\x28\xb5\x2f\xfd": "packed",
    b"PK\x03\x04": "packed", b"\x80\x02": "pickle", b"\x80\x03": "pickle", b"\x80\x04": "pickle",
    b"\x80\x05": "pickle", b"- of Ulm": "pickle", b"\x93NUMPY": "pickle",
    b"SQLite format 3\0": "db", b"PAR1": "parquet",
}  # fmt: skip

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_SCALE = re.compile(rf"\s*{_NUMBER}(\s+{_NUMBER}){{0,2}}\s*")
"""The second line of a POSCAR."""

HEAD = 8192
"""Bytes at the start of a file by which its format is known."""


def named_format(name: str | Path) -> str:
    """The format that a file's name promises; empty where it promises none.

    Example:
        >>> named_format("run/POSCAR_2"), named_format("a.extxyz"), named_format("a.txt")
        ('poscar', 'xyz', '')
    """
    path = Path(name)
    if path.suffix.lower() not in SUFFIXES and path.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "poscar"
    return SUFFIXES.get(path.suffix.lower(), "")


def format_of(head: bytes, name: str, label: str) -> str:
    """The format by name, and by content where the name says nothing.

    Args:
        head: The first `HEAD` bytes, or all.
        name: The file's, or nothing.
        label: What to call it in errors.

    Raises:
        InputError: It is empty, compressed, binary, could execute code, or is in no known format.
    """
    suffix = Path(name).suffix.lower()
    magic = next((kind for start, kind in _MAGIC.items() if head.startswith(start)), "")
    if suffix in _EXECUTABLE or magic == "pickle":
        why = "a pickle or an array file can execute code when it is opened"
        raise unreadable(label, why, "write the structures as .cif, .extxyz or .json")
    if suffix in _PACKED or magic == "packed":
        raise unreadable(label, "it is compressed", "unpack it first")
    if not head.strip():
        raise unreadable(label, "the file is empty" if name else "it is empty", "export it again")
    if magic in ("db", "parquet"):
        return magic
    if b"\0" in head:
        raise unreadable(label, "it is binary, not text", "give a structure file, in UTF-8")
    kind = named_format(name) or sniffed(decoded(head))
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


def decoded(data: bytes) -> str:
    """UTF-8, or Latin-1, in which older CIFs spell their authors."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def unreadable(label: str, why: str, fix: str) -> InputError:
    """The `InputError` of what ``label`` names."""
    return InputError(f"cannot read {label}", why=why, fix=fix)
