"""One colour per element in every figure, told apart by all who look; bands behind, never over."""

import numpy as np
import pytest
from ase.data import chemical_symbols
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend

from debye.crystals.dos.spectrum import Spectrum
from debye.plot import new_figure
from debye.plot.dos import draw_dos
from debye.plot.element_colours import ELEMENT_COLOURS, colours_of, element_colour

OMEGA = np.linspace(0, 1000, 51)
COMMON = (
    "Ba-O K-O F-Rb Cs-F O-Rb F-K Na-O Li-O O-Sr F-Na Cu-O Cl-Cs La-O Bi-O O-Y O-Sb K-P Br-Cs B-O"
)
"""The pairs of elements that share most of the 1,287 training crystals, and those of textbooks."""
TEXTBOOK = (
    "Si-O Ti-O Mg-O Al-O Na-Cl K-Cl Ca-F Zn-S Ga-N Ga-As C-Si C-O C-N C-H H-O N-O Fe-O Mg-Sb Bi-Te"
)
# G. M. Machado et al., IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009), severity 1, linear RGB.
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
]
PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
# OKLab, B. Ottosson (2020): from linear RGB to the cones, and from their cube roots on.
CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
LAB = [
    [0.2104542553, 0.793617785, -0.0040720468],
    [1.9779984951, -2.428592205, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.808675766],
]


def seen(colour, vision):
    """A colour as eyes with a vision see it, in OKLab, where distances are differences."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.array(LAB) @ np.cbrt(np.array(CONES) @ np.clip(np.array(vision) @ linear, 0, 1))


@pytest.mark.parametrize("vision", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all", "deu", "pro"])
@pytest.mark.parametrize("pair", [*COMMON.split(), *TEXTBOOK.split()])
def test_elements_that_often_meet_are_told_apart(pair, vision):
    a, b = (seen(element_colour(symbol), vision) for symbol in pair.split("-"))
    assert np.linalg.norm(a - b) > 0.07  # a just noticeable difference is about 0.02


def test_every_element_has_a_colour_of_its_own_that_is_seen_on_white():
    assert set(chemical_symbols[1:104]) == set(ELEMENT_COLOURS)
    assert len(set(ELEMENT_COLOURS.values())) == len(ELEMENT_COLOURS)
    assert max(seen(colour, np.eye(3))[0] for colour in ELEMENT_COLOURS.values()) < 0.9


def test_an_element_has_its_colour_whatever_it_stands_beside():
    assert [colours_of(x)[-1] for x in (["O"], ["Si", "O"], ["Si1", "O2"], ["Ti", "N/O", "O"])] == [
        ELEMENT_COLOURS["O"]
    ] * 4


def partial(labels):
    return Spectrum(OMEGA, np.full((len(labels), 51), 0.003), labels=labels)


def test_sites_of_one_element_are_shades_of_its_colour():
    ax = new_figure().subplots()
    sites = partial(("O1", "O2"))
    draw_dos(ax, sites.sum(), sites)
    first, second = (area.get_facecolor()[0, :3] for area in ax.collections)
    assert not np.allclose(first, second)
    hue = 1 - np.array(to_rgb(ELEMENT_COLOURS["O"]))
    assert np.allclose(np.cross(1 - first, hue), 0)
    assert np.allclose(np.cross(1 - second, hue), 0)


def test_a_band_lies_behind_the_partials_and_is_named():
    ax = new_figure(7).subplots()
    sites = partial(("Si", "O"))
    total = sites.sum()
    band = (0.5 * total.density, 1.5 * total.density)
    draw_dos(ax, total, sites, band=band, band_name="90 % interval")
    depths = {c.get_zorder(): c.get_facecolor()[0] for c in ax.collections}
    behind = depths.pop(min(depths))
    assert np.allclose(behind[:3], behind[0])  # grey
    assert all(colour[3] == 1 for colour in depths.values())  # nothing shines through
    legend = next(child for child in ax.get_children() if isinstance(child, Legend))
    assert "90 % interval" in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize(("end", "marked"), [(1000.0, True), (2000.0, False), (None, False)])
@pytest.mark.parametrize("unit", ["cm-1", "THz"])
def test_the_end_of_the_model_s_range_is_marked_where_it_is_reached(end, marked, unit):
    ax = new_figure().subplots()
    draw_dos(ax, partial(("Si",)).sum(), range_end=end, unit=unit)
    hatched = [patch for patch in ax.patches if patch.get_hatch()]
    assert len(hatched) == marked
    if marked:
        factor = {"cm-1": 1.0, "THz": 0.0299792458}[unit]
        assert hatched[0].get_x() == pytest.approx(1000 * factor)
        assert ax.get_xlim()[1] > 1000 * factor
