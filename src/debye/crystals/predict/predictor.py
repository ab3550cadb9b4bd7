"""A model file; structures in, predictions out, in bounded batches.

whatever holds structures → Crystal → Graph → model → Prediction
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, overload

import torch
from torch import Tensor

from debye.core import checkpoint
from debye.core.device import pick_device
from debye.crystals.data.born import Given, charged
from debye.crystals.data.phonopy_files import CALCULATIONS
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.graph import Graph
from debye.crystals.lattice.bands import Bands
from debye.crystals.lattice.force_constants import ForceConstants
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.lattice.site_states import UNSTABLE
from debye.crystals.model.ensemble import Ensemble, upgraded
from debye.crystals.model.modes import FineSites, fine_sites
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.bands import predicted_bands
from debye.crystals.predict.model_files import TAUGHT, calibration_of, check_card, model_path
from debye.crystals.predict.prediction import Prediction, site_labels
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure.elements import ATOMIC_NUMBERS, SYMBOLS
from debye.crystals.structure.functional import check_lattice, to_pbesol
from debye.crystals.structure_io.anything import crystals_and
from debye.crystals.structure_io.read import FailedInput, attempt
from debye.crystals.uncertainty.features import HeadOutputs
from debye.crystals.uncertainty.uncertainty import WithWarnings, uncertainties
from debye.errors import DebyeError, InputError

EDGES_AT_ONCE = 60_000
"""Edges of a batch, which bound its memory: about 150 MB."""

MOST_SITES = 500
"""Sites of the largest cell whose modes are sought; their cost grows as the cube."""

FEW_IMAGINARY = 0.01
"""Part of the states below which imaginary ones that most networks do not find are not told."""
EDGE_OF_RANGE = 0.02
"""States at the end of the axis, relative to the peak, from which on a spectrum may be cut off.

Of the shared data's 1,287 labels 70 are; this warns of 66 of them, and of 95 that are not."""


