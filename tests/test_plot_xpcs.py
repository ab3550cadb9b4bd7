"""Figures of XPCS say what was measured: colours by q, fits over points, squares in seconds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from debye.errors import InputError
from debye.plot import new_figure
from debye.plot.saxs import coarse, draw_saxs, draw_saxs_1d
from debye.plot.xpcs import (
    correlation_figure,
    draw_correlation,
    draw_intensity,
    draw_map,
    draw_relaxation,
    draw_stability,
    fit_figure,
    two_time_figure,
)
from debye.speckle.xpcs.average import average
from debye.speckle.xpcs.diffusion import power_law
from debye.speckle.xpcs.fit import fit
from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import make_qmap
from debye.speckle.xpcs.simulate import Simulated
from debye.speckle.xpcs.twotime import two_time

GEOMETRY = Geometry(x=20.5, y=18.0, distance=5.0, pixel=(150e-6, 75e-6), wavelength=1.24)
MASK = torch.ones(30, 44) > 0
MASK[:, 30] = False
QMAP = make_qmap(GEOMETRY, MASK, [3e-4, 6e-4, 9e-4, 1.3e-3], phi=2)
SEEN = Simulated(QMAP, frames=120, frame_time=1e-3, diffusion=1e8, photons=2.0, slope=1.0)
FOUND = SEEN.correlate(slice_frames=40)
FITTED = fit(FOUND, "single", fixed={"baseline": 1.0})
MAPS = two_time(SEEN.blocks(), QMAP, 1e-3, bins=[0, 3])


def axes(draw, *what, **how):
    ax = new_figure().subplots()
    draw(ax, *what, **how)
    ax.figure.draw_without_rendering()
    return ax


def series(ax):
    """Points of the error bars drawn."""
    return [bar.lines[0].get_ydata() for bar in ax.containers]


def test_g2_of_each_bin_with_the_curves_of_the_fit_in_its_colour():
    ax = axes(draw_correlation, FOUND, fitted=FITTED)
    for seen, g2 in zip(series(ax), FOUND.g2.numpy(), strict=True):
        np.testing.assert_allclose(seen, g2 - 1)
    curves = [line for line in ax.lines if len(line.get_xdata()) > 100]
    assert len(curves) == len(QMAP)
    for bar, curve, (base, contrast, tau) in zip(
        ax.containers, curves, FITTED.values.tolist(), strict=True
    ):
        assert bar.lines[0].get_color() == curve.get_color()
        t = curve.get_xdata()
        np.testing.assert_allclose(
            curve.get_ydata(), base - 1 + contrast * np.exp(-2 * t / tau), atol=1e-9
        )
    colours = [bar.lines[0].get_color() for bar in ax.containers]
    assert colours[0] == colours[1] != colours[2]  # two azimuths of one q
    assert ax.get_xlabel() == "delay τ / s"
    assert ax.get_legend().get_texts()[0].get_text() == "0.00045, 90°"


def test_points_of_unknown_size_set_no_limits():
    noisy = replace(FOUND, g2=FOUND.g2.clone(), replicas=FOUND.replicas.clone())
    noisy.g2[0, -1] = 50.0
    noisy.replicas[:, 0, -1] = torch.linspace(-90, 90, len(FOUND.replicas)).double()
    low, high = axes(draw_correlation, noisy).get_ylim()
    assert -1 < low < 0 < high < 3


def test_relaxation_is_drawn_with_its_power_law():
    ax = axes(draw_relaxation, FITTED)
    law = power_law(FITTED)
    line = next(line for line in ax.lines if len(line.get_xdata()) == 50)
    slope = np.diff(np.log(line.get_ydata()[[0, -1]])) / np.diff(np.log(line.get_xdata()[[0, -1]]))
    np.testing.assert_allclose(slope, -law.power)
    assert (
        f"n = {law.power:.2f} ± {law.power_error:.2f}" in ax.get_legend().get_texts()[0].get_text()
    )
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    tau, error = law.at(torch.tensor([law.q]).double())
    assert float(tau) == pytest.approx(law.tau)
    assert float(error) == pytest.approx(law.tau_error / law.tau)


def test_the_mean_frame_bears_the_edges_of_the_bins():
    ax = axes(draw_saxs, FOUND)
    shown = ax.images[0].get_array()
    assert shown.mask[:, 30].all()
    rings = [patch for patch in ax.patches if isinstance(patch, Ellipse)]
    assert len(rings) == len(QMAP.q_edges)
    inside = QMAP.dynamic.labels.numpy() > 0
    y, x = np.nonzero(inside)
    within = [ring.contains_point(ax.transData.transform((20.5, 17.9))) for ring in rings]
    assert all(within)
    outer, (tall, wide) = rings[-1], GEOMETRY.sides
    assert outer.height == pytest.approx(outer.width * wide / tall)
    away = np.hypot((x - 20.5) * 2 / outer.width, (y - 18.0) * 2 / outer.height)
    assert 0.9 < away.max() < 1.01


def test_saxs_goes_by_the_static_shells():
    ax = axes(draw_saxs_1d, FOUND)
    q, mean = ax.lines[0].get_data()
    static = QMAP.static
    at = static.q_of == q[2]
    pixels = static.counts[at].double()
    assert mean[2] == pytest.approx(float((FOUND.saxs_1d[at] * pixels).sum() / pixels.sum()))


def test_two_time_maps_are_square_and_in_seconds():
    ax = axes(draw_map, MAPS, 1)
    assert ax.images[0].get_extent() == [0, 0.12, 0, 0.12]
    assert ax.get_aspect() == 1
    assert ax.get_xlabel() == "t₁ / s"
    with pytest.raises(InputError, match="no two-time map 2"):
        axes(draw_map, MAPS, 2)
    assert len(two_time_figure(MAPS).axes) == 2


def test_slices_and_runs_are_told_apart():
    ax = axes(draw_stability, FOUND)
    assert len(series(ax)) == 3
    assert ax.figure.axes[1].get_ylabel() == "begin of the slice / s"
    runs = average([replace(SEEN, seed=s).correlate() for s in (1, 2)])
    assert axes(draw_stability, runs, number=1).figure.axes[1].get_ylabel() == "run"
    for found, number in ((SEEN.correlate(), None), (FOUND, 99)):
        with pytest.raises(InputError, match="by slices of time"):
            axes(draw_stability, found, number=number)


def test_a_long_series_of_intensity_is_averaged():
    long = replace(FOUND, intensity=torch.ones(5000).double(), numbers=torch.arange(5000))
    assert len(axes(draw_intensity, long).lines[0].get_xdata()) <= 1000


def test_an_average_over_blocks_leaves_out_what_is_masked():
    values = np.arange(36.0).reshape(6, 6)
    values[0, 0] = np.nan
    found = coarse(values, 2)
    assert found.shape == (2, 2)
    assert found[0, 0] == pytest.approx(np.nanmean(values[:3, :3]))


def test_pages():
    for figure in (
        correlation_figure(FOUND, fitted=FITTED),
        correlation_figure(SEEN.correlate(), "frames"),
        fit_figure(FITTED, FOUND),
        fit_figure(FITTED),
    ):
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()


def test_results_draw_themselves():
    assert isinstance(FOUND.plot(), Figure)
    ax = new_figure().subplots()
    assert FOUND.plot(ax, fitted=FITTED) is ax
    for shown in (FITTED, MAPS):
        assert isinstance(shown.plot(), Axes)


def test_the_fit_of_a_model_of_one_s_own_is_not_drawn_as_another():
    with pytest.raises(InputError, match="no model of that name"):
        correlation_figure(FOUND, fitted=replace(FITTED, model="mine"))
