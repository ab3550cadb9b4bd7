"""Structure → spectrum: the phonon density of states of a crystal from its structure."""

from __future__ import annotations

from debye.core.upward import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {},
    [
        "data",
        "dos",
        "dos_io",
        "inversion",
        "lattice",
        "model",
        "predict",
        "screening",
        "structure",
        "structure_io",
        "training",
        "uncertainty",
    ],
)
