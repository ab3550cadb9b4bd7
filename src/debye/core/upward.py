"""What is looked up by name when it is first used: public names, and the one way up.

`lazily` gives a package its names without importing what stands behind them. A crystal can be
read from a file, a spectrum drawn, and neither files nor figures are their business: `HIGHER`
lists every function of a higher room that a method calls; nothing else of debye imports upwards.
"""

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


HIGHER = {
    "read_crystal": "debye.crystals.structure_io.read",
    "read_crystals": "debye.crystals.structure_io.read",
    "write_structures": "debye.crystals.structure_io.read",
    "read_spectrum": "debye.crystals.dos_io.files",
    "write_spectrum": "debye.crystals.dos_io.files",
    "spectrum_to_series": "debye.crystals.dos_io.exchange",
    "spectrum_to_frame": "debye.crystals.dos_io.exchange",
    "spectrum_to_pymatgen": "debye.crystals.dos_io.exchange",
    "spectrum_to_euphonic": "debye.crystals.dos_io.exchange",
    "to_euphonic": "debye.crystals.lattice.euphonic",
    "fit": "debye.speckle.xpcs.fit",
    "fit_global": "debye.speckle.xpcs.fit",
    "write_results": "debye.speckle.data.results",
    "plotted": "debye.plot.display",
    "html": "debye.plot.display",
    "viewed": "debye.studio.notebook",
}
"""Where each function stands that a method of a lower room calls."""


def higher(name: str) -> Any:  # noqa: ANN401 - any of the functions above
    """A function of a higher room.

    Example:
        >>> higher("read_crystal").__module__
        'debye.crystals.structure_io.read'
    """
    return getattr(import_module(HIGHER[name]), name)


class Displayed:
    """What draws itself, and shows itself in a notebook."""

    def plot(self, ax: Any = None, **how: Any) -> Any:  # noqa: ANN401 - matplotlib's axes
        """Draw it.

        Args:
            ax: Matplotlib axes to draw on; a figure of its own if None.
            how: What `debye.plot.display` lets one choose for this type.

        Returns:
            The axes.
        """
        return higher("plotted")(self, ax, **how)

    def _repr_html_(self) -> str:
        """A small picture and the numbers that matter, without scripts."""
        return str(higher("html")(self))
