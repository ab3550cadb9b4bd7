"""What every type shows of itself: drawn on axes, and as HTML in a notebook."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
import torch
from lattices import CRYSTALS, force_constants_of
from matplotlib.axes import Axes

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo_table import thermodynamics
from debye.crystals.lattice.bands import Bands, QPath
from debye.crystals.predict.prediction import Prediction
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError
from debye.plot import new_figure
from debye.plot.display import html, plotted
from debye.speckle.data.frames import Frames
from debye.speckle.dynamics.couplings import Kernel
from debye.speckle.dynamics.particles import Particles
from debye.speckle.dynamics.solver import Solver
from debye.speckle.dynamics.splines import PairSpline, SplineFlow
from debye.speckle.dynamics.systems import Drift, Kuramoto
from debye.speckle.fitting.fitted import FittedSystem
from debye.speckle.scattering.models import Lattice
from debye.speckle.scattering.optics import Detector, GaussianProbe

OMEGA = np.linspace(0, 1000, 51)
RNG = np.random.default_rng(0)


def crystal(n=2, name=""):
    elements = ["Na", "Cl", "O", "Si", "Fe", "Mg", "K", "Ca", "N"]
    positions = [[2.5 * i, 0.0, 0.0] for i in range(n)]
    cell = np.diag([2.5 * n, 4.0, 4.0])
    return Crystal([elements[i % 9] for i in range(n)], positions, cell, name=name)


def spectrum(n, points=51):
    sites = RNG.random((n, points)) + 0.1
    omega = np.linspace(0, 1000, points)
    labels = [f"{next(iter(s))}{i}" for i, s in enumerate(crystal(n).species)]
    flat = Spectrum(omega, sites, normalisation="max").to("1")
    return Spectrum(omega, 3 * flat.density, labels=labels)


def prediction(n=2, warnings=(), name=""):
    sites = spectrum(n)
    return Prediction(crystal(n, name), sites, sites.density, ("density",), (), tuple(warnings))


def bands(kind):
    salt = CRYSTALS[kind]
    return Bands.of(salt, force_constants_of(salt), QPath.of(salt.cell, points=120))


def frames(times=5, pixels=64):
    seen = 100 * torch.rand(2, times, pixels, pixels, generator=torch.Generator().manual_seed(1))
    return Frames(seen, torch.arange(times, dtype=torch.float64), torch.ones(pixels, pixels) > 0)


def fitted(size=3, known=True):
    kernel = Kernel(size, symmetric=True)
    with torch.no_grad():
        kernel.weights.copy_(torch.linspace(1, 0.1, len(kernel.weights)))
    covariance = 0.01 * torch.eye(len(kernel.weights), dtype=torch.float64) if known else None
    scattering = Lattice(Detector(n=8, dq=0.5, L=2.0), GaussianProbe(0.25, 2.0), points=8)
    return FittedSystem(Kuramoto(kernel), scattering, Solver(), covariance=covariance)


T = np.linspace(0, 600, 13)
SHOWN = {
    "crystal": crystal(),
    "crystal-of-500": crystal(500),
    "crystal-mixed": Crystal([{"Bi": 0.5, "Sb": 0.5}], [[0, 0, 0]], 4 * np.eye(3)),
    "spectrum": spectrum(2).sum(),
    "spectrum-fine": Spectrum(np.linspace(0, 1e3, 4404), np.ones(4404), normalisation="max"),
    "spectrum-partials": spectrum(9),
    "spectrum-of-500-sites": spectrum(500),
    "spectrum-batch": Spectrum(OMEGA, np.ones((3, 51)), normalisation="max"),
    "prediction": prediction(),
    "prediction-of-99": prediction(99, ["it is far from all that is known, " * 3] * 20),
    "bands": bands("salt"),
    "bands-imaginary": replace(bands("salt"), frequency=-bands("salt").frequency),
    "thermodynamics": thermodynamics(spectrum(2).sum(), T, bounds={"heat_capacity": (
        torch.full((13,), 5.0), torch.full((13,), 25.0))}),
    "thermodynamics-long": thermodynamics(spectrum(2).sum(), np.linspace(0, 600, 6001)),
    "thermodynamics-cold": thermodynamics(spectrum(2).sum(), [0.0]),
    "thermodynamics-batch": thermodynamics(spectrum(2), T),
    "frames": frames(),
    "frames-many": frames(500, 16),
    "frames-large": frames(2, 300),
    "frames-dark": replace(frames(2, 4), data=torch.zeros(1, 2, 4, 4)),
    "fitted": fitted(),
    "fitted-many": fitted(21),
    "fitted-unknown-errors": fitted(known=False),
}  # fmt: skip
NO_PICTURE = {"spectrum-batch": "as one curve", "thermodynamics-batch": "batch of shape"}


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_a_notebook_shows_little_valid_html_without_scripts(shown):
    text = html(shown)
    page = ET.fromstring(text)  # well-formed
    assert len(text.encode()) < 5000
    assert {e.tag.rpartition("}")[2] for e in page.iter()} <= {
        "div", "b", "br", "span", "sub", "svg", "g", "path", "circle", "text", "title", "image",
    }  # fmt: skip
    links = [v for e in page.iter() for k, v in e.attrib.items() if k.endswith(("href", "src"))]
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not [k for e in page.iter() for k in e.attrib if k.startswith("on")]
    assert "nan" not in text
    assert "inf" not in text


@pytest.mark.parametrize("name", [name for name in SHOWN if name not in NO_PICTURE])
def test_a_picture_is_also_told_in_words_and_takes_the_page_s_colour(name):
    page = ET.fromstring(html(SHOWN[name]))
    pictures = [e for e in page.iter() if e.tag.endswith("}svg")]
    assert pictures
    for picture in pictures:
        assert picture.get("role") == "img"
        assert picture.get("fill") == "currentColor"
        assert [e.text for e in picture if e.tag.endswith("title")] != []


@pytest.mark.parametrize("name", [name for name in SHOWN if name not in NO_PICTURE])
def test_everything_draws_itself_on_given_axes_and_on_its_own(name):
    ax = new_figure().subplots()
    assert plotted(SHOWN[name], ax) is ax
    assert ax.get_children()
    alone = plotted(SHOWN[name])
    assert isinstance(alone, Axes)
    assert alone.figure is not ax.figure
    alone.figure.draw_without_rendering()


@pytest.mark.parametrize("name", NO_PICTURE)
def test_a_batch_is_told_in_words_and_not_drawn(name):
    assert "a batch of shape" in html(SHOWN[name])
    with pytest.raises(InputError, match=NO_PICTURE[name]):
        plotted(SHOWN[name])


def test_a_notebook_shows_axes_of_their_own():
    assert plotted(SHOWN["spectrum"])._repr_png_().startswith(b"\x89PNG")
    assert new_figure()._repr_png_().startswith(b"\x89PNG")  # and pages


def test_what_one_chooses_reaches_the_drawing():
    assert plotted(SHOWN["spectrum"], unit="THz").get_xlabel() == "Frequency (THz)"
    assert plotted(SHOWN["thermodynamics"], quantity="entropy").get_ylabel().startswith("$S$ (")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a & b", "]]>", '"><b>'])
def test_names_and_warnings_are_told_as_they_are(name):
    for shown in (crystal(name=name), prediction(name=name, warnings=[name])):
        page = ET.fromstring(html(shown))
        assert name in "".join(page.itertext())
        assert not [e for e in page.iter() if e.tag == "script"]


def test_methods_lead_here():
    total = SHOWN["spectrum"]
    assert total._repr_html_() == html(total)
    assert total.plot().get_ylabel() == "DoS (states / cm⁻¹ / cell)"


def fitted_term(system, known=True):
    size = sum(p.numel() for p in system.parameters())
    errors = 0.01 * torch.eye(size, dtype=torch.float64) if known else None
    return FittedSystem(
        system,
        Lattice(Detector(8, 0.5, 2.0), GaussianProbe(0.5, 2.0), 8),
        Solver(),
        covariance=errors,
    )


def test_a_fitted_term_is_drawn_as_what_it_is():
    pair, flow = Particles(PairSpline(1.0, 8, columns=2), species=[0, 1]), Drift(SplineFlow())
    curves = plotted(fitted_term(pair))
    assert curves.get_xlabel() == "Distance r"
    assert len(curves.collections) == 2  # a band for each of like and unlike pairs
    assert np.isfinite(curves.get_ylim()).all()
    with torch.no_grad():
        flow.term.coefficients[..., 0] = 1.0
    field = plotted(fitted_term(flow))
    (arrows,) = field.collections
    assert len(arrows.U) == 15 * 15
    assert pytest.approx(1.0) == arrows.U
    for system in (pair, flow):
        assert plotted(fitted_term(system, known=False)).get_xlabel() == "Coefficient"


def test_an_arrow_is_faint_where_little_is_known():
    flow = Drift(SplineFlow())
    with torch.no_grad():
        flow.term.coefficients[..., 0] = 1.0
    fitted = fitted_term(flow)
    left = flow.term.grid()[:, 0] < 0
    fitted.covariance *= torch.where(left, 1e-4, 1e4).repeat_interleave(2)
    (arrows,) = plotted(fitted).collections
    opacity = arrows.get_facecolor()[:, 3].reshape(15, 15)
    assert opacity[:, :5].min() > 0.9
    assert opacity[:, 9:].max() < 0.2


def test_what_has_no_picture_says_so():
    assert html([1, 2]) == "<pre>[1, 2]</pre>"
    with pytest.raises(InputError, match="cannot draw a list"):
        plotted([1, 2])


def test_a_card_tells_the_numbers():
    text = html(crystal(2, "halite"))
    assert "NaCl (halite)" in text
    assert "a, b, c = 5.0000, 4.0000, 4.0000 Å" in text
    assert "V = 80.00 Å³" in text
    table = SHOWN["thermodynamics"]
    assert f"S {table.entropy[-1]:.5g} J/K/mol-atom at 600 K" in html(table)
    assert "2 runs of 5 frames of 64 × 64 pixels, 100% of them open" in html(SHOWN["frames"])
    assert "weights 1 = 1 ± 0.1" in html(SHOWN["fitted"])
    assert "±" not in html(SHOWN["fitted-unknown-errors"])
