"""The one way up: methods whose work stands in a higher room, looked up when they are called.

A crystal can be read from a file, a spectrum drawn, and neither files nor figures are their
business. `HIGHER` lists every such method's function; nothing else of debye imports upwards.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

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
    "plotted": "debye.plot.display",
    "html": "debye.plot.display",
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
