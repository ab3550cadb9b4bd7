"""A page of figures for each study: real space, speckle, what was learned, errors."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from debye.plot import PAGE, WARNING, new_figure, style
from debye.plot.speckle import draw_strip
from debye.speckle.studies.page import titled
from debye.speckle.studies.study import Report


def study_figure(report: Report) -> Figure:
    """The page that a study describes, one strip below the other.

    Raises:
        InputError: What the study's own page refuses.
    """
    strips = report.study.page(report)
    heights = [strip.height for strip in strips]
    with style():
        figure = new_figure(PAGE, sum(heights) + 0.3)
        parts = figure.subfigures(len(strips), 1, height_ratios=heights)
        for part, strip in zip(np.asarray(parts).flat, strips, strict=True):
            draw_strip(part, strip)
        figure.suptitle(titled(report), fontweight="bold")
        if report.stopped:
            figure.supxlabel(report.stopped, color=WARNING, fontsize="medium")
    return figure
