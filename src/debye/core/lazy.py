"""Names of a package that are imported when they are first used, and listed all the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, homes: Mapping[str, Iterable[str]], rooms: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Args:
        package: Its ``__name__``.
        homes: For each module below it, its names that the package offers.
        rooms: Subpackages that are attributes too.

    Example:
        >>> get, listed, _ = lazily("debye", {"units": ["R"]}, ["core"])
        >>> round(get("R"), 3), listed()
        (8.314, ['R', 'core'])
    """
    where = {name: module for module, names in homes.items() for name in names}
    names = sorted([*where, *rooms])

    def get(name: str) -> Any:  # noqa: ANN401 - whatever stands behind the name
        if name in where:
            value = getattr(import_module(f"{package}.{where[name]}"), name)
        elif name in rooms:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # Kept, so that a name is the same thing even after a module of that name is imported.
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: names, names
