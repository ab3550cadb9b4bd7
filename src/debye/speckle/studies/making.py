"""The frames of a study, and the truth it is judged by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from debye.core import VERSION
from debye.speckle.data.frames import Frames, simulate
from debye.speckle.studies.cases import Study

UNSEEN = 1_000_003
"""Added to the seed for the initial states the law is judged on."""


def starts(study: Study, runs: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Initial states of a seed; other seeds share nothing with them."""
    return study.starts(runs, torch.Generator().manual_seed(seed))


def make_frames(
    study: Study,
    *,
    runs: int | None = None,
    photons: float = 0.0,
    seed: int = 0,
    until: float | None = None,
    watch: Callable[[int], None] = lambda runs: None,
) -> Frames:
    """The frames of a study: ``runs`` initial states, counted with ``photons``.

    ``watch`` is called with the number of runs done, now and then.
    """
    y0, specimen = starts(study, runs or study.runs, seed)
    about = {"study": study.name, "seed": seed, "photons": photons, "version": VERSION}
    return simulate(
        study.truth(),
        study.scattering(),
        y0,
        study.grid(until),
        solver=study.careful,
        photons=photons,
        specimen=specimen,
        seed=seed,
        since=study.since,
        about=about,
        watch=watch,
    )


def unseen_truth(study: Study, runs: int, times: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
    """True states (run, time, …) that share nothing with those of ``seed``, and their specimen."""
    y0, specimen = starts(study, runs, seed + UNSEEN)
    since = times.new_tensor([study.since])
    hidden = torch.cat([since, times]) if times[0] > study.since else times
    with torch.no_grad():
        path = study.careful.solve(study.truth().vector_field(), y0, hidden).states[-len(times) :]
    return path.transpose(0, 1), specimen
