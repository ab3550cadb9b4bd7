"""What a request may ask: its JSON, checked before anything is computed.

A request names no path of this machine: files that the studio was started with are numbered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

import debye

Fields = Mapping[str, Any]
MOST_ITEMS = 200
"""Structures that one request may compare."""
LONGEST_NAME = 120


class Unusable(HTTPException):
    """A request that cannot be used: 404 where what it names is not there, else 422."""

    def __init__(self, status: int, what: str, why: str, fix: str) -> None:
        super().__init__(status)
        self.what, self.why, self.fix = what, why, fix


def wrong(name: str, why: str, fix: str = "see docs/studio.md") -> Unusable:
    """The refusal of a field."""
    return Unusable(422, f"cannot use {name!r} of the request", why, fix)


async def json_of(request: Request) -> Fields:
    """The object that a request holds.

    Raises:
        Unusable: It is not JSON, or no object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        why = f"its content type is {kind or 'missing'}"
        raise Unusable(415, "the request is not JSON", why, "send application/json")
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise Unusable(422, "the request is not JSON", str(error)[:200], "send JSON") from None
    if not isinstance(found, dict):
        raise Unusable(422, "the request is no object", "it is another value", "send {…}")
    return found


def field(given: Fields, name: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:  # noqa: ANN401
    """A field of its type.

    Raises:
        Unusable: It is missing or of another type.
    """
    value = given.get(name, default)
    if value is ...:
        raise wrong(name, "it is missing")
    if value is not default and (not isinstance(value, kind) or isinstance(value, bool)):
        raise wrong(name, f"it is a {type(value).__name__}")
    return value


def whole(given: Fields, name: str, most: int = 1_000_000, default: Any = ...) -> int:  # noqa: ANN401
    """A whole number from 0.

    Raises:
        Unusable: It is another value.
    """
    value = field(given, name, int, default)
    if not 0 <= value <= most:
        raise wrong(name, f"{value} is outside 0 to {most}")
    return int(value)


def word(given: Fields, name: str, of: Sequence[str], default: str) -> str:
    """One of several words.

    Raises:
        Unusable: It is another.
    """
    value = field(given, name, str, default)
    if value not in of:
        raise wrong(name, f"there is no {value[:LONGEST_NAME]!r}", f"use one of {', '.join(of)}")
    return str(value)


def item(given: Fields, files: Sequence[Path], name: str = "item", depth: int = 0) -> Fields:
    """A structure as the workers take it: a text, an example, a file of this studio, an alloy.

    Raises:
        Unusable: It is none of these, or names what is not there.
    """
    found = field(given, name, dict)
    index = {"index": whole(found, "index", default=0)}
    if "alloy" in found:
        ends = field(found, "alloy", list)
        fraction = field(found, "fraction", (int, float))
        if depth or len(ends) != 2 or not 0 <= fraction <= 1:
            raise wrong("alloy", "it needs two structures and a fraction from 0 to 1")
        parents = [item({name: end}, files, name, depth + 1) for end in ends]
        return {"alloy": parents, "fraction": float(fraction)}
    if "example" in found:
        return {"path": str(example(field(found, "example", str)))} | index
    if "file" in found:
        return {"path": str(numbered(files, whole(found, "file")))} | index
    return {"name": file_name(field(found, "name", str)), "text": field(found, "text", str)} | index


def items(given: Fields, files: Sequence[Path]) -> list[Fields]:
    """Several structures.

    Raises:
        Unusable: As of `item`, or there are none or too many.
    """
    found = field(given, "items", list)
    if not 1 <= len(found) <= MOST_ITEMS:
        raise wrong("items", f"there are {len(found)}", f"give 1 to {MOST_ITEMS}")
    return [item({"item": one}, files) for one in found]


def example(name: str) -> Path:
    """The file of an example.

    Raises:
        Unusable: There is none of that name.
    """
    return _known(examples(), name, "example")


def examples() -> dict[str, Path]:
    """The structures that come with debye, by name."""
    found = sorted(debye.DEMO.iterdir())
    return {p.name: p for p in found if p.suffix in (".cif", ".vasp", ".extxyz")}


def numbered(files: Sequence[Path], number: int) -> Path:
    """A file that the studio was started with.

    Raises:
        Unusable: There are not so many.
    """
    return _known(dict(enumerate(files)), number, "file")


def _known(among: Mapping[Any, Path], key: object, what: str) -> Path:
    if key not in among:
        shown = repr(key)[:LONGEST_NAME]
        raise Unusable(404, f"there is no {what} {shown}", "it is not here", "see /api/about")
    return among[key]


def file_name(given: str) -> str:
    """The name of a file without folders, and with nothing that a file system refuses.

    Raises:
        Unusable: Nothing is left of it.

    Example:
        >>> file_name("../../etc/quartz.cif"), file_name("a<b>.cif")
        ('quartz.cif', 'a<b>.cif')
    """
    last = given.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in last if c.isprintable()).strip()[-LONGEST_NAME:]
    if kept in ("", ".", ".."):
        raise wrong("name", f"{given[:LONGEST_NAME]!r} names no file", "give the file's name")
    return kept


def correlation(given: Fields) -> tuple[dict[str, Any], str]:
    """What `debye.correlate` is asked, and the model that is fitted.

    Raises:
        Unusable: A field is of another kind.
    """
    how: dict[str, Any] = {}
    if given.get("rings") is not None:
        how["rings"] = field(given, "rings", int)
    if given.get("frame_time") is not None:
        how["frame_time"] = float(field(given, "frame_time", (int, float)))
    if given.get("centre") is not None:
        centre = field(given, "centre", list)
        if len(centre) != 2 or not all(_is_number(x) for x in centre):
            raise wrong("centre", "it needs two numbers, x and y")
        how["centre"] = tuple(map(float, centre))
    if given.get("two_time") is not None:
        how["two_time"] = [whole(given, "two_time", 4096)]
    how["find_centre"] = given.get("find_centre") is True
    return how, word(given, "model", ("stretched", "single", "double", "cumulants"), "stretched")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