class Predictor:
    """A trained network with its card.

    Args:
        model: What predicts.
        card: What its file tells of it; ``elements`` names what it has seen.
        device: Where to compute.

    Attributes:
        edges_at_once: Edges of a batch; 0 predicts crystals one by one.
        lattice: What cells crystals come in, see `on`.
        fine: Whether spectra are those of the modes, see `as_labels`.
        taught: Whether force constants were among what the model learned from.

    Raises:
        InputError: The card holds the calibration of another model.

    Example:
        >>> import numpy as np
        >>> cell = 2.715 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
        >>> silicon = Crystal(["Si", "Si"], [[0, 0, 0], [1.3575, 1.3575, 1.3575]], cell)
        >>> prediction = Predictor.load().predict(silicon)
        >>> round(prediction.total.integral.item(), 3)
        6.0
    """

    def __init__(
        self, model: PhononNet | Ensemble, card: Mapping[str, Any], device: str = "cpu"
    ) -> None:
        ensemble = model if isinstance(model, Ensemble) else Ensemble.of([model])
        self.model, self.card, self.device = ensemble.to(device).eval(), dict(card), device
        self.edges_at_once, self.lattice, self.fine = EDGES_AT_ONCE, "given", True
        self.seen = frozenset(self.card["elements"])
        self.taught = bool(self.card.get("data", {}).get(TAUGHT))
        self.calibration = calibration_of(self.model, card)

    def __repr__(self) -> str:
        members = len(self.model.members)
        kind = "network" if members == 1 else f"ensemble of {members} networks"
        known = "calibrated" if self.calibration else "not calibrated"
        return f"Predictor({kind}, {len(self.seen)} elements, {known}, on {self.device})"

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> Predictor:
        """Load a model file, the shipped one by default, and check that it predicts as it did.

        Args:
            path: A file of a training: one network, or an ensemble. None is the shipped ensemble,
                "fast" the shipped single network, "labels" that taught by spectra alone.
            device: Where to compute: ``auto``, ``cpu``, ``cuda``, ``xpu`` or ``mps``.

        Raises:
            InputError: There is no such device, the file cannot be used, its probe prediction has
                changed, or it holds the calibration of another model.
        """
        device = pick_device(device)
        path = model_path(path)
        model: PhononNet | Ensemble
        model, card = checkpoint.load_model(path, PhononNet, Ensemble, upgrade=upgraded)
        check_card(model, card, path)
        return cls(model, card, device)

    def on(self, lattice: str) -> Predictor:
        """The same predictor for crystals in cells of another kind than those it learned on.

        Args:
            lattice: ``pbe``, ``lda`` or ``measured``, whose lengths are put right; or ``given``.
                See `debye.crystals.structure.functional`.

        Raises:
            InputError: It is none of these.
        """
        check_lattice(lattice)
        found = copy(self)
        found.lattice = lattice
        return found

    def as_labels(self) -> Predictor:
        """The same predictor, whose spectra are as the published labels show them.

        A network that finds modes tells of them finely, on 5 cm⁻¹ up to the highest. Labels were
        smoothed and end at 1000 cm⁻¹; what is compared with them must be seen as they were.
        """
        found = copy(self)
        found.fine = False
        return found

    @overload
    def predict(self, given: Crystal) -> Prediction: ...
    @overload
    def predict(self, given: object) -> Any: ...  # noqa: ANN401 - one, or a list
    def predict(self, given: object) -> Any:
        """The prediction for a structure, or a list of them for several.

        A ``Phonopy`` with force constants, and phonopy's files that hold some, are not predicted:
        their spectrum follows from these, and its first warning says so.

        Args:
            given: A path, the text of a CIF or POSCAR, an open file, ASE ``Atoms``, a pymatgen
                ``Structure`` or ``ComputedStructureEntry``, a phonopy cell, a `Crystal`, a dict
                of their JSON; or a list, generator or pandas column of these.

        Returns:
            A `Prediction`; or, where several were given, a list in their order, in which a
            `FailedInput` says of each that failed what happened, why, and what to do.

        Raises:
            InputError: The only one given cannot be read, or has a site without neighbours.
            ComputationError: Its modes cannot be found.

        Example:
            >>> from ase.build import bulk
            >>> Predictor.load("fast").predict(bulk("Si"))
            Prediction(Si, 2 sites, mean 333 ± 30 cm⁻¹)
        """
        crystals, many = crystals_and(CALCULATIONS, given)
        found = list(self(crystals))
        if many:
            return found
        (only,) = found
        if isinstance(only, FailedInput):
            raise only.error
        return only

    def __call__(
        self, structures: Iterable[Crystal | HarmonicCrystal | FailedInput]
    ) -> Iterator[Prediction | FailedInput]:
        """Predictions in the order of the structures, each batch as soon as it is full.

        What was rejected in reading, or has a site without neighbours, comes out as `FailedInput`
        in its place.
        """
        waiting: list[Crystal | Prediction | FailedInput] = []
        graphs: list[Graph] = []
        edges = 0
        for structure in structures:
            if isinstance(structure, Crystal):
                try:
                    structure = to_pbesol(structure, self.lattice)  # noqa: PLW2901
                    graphs.append(self._graph(structure))
                    edges += len(graphs[-1].center)
                except DebyeError as error:
                    structure = FailedInput(structure.source or structure.name, error)  # noqa: PLW2901
            waiting.append(_followed(structure, self.lattice))
            if edges > self.edges_at_once or len(waiting) >= 1024:
                yield from self._in_order(waiting, graphs)
                waiting, graphs, edges = [], [], 0
        yield from self._in_order(waiting, graphs)

    def _graph(self, crystal: Crystal) -> Graph:
        """The graph of a crystal, unless its modes are too many to be found.

        Raises:
            InputError: It is too large for its modes to be found, or a site has no neighbours.
        """
        if len(crystal.species) > MOST_SITES and "force_constants" in self.model.kinds:
            raise InputError(
                f"cannot predict {crystal.source or crystal.name or crystal.formula}:"
                f" it has {len(crystal.species)} sites",
                why=f"this model finds the modes of its cell, which is done up to {MOST_SITES}",
                fix="give the primitive cell, or take --model fast, which seeks none",
            )
        return Graph.of(crystal, self.model.cutoff)

    def _in_order(
        self, waiting: list[Crystal | Prediction | FailedInput], graphs: list[Graph]
    ) -> Iterator[Prediction | FailedInput]:
        crystals = [s for s in waiting if isinstance(s, Crystal)]
        predictions = iter(self._predict(crystals, graphs) if crystals else [])
        for structure in waiting:
            yield next(predictions) if isinstance(structure, Crystal) else structure

    @torch.no_grad()
    def _predict(self, crystals: list[Crystal], graphs: list[Graph]) -> list[Prediction]:
        here = Graph.batch(graphs)
        batch = here.to(self.device)
        head_outputs, modes = self.model.with_modes(batch)
        answer = head_outputs[self.model.answers].mean(0)
        fine: list[FineSites] | list[None] = [None] * len(crystals)
        if self.fine and modes:
            fine = fine_sites(modes, answer, tuple(self.model.frequency))
        each = answer.cpu().split([g.n_sites for g in graphs])
        totals = batch.totals(head_outputs).transpose(0, 1).cpu()
        found = self._uncertainties(crystals, here, totals)
        return list(map(self._prediction, crystals, each, fine, totals, found))

    def _uncertainties(
        self, crystals: list[Crystal], batch: Graph, totals: Tensor
    ) -> list[WithWarnings]:
        """The uncertainty of each prediction, and its warnings."""
        if self.calibration is None:
            return [(None, ())] * len(crystals)
        head_outputs = HeadOutputs(totals, self.model.kinds, tuple(self.model.answers))
        return uncertainties(self.calibration, crystals, batch, head_outputs)

    def _prediction(
        self,
        crystal: Crystal,
        answer: Tensor,
        fine: FineSites | None,
        head_outputs: Tensor,
        known: WithWarnings,
    ) -> Prediction:
        uncertainty, words = known
        sites = view = _sites(crystal, torch.tensor(self.model.frequency), answer)
        unseen = tuple(sorted({s for s in map(_element, crystal.elements) if s not in self.seen}))
        warnings = (*self._warnings(crystal, sites, fine, unseen), *words)
        if fine is not None:
            sites = _sites(crystal, fine.frequency, fine.density.cpu())
            uncertainty = uncertainty and uncertainty.on(sites.sum())
        return Prediction(
            crystal,
            sites,
            head_outputs.clone(),  # a view would travel with all of its batch
            self.model.kinds,
            unseen,
            warnings,
            uncertainty,
            self.force_constants,
            lattice=self.lattice,
            taught=self.taught,
            label_view=None if fine is None else view,
            lowest=None if fine is None else fine.lowest.cpu().clone(),
        )

    def bands(
        self,
        crystal: Crystal | HarmonicCrystal,
        path: str = "auto",
        points: int = 300,
        *,
        velocities: bool = False,
        born: Given | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Bands:
        """The phonon bands of a crystal's primitive cell.

        Args:
            crystal: What the bands are of; with its own force constants, these are taken.
            path: ``auto`` for the customary one, or labels, ``|`` for a jump: ``G X W | L G``.
            points: Wave vectors on it, about.
            velocities: Whether to find group velocities too.
            born: phonopy's BORN of its primitive cell, a file or its content, for the splitting
                of LO and TO modes.
            progress: Is told how many wave vectors are done, and of how many.

        Raises:
            InputError: The path is none, the Born charges are not of the crystal, or what
                `force_constants` refuses.
            ComputationError: The modes cannot be found.
        """
        if isinstance(crystal, HarmonicCrystal):
            known = crystal.as_computed(self.lattice)
            known = known if born is None else charged(known, born)
            return known.bands(path, points, velocities=velocities, progress=progress)
        found = self.predict(crystal)
        return predicted_bands(
            to_pbesol(crystal, self.lattice),
            self.force_constants if born is None else partial(self._charged, born),
            path,
            points,
            velocities=velocities,
            warnings=self._of_modes(found),
            range_end=None if self.taught else self._end,
            taught=self.taught,
            known=found.uncertainty,
            progress=progress,
        )

    def force_constants(self, crystal: Crystal) -> list[ForceConstants]:
        """The force constants of one crystal, as each member that predicts them has them.

        Raises:
            InputError: A site has no neighbours, the cell is too large for its modes to be sought,
                or no member predicts force constants.
        """
        with torch.no_grad():
            graph = self._graph(crystal).to(self.device)
            return self.model.force_constants(graph)

    def _charged(self, born: Given, cell: Crystal) -> list[ForceConstants]:
        """The force constants of each member with the dipoles of Born charges."""
        members = self.force_constants(cell)
        known = charged(HarmonicCrystal(cell, members[0]), born).force_constants
        return [replace(one, dipoles=known.dipoles) for one in members]

    def warnings_of_modes(self, crystal: Crystal) -> list[str]:
        """The warnings of a prediction, but for those that are of the range of its spectrum."""
        return self._of_modes(self.predict(crystal))

    def _of_modes(self, found: Prediction) -> list[str]:
        return [w for w in found.warnings if w != self._cut_off]

    def _warnings(
        self, crystal: Crystal, view: Spectrum, fine: FineSites | None, unseen: tuple[str, ...]
    ) -> Iterator[str]:
        yield from crystal.notes
        if unseen:
            yield (
                f"no training structure contained {', '.join(unseen)}: "
                "the prediction is a guess from neighbouring elements"
            )
        total = view.density.sum(0)
        if fine is None and total[-1] > EDGE_OF_RANGE * total.max():
            yield self._cut_off
        if fine is not None:
            yield from self._instability(fine)

    def _instability(self, fine: FineSites) -> Iterator[str]:
        """What is said of imaginary modes, where most networks find them or many states are so."""
        lowest, least = (float(x) for x in (fine.lowest.median(), fine.lowest.min()))
        known = self.calibration and self.calibration.modes
        likely = known.unstable(lowest) if known else 1.0
        chance = f"probability {likely:.0%}" if known else "how probable is not known"
        members = f"{int((fine.lowest < UNSTABLE).sum())} of {len(fine.lowest)} networks"
        if lowest < UNSTABLE:
            word = "predicted to" if likely >= 0.5 else "may"
            yield (
                f"{word} be unstable: its softest mode is imaginary, {lowest:.0f} cm⁻¹ "
                f"({members} say so, {chance})"
            )
        elif least < UNSTABLE and (part := fine.imaginary) > FEW_IMAGINARY:
            yield (
                f"{part:.0%} of the states are imaginary, down to {least:.0f} cm⁻¹, by {members}: "
                f"the others find it stable ({chance} that it is not)"
            )

    @property
    def _end(self) -> float:
        """The end of the model's range, cm⁻¹."""
        return float(self.model.frequency[-1])

    @property
    def _cut_off(self) -> str:
        """What is said of a spectrum that goes on beyond the model's range; not true of bands."""
        return (
            f"the spectrum does not vanish at {self._end:g} cm⁻¹, the end of the model's range: "
            "modes beyond it count as softer ones, so the heat capacity comes out too high"
        )


def _followed(
    structure: Crystal | HarmonicCrystal | FailedInput, lattice: str
) -> Crystal | Prediction | FailedInput:
    """What follows from force constants; anything else as it is."""
    if not isinstance(structure, HarmonicCrystal):
        return structure
    label, known = structure.crystal.source or structure.crystal.formula, structure
    return attempt(label, lambda: Prediction.of_force_constants(known.as_computed(lattice)))


def _element(symbol: str) -> str:
    """Deuterium and tritium are hydrogen to the model."""
    return SYMBOLS[ATOMIC_NUMBERS[symbol]]


def _sites(crystal: Crystal, frequency: Tensor, density: Tensor) -> Spectrum:
    """The sites of a crystal from densities (n, F) of full ones."""
    occupancies = torch.from_numpy(crystal.occupancies)
    occupied = occupancies.to(density).unsqueeze(-1) * density
    return Spectrum(frequency, occupied, occupancies, labels=site_labels(crystal))
