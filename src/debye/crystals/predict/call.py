"""One call for whatever holds a structure, or for many: predict, bands."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from debye.core.device import pick_device
from debye.crystals.data.born import Given
from debye.crystals.data.phonopy_files import CALCULATIONS
from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.predict.harmonic import polar, smooth_of
from debye.crystals.predict.model_files import model_path
from debye.crystals.predict.predictor import Predictor
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.anything import crystals_and
from debye.crystals.structure_io.read import FailedInput, attempt
from debye.errors import InputError

Found = TypeVar("Found")


@lru_cache(maxsize=4)
def _loaded(path: Path, device: str, changed: int) -> Predictor:
    """A model as it is now: ``changed`` is when its file was last written."""
    return Predictor.load(path, device)


def predictor_of(model: Predictor | str | os.PathLike[str] | None, device: str) -> Predictor:
    """A predictor as it is given, or that of a file, loaded once.

    Raises:
        InputError: There is no such model or device, or the file cannot be used.
    """
    if isinstance(model, Predictor):
        return model
    path, device = model_path(model), pick_device(device)
    return _loaded(path, device, path.stat().st_mtime_ns if path.exists() else 0)


def predict(
    given: object,
    *,
    born: Given | None = None,
    smooth: bool = False,
    lattice: str = "given",
    model: Predictor | str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> Any:  # noqa: ANN401 - one, or a list
    """Predict the phonon density of states of whatever holds a structure, or many.

    Args:
        given: What `Predictor.predict` takes.
        born: phonopy's BORN of the one crystal's primitive cell; a file or its
            content. The spectrum is then that of its force constants, with the dipoles of these
            charges.
        smooth: Whether spectra are smoothed as the published labels were, on 51 points to
            1000 cm⁻¹, predicted ones and those of force constants.
        lattice: What cells the crystals come in: ``pbe``, ``lda`` or ``measured``, whose lengths
            are put right; see `debye.crystals.structure.functional`.
        model: A model file, ``fast``, ``labels``, or a `Predictor`; the shipped ensemble if None.
        device: Where to compute: ``auto``, ``cpu``, ``cuda``, ``xpu`` or ``mps``.

    Returns:
        A `Prediction`; or a list of `Prediction` and `FailedInput`, where several were given.

    Raises:
        InputError: The only structure cannot be used, or there is no such model, device or lattice.
        ComputationError: Its modes cannot be found.

    Example:
        >>> import debye
        >>> found = debye.predict(["nowhere.cif", debye.DEMO / "silicon.vasp"], model="fast")
        >>> [type(item).__name__ for item in found]
        ['FailedInput', 'Prediction']
    """
    predictor = predictor_of(model, device).on(lattice)
    predictor = predictor.as_labels() if smooth else predictor
    crystals, many = crystals_and(CALCULATIONS, given)
    items = crystals if born is None else polar(predictor, crystals, born)
    found = list(predictor(map(smooth_of, items) if smooth else items))
    return found if many else _only(found[0])


def bands(
    given: object,
    path: str = "auto",
    points: int = 300,
    *,
    velocities: bool = False,
    born: Given | None = None,
    lattice: str = "given",
    model: Predictor | str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> Any:  # noqa: ANN401 - one, or a list
    """Predict the phonon bands of whatever holds a structure, or many; see `Predictor.bands`.

    Args:
        given: What `Predictor.predict` takes.
        path: ``auto`` for the customary one, or labels, ``|`` for a jump: ``G X W | L G``.
        points: Wave vectors on it, about.
        velocities: Whether to find group velocities too.
        born: phonopy's BORN of the one crystal's primitive cell, a file or its content.
        lattice: As for `predict`.
        model: As for `predict`.
        device: As for `predict`.

    Returns:
        `Bands`; or a list of `Bands` and `FailedInput`, where several were given.

    Raises:
        InputError: The only structure cannot be used, the path is none, there is no such model
            or device, the model predicts no force constants, or the Born charges are not of
            the crystal.
        ComputationError: The modes of the only structure cannot be found.
    """
    predictor = predictor_of(model, device).on(lattice)
    crystals, many = crystals_and(CALCULATIONS, given)

    def of(item: Crystal | HarmonicCrystal | FailedInput) -> Bands | FailedInput:
        if isinstance(item, FailedInput):
            return item
        crystal = item.crystal if isinstance(item, HarmonicCrystal) else item
        return attempt(
            crystal.source or crystal.formula,
            lambda: predictor.bands(item, path, points, velocities=velocities, born=born),
        )

    if many and born is not None:
        why, fix = "Born charges are of one crystal", "give one structure with its BORN"
        raise InputError("cannot use the Born charges for several structures", why=why, fix=fix)
    found = [of(item) for item in crystals]
    return found if many else _only(found[0])


def _only(found: Found | FailedInput) -> Found:
    """What was found of the only structure.

    Raises:
        InputError: It failed.
    """
    if isinstance(found, FailedInput):
        raise found.error
    return found
