"""Figures: what is drawn, with which numbers and words, and that no word is cut or covered."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

import debye.plot
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos.thermo_table import thermodynamics
from debye.crystals.inversion.design import Proposal, property_target
from debye.crystals.predict.prediction import Prediction
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError
from debye.plot import new_figure, save
from debye.plot.crystals import (
    dos_figure,
    draw_dos,
    draw_heat_capacity,
    draw_training_curve,
    draw_waterfall,
    overview_figure,
    prediction_figure,
    quartile_gallery,
    thermodynamics_figure,
    training_curve_figure,
    waterfall_figure,
)
from debye.plot.dos import frequency_limits
from debye.plot.inversion import design_figure
from debye.plot.screening import screening_figure
from debye.plot.text import formula_text, plain_text
from debye.units import R, frequency_factor

OMEGA = torch.arange(51, dtype=torch.float64) * 20
WARNINGS = (
    "no training structure contained Pu: the prediction is a guess from neighbouring elements",
    "states reach 1000 cm-1, the end of the model's range: higher modes are folded below it",
)


def peaks(*centres: float, width: float = 25.0) -> torch.Tensor:
    """States of three modes per atom, in Gaussian peaks."""
    g = sum(torch.exp(-((OMEGA - c) ** 2) / (2 * width**2)) for c in centres)
    return 3 * g / Spectrum(OMEGA, g, normalisation="max").integral


def prediction(symbols: str, warnings: tuple[str, ...] = (), name: str = "") -> Prediction:
    elements = symbols.split()
    positions = [[2.5 * i, 0.0, 0.0] for i in range(len(elements))]
    cell = np.diag([2.5 * len(elements), 4.0, 4.0])
    crystal = Crystal(elements, positions, cell, name=name)
    density = torch.stack([peaks(120 + 90 * i, 300) for i in range(len(elements))])
    sites = Spectrum(OMEGA, density, labels=[f"{e}{i}" for i, e in enumerate(elements)])
    return Prediction(crystal, sites, sites.density, ("density",), (), warnings)


SALT = prediction("Na Cl")
SEVEN = prediction("K Na Al Si Be O F", WARNINGS, "a mineral with a rather long $name$")


def axes():
    return new_figure().subplots()


def words(figure: Figure) -> list[Text]:
    """Every text that is drawn; a tick beyond its axis has a label that is not."""
    figure.draw_without_rendering()
    hidden = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not low - slack <= tick.get_loc() <= high + slack:
                    hidden |= {id(tick.label1), id(tick.label2)}
    texts = figure.findobj(Text)
    return [t for t in texts if t.get_visible() and t.get_text().strip() and id(t) not in hidden]


def boxes(figure: Figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    return [(t.get_text(), t.get_window_extent(renderer)) for t in words(figure)]


def assert_readable(figure: Figure) -> None:
    """No word is cut at the edge of the figure, and none lies over another."""
    width, height = figure.get_size_inches() * figure.dpi
    found = boxes(figure)
    for text, box in found:
        room = min(box.x0, box.y0, width - box.x1, height - box.y1)
        assert room > -1, f"{text!r} is cut"
    for (a, first), (b, second) in combinations(found, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert min(across, along) < 1.5, f"{a!r} lies over {b!r}"


class TestDos:
    def test_the_line_holds_the_numbers_in_the_unit(self):
        ax = axes()
        draw_dos(ax, SALT.total, unit="THz")
        omega, density = ax.get_lines()[0].get_data()
        factor = frequency_factor("cm-1", "THz")
        assert np.allclose(omega, OMEGA * factor)
        assert Spectrum(omega, density, 2, "max").integral.item() == pytest.approx(6, rel=1e-6)
        assert ax.get_ylabel() == "DoS (states / THz / cell)"

    def test_partials_add_up_to_the_total(self):
        ax = axes()
        draw_dos(ax, SALT.total, SALT.elements)
        total = ax.get_lines()[0].get_ydata()
        top = ax.collections[-1].get_paths()[0].vertices[:, 1].max()
        assert top == pytest.approx(total.max())
        assert {t.get_text() for t in ax.texts} == {"Na", "Cl"}

    @pytest.mark.parametrize(
        ("normalisation", "label"),
        [
            ("3", "DoS (states / cm⁻¹ / atom)"),
            ("1", "DoS, integral 1 (1 / cm⁻¹)"),
            ("max", "DoS / maximum"),
        ],
    )
    def test_partials_follow_the_normalisation_of_the_total(self, normalisation, label):
        ax = axes()
        draw_dos(ax, SALT.total.to(normalisation), SALT.elements)
        top = ax.collections[-1].get_paths()[0].vertices[:, 1].max()
        assert top == pytest.approx(ax.get_lines()[0].get_ydata().max())
        assert ax.get_ylabel() == label

    def test_sideways_swaps_the_axes(self):
        ax = axes()
        draw_dos(ax, SALT.total, SALT.elements, sideways=True)
        assert np.allclose(ax.get_lines()[0].get_ydata(), OMEGA)
        assert ax.get_ylabel() == "Frequency (cm⁻¹)"
        assert ax.get_ylim()[0] == 0

    def test_a_reference_is_drawn_for_as_many_atoms(self):
        ax = axes()
        label = Spectrum(OMEGA, peaks(200), n_atoms=8, normalisation="max")
        draw_dos(ax, SALT.total, reference=label, names=("model", "DFPT"))
        reference = ax.get_lines()[1]
        assert Spectrum(OMEGA, reference.get_ydata(), 2, "max").integral.item() == pytest.approx(6)
        assert [line.get_label() for line in ax.get_lines()] == ["model", "DFPT"]

    def test_a_band_fits_on_the_axes(self):
        ax = axes()
        g = SALT.total.density
        draw_dos(ax, SALT.total, band=(0.5 * g, 2 * g), unit="meV")
        upper = 2 * g.max().item() * frequency_factor("meV", "cm-1")
        assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(upper)
        assert ax.get_ylim()[1] > upper

    def test_lines_drawn_before_are_not_named(self):
        figure = new_figure()
        ax = figure.subplots()
        ax.plot([0, 1], [0, 1], label="mine")
        draw_dos(ax, SALT.total, reference=SALT.total)
        assert "mine" not in [text for text, _ in boxes(figure)]

    def test_the_axis_ends_with_the_states(self):
        ax = axes()
        draw_dos(ax, Spectrum(OMEGA, peaks(200)))
        assert ax.get_xlim() == (0.0, 300.0)

    def test_imaginary_modes_are_shown(self):
        ax = axes()
        draw_dos(ax, Spectrum(OMEGA - 200, peaks(400), normalisation="3N"))
        assert ax.get_xlim() == (0.0, 300.0)
        draw_dos(ax, Spectrum(OMEGA - 200, peaks(150), normalisation="3N"))
        assert ax.get_xlim()[0] < -50

    def test_the_axis_does_not_leave_the_data(self):
        assert frequency_limits([(np.array([0.0, 50, 124]), np.ones(3))]) == (0.0, 124.0)

    @pytest.mark.parametrize(
        ("total", "partials", "words"),
        [
            (SALT.sites, None, "batch of shape"),
            (SALT.total, SALT.total, "with labels"),
            (SALT.total, Spectrum(OMEGA, SALT.sites.density), "with labels"),
        ],
    )
    def test_refuses_what_is_not_one_curve_or_has_no_names(self, total, partials, words):
        with pytest.raises(InputError, match=words):
            draw_dos(axes(), total, partials)


class TestThermo:
    def test_the_limit_of_dulong_and_petit_is_drawn_per_atom_only(self):
        ax = axes()
        draw_heat_capacity(ax, [0, 300], [0.0, 20.0])
        assert ax.get_lines()[1].get_ydata()[0] == pytest.approx(3 * R)
        assert ax.get_ylim()[1] > 3 * R
        assert [t.get_text() for t in ax.texts] == ["Dulong–Petit, 3R"]
        ax = axes()
        draw_heat_capacity(ax, [0, 300], [0.0, 20.0], basis="per-kg")
        assert len(ax.get_lines()) == 1
        assert ax.get_ylabel() == "$C_V$ (J/K/kg)"

    @pytest.mark.parametrize("width", [3.4, 7.0])
    def test_three_panels_with_units(self, width):
        table = thermodynamics(SALT.total, np.linspace(0, 500, 21), basis="per-mole-of-cells")
        figure = thermodynamics_figure(table, "NaCl", width=width)
        labels = [ax.get_ylabel() for ax in figure.axes]
        assert labels == [
            "$C_V$ (J/K/mol-cell)",
            "$S$ (J/K/mol-cell)",
            "$F$ (kJ/mol-cell)",
        ]
        assert np.allclose(figure.axes[2].get_lines()[0].get_ydata(), table.helmholtz_energy)
        assert_readable(figure)

    def test_one_temperature_is_drawn_without_a_warning(self):
        thermodynamics_figure(thermodynamics(SALT.total, [0.0])).draw_without_rendering()

    def test_a_batch_is_refused(self):
        with pytest.raises(InputError, match="batch"):
            thermodynamics_figure(thermodynamics(SALT.sites, [300.0]))


class TestWaterfall:
    series = Spectrum(OMEGA, torch.stack([peaks(150, 300 - 10 * k) for k in range(5)]))
    x = np.linspace(0, 1, 5)

    def test_each_spectrum_stands_on_its_fraction_in_its_colour(self):
        ax = axes()
        draw_waterfall(ax, self.series, self.x)
        lines = ax.get_lines()[:5]
        assert [line.get_ydata().min() for line in lines] == pytest.approx(self.x[::-1], abs=1e-3)
        assert len({line.get_color() for line in lines}) == 5
        assert np.allclose(ax.get_yticks(), self.x)

    def test_the_reference_has_the_same_scale(self):
        ax = axes()
        reference = Spectrum(OMEGA, self.series[3].density, normalisation="max")
        draw_waterfall(ax, self.series, self.x, reference=reference, reference_at=0.75)
        line = next(ln for ln in ax.get_lines() if ln.get_label() == "reference")
        assert np.allclose(line.get_ydata(), ax.get_lines()[1].get_ydata())

    def test_the_bar_measures_density(self):
        ax = axes()
        draw_waterfall(ax, self.series, self.x)
        height = np.ptp(ax.get_lines()[-1].get_ydata())
        size = float(ax.texts[-1].get_text().split()[0])
        scale = (ax.get_lines()[4].get_ydata().max()) / self.series[0].density.max().item()
        assert height == pytest.approx(size * scale)

    def test_it_is_readable(self):
        label = "Bi fraction x in Mg$_3$(Sb$_{1-x}$Bi$_x$)$_2$"
        figure = waterfall_figure(
            self.series, self.x, label, title="Mg3Sb2", reference=self.series[3], reference_at=0.75
        )
        assert_readable(figure)

    @pytest.mark.parametrize(
        ("x", "options", "words"),
        [
            ([0.0, 1.0], {}, "one fraction per spectrum"),
            (np.linspace(0, 1, 5), {"reference": series[0]}, "reference_at"),
        ],
    )
    def test_refusals(self, x, options, words):
        with pytest.raises(InputError, match=words):
            draw_waterfall(axes(), self.series, x, **options)


class TestEvaluation:
    true = Spectrum(OMEGA, torch.stack([peaks(100 + 10 * k) for k in range(40)]))
    errors = torch.linspace(0.1, 0.001, 40)  # the last row is the best

    def gallery(self, **options):
        names = [f"Si{k + 1}O2" for k in range(40)]
        return quartile_gallery(self.true, self.true, self.errors, names, **options)

    def test_rows_go_from_best_to_worst(self):
        figure = self.gallery(columns=3)
        panels = np.array(figure.axes[1:]).reshape(4, 3)
        assert panels[0, 0].get_title() == formula_text("Si40O2")
        assert panels[3, 2].get_title() == formula_text("Si1O2")
        assert panels[0, 0].get_lines()[0].get_ydata().max() == pytest.approx(1)
        assert [row[0].get_lines()[0].get_color() for row in panels] == list(
            dict.fromkeys(ax.get_lines()[0].get_color() for ax in panels.ravel())
        )
        bounds = [float(t.get_text()) for t in figure.axes[0].texts]
        quartiles = np.quantile(self.errors, [0.25, 0.5, 0.75, 1])
        assert bounds == pytest.approx(quartiles, rel=0.05)

    def test_a_seed_chooses_at_random_and_again_the_same(self):
        titles = [
            [ax.get_title() for ax in self.gallery(seed=seed, columns=1).axes[1:]]
            for seed in (1, 1, 2)
        ]
        assert titles[0] == titles[1] != titles[2]

    def test_it_is_readable(self):
        assert_readable(self.gallery())

    def test_refuses_too_few_rows(self):
        with pytest.raises(InputError, match="four rows"):
            quartile_gallery(self.true[:3], self.true[:3], self.errors[:3], ["Si"] * 3)

    def test_the_learning_curve_marks_the_best_epoch(self):
        valid = [0.9, 0.4, 0.2, 0.3]
        rows = [
            SimpleNamespace(epoch=n, train_loss=1 / n, valid_loss=v) for n, v in enumerate(valid, 1)
        ]
        ax = axes()
        draw_training_curve(ax, rows)
        assert ax.get_lines()[2].get_xydata().tolist() == [[3, 0.2]]
        assert ax.get_yscale() == "log"
        assert_readable(training_curve_figure(rows))
        with pytest.raises(InputError, match="no epoch"):
            draw_training_curve(axes(), [])


class TestCompositions:
    @pytest.mark.parametrize("width", [3.4, 7.0])
    @pytest.mark.parametrize("one", [SALT, SEVEN], ids=["two", "seven"])
    def test_a_prediction_is_readable(self, one, width):
        figure = prediction_figure(one, np.linspace(0, 600, 13), width=width, reference=one.total)
        assert len(figure.axes) == 2
        assert_readable(figure)

    def test_warnings_stand_on_the_figure(self):
        figure = prediction_figure(SEVEN)
        assert "no training structure contained Pu" in figure.get_supxlabel()
        assert prediction_figure(SALT).get_supxlabel() == ""

    def test_a_name_that_is_not_the_formula_stands_beside_it(self):
        assert (
            prediction_figure(prediction("Na Cl", name="halite")).get_suptitle() == "NaCl (halite)"
        )

    @pytest.mark.parametrize("n", [1, 4, 12])
    def test_an_overview_is_readable(self, n):
        shown = [SEVEN if k % 4 == 3 else SALT for k in range(n)]
        figure = overview_figure(shown)
        assert len(figure.axes) == n
        assert_readable(figure)

    def test_an_overview_tells_what_it_leaves_out(self):
        figure = overview_figure([SALT] * 13)
        assert len(figure.axes) == 12
        assert "first 12 of 13" in figure.get_supxlabel()

    def test_elements_keep_their_colours_across_an_overview(self):
        figure = overview_figure([SALT, prediction("Mg Cl")])
        chlorine = [ax.collections[1].get_facecolor().tolist() for ax in figure.axes]
        sodium, magnesium = (ax.collections[0].get_facecolor().tolist() for ax in figure.axes)
        assert chlorine[0] == chlorine[1]
        assert sodium != magnesium

    def test_an_empty_overview_is_refused(self):
        with pytest.raises(InputError, match="no predictions"):
            overview_figure([])

    def test_a_sideways_column_is_readable(self):
        total, elements = SEVEN.total, SEVEN.elements
        figure = dos_figure(total, elements, title="KNa", sideways=True, reference=total, width=2.4)
        assert_readable(figure)


class TestText:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("SiO2", "SiO$_{2}$"),
            ("Mg3Bi0.5Sb1.5", "Mg$_{3}$Bi$_{0.5}$Sb$_{1.5}$"),
            ("NaCl", "NaCl"),
            ("POSCAR_2", "POSCAR_2"),
            ("cost $x_1$", r"cost \$x_1\$"),
            ("two\nlines", "two lines"),
            ("水晶", "□□"),
            ("", ""),
        ],
    )
    def test_names(self, name, text):
        assert formula_text(name) == text

    def test_a_long_formula_ends_between_elements(self):
        assert formula_text("Mg12Si34O56", longest=8) == "Mg$_{12}$Si$_{34}$…"

    def test_any_text_is_drawn_as_it_is(self):
        figure = new_figure()
        figure.suptitle(plain_text(r"$\frac{1}$ \ 50% _^{} $"))
        figure.draw_without_rendering()


class TestSave:
    @pytest.mark.parametrize(
        ("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")]
    )
    def test_formats(self, tmp_path, name, start):
        path = save(dos_figure(SALT.total, SALT.elements), tmp_path / name)
        assert path.read_bytes().startswith(start)

    def test_the_same_figure_is_the_same_file(self, tmp_path):
        first, second = (
            save(dos_figure(SALT.total), tmp_path / name).read_bytes()
            for name in ("a.svg", "b.svg")
        )
        assert first == second

    @pytest.mark.parametrize("name", ["figure", "figure.jpg", "figure.png.txt"])
    def test_other_suffixes_are_refused(self, tmp_path, name):
        with pytest.raises(InputError, match=r"end it in \.png, \.svg, \.pdf"):
            save(new_figure(), tmp_path / name)
        assert not list(tmp_path.iterdir())

    def test_nothing_global_is_touched(self):
        before = dict(matplotlib.rcParams)
        prediction_figure(SALT).draw_without_rendering()
        assert dict(matplotlib.rcParams) == before

    def test_pyplot_is_not_imported(self, tmp_path):
        code = (
            "import sys, debye.plot as p;"
            "p.save(p.new_figure(), sys.argv[1]);"
            "sys.exit('matplotlib.pyplot' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code, tmp_path / "a.png"], check=True)
        rooms = Path(debye.plot.__file__).parent.glob("*.py")
        assert not any("matplotlib.pyplot" in room.read_text("utf-8") for room in rooms)


# Screening.


def screened():
    mass = np.array([10.0, 20.0, 40.0, 80.0])
    return mass, 2e4 / mass, [["Li", "H"], ["Na", "F"], ["K", "Cl"], ["Rb", "Br"]]


def test_a_screening_names_the_best_under_the_classical_limit():
    mass, value, elements = screened()
    best = [("LiH", 10.0, 2000.0), ("LiH", 10.0, 2000.0), ("NaF", 20.0, 1000.0)]
    figure = screening_figure(mass, value, elements, label="C", best=best, classical=True)
    left = figure.axes[0]
    assert [text.get_text() for text in left.texts] == ["LiH", "NaF"]
    m, limit = left.lines[0].get_data()
    assert np.allclose(limit * m * 1e-3 / 3, 8.314462618)  # CODATA: R, J/(mol K)
    assert figure.get_suptitle() == "4 crystals"


@pytest.mark.parametrize("lowest", [False, True])
def test_a_screening_orders_elements_by_their_medians(lowest):
    elements = [["Li"]] * 20 + [["Cs"]] * 20 + [["Fe"]] * 4
    heat = np.r_[np.linspace(900, 1100, 20), np.linspace(90, 110, 20), np.full(4, 5e3)]
    figure = screening_figure(np.full(44, 20.0), heat, elements, label="C", lowest=lowest)
    names = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert names == (["Cs", "Li"] if lowest else ["Li", "Cs"])  # iron has too few crystals
    middle = [line.get_ydata()[0] for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert sorted(middle) == [100.0, 1000.0]


def test_a_screening_without_crystals_is_refused():
    with pytest.raises(InputError, match="holds no crystals"):
        screening_figure([], [], [], label="C")


def test_names_stand_beside_their_points_and_cover_nothing():
    rng = np.random.default_rng(1)
    mass, value = rng.uniform(10, 100, 60), rng.uniform(50, 400, 60)
    best = [(f"Mg3Sb2Ca{k}", mass[k], value[k]) for k in range(12)]
    figure = screening_figure(mass, value, [["Mg"]] * 60, label="ω", best=best)
    assert_readable(figure)
    left = figure.axes[0]
    assert len(left.texts) == 12
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in left.texts:
        box = text.get_window_extent(renderer)
        x, y = left.transData.transform(text.xy)
        gap = np.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1))
        assert gap < 60 / 72 * figure.dpi


def test_few_crystals_are_shown_one_by_one_by_element():
    mass, value, elements = screened()
    right = screening_figure(mass, value, elements, label="C").axes[1]
    assert len(right.get_xticklabels()) == 8
    assert sum(len(line.get_xdata()) for line in right.lines) == 8


# Design.


def test_formulas_of_proposals_are_not_cut():
    mixed = Crystal([{"Ca": 0.358, "Mg": 0.642}, {"As": 0.569, "Sb": 0.431}, {"O": 0.123}],
                    [[0, 0, 0], [2, 0, 0], [0, 2, 0]], 5 * np.eye(3))  # fmt: skip
    sites = Spectrum(OMEGA, torch.stack([peaks(200)] * 2 + [0.123 * peaks(200)]),
                     mixed.occupancies, labels=list("abc"))  # fmt: skip
    one = Prediction(mixed, sites, sites.density, ("density",), ("Ca",), ())
    shown = [Proposal(one, 150.0 + k, 140.0, 160.0, float(k), {}) for k in range(4)]
    figure = design_figure(shown, property_target("mean-frequency", 150.0))
    assert_readable(figure)
    names = {text.get_text() for text in figure.axes[0].get_yticklabels()}
    assert names == {formula_text(mixed.formula, 99)}
    assert "no training structure contained Ca" in figure.get_supxlabel()
