"""What a page shows of a crystal is what debye says of it, and a mode on it obeys Newton."""

from itertools import product

import numpy as np
import pytest
from pages import drawn, opened, store

import debye
from debye.units import FORCE_CONSTANT_TO_CM1, frequency_factor

CRYSTALS = ["rutile.cif", "quartz.cif", "mg3sb2.cif"]


@pytest.mark.parametrize("name", CRYSTALS)
def test_numbers_are_those_of_predict(page, name):
    opened(page, name)
    p = debye.predict(debye.DEMO / name)
    shown = store(page, "now.current")
    np.testing.assert_allclose(shown["dos"], p.total.density, rtol=1e-6)
    np.testing.assert_allclose(shown["band"], [list(edge) for edge in p.band()], rtol=1e-6)
    table = p.thermo([300.0])
    at = store(page, "now.about.temperature").index(300.0)
    assert shown["heat_capacity"][at] == pytest.approx(table.heat_capacity.item(), rel=1e-6)
    assert shown["entropy"][at] == pytest.approx(table.entropy.item(), rel=1e-6)
    u2 = p.b_factors([300.0]).numpy().ravel() / (8 * np.pi**2)
    np.testing.assert_allclose([site[at] for site in shown["displacement"]], u2, rtol=1e-6)
    for label, row in zip(p.elements.labels, p.elements.density, strict=True):
        np.testing.assert_allclose(shown["elements"][label], row, rtol=1e-6)
    bands = store(page, "now.bands.frequency")
    np.testing.assert_allclose(bands, p.bands().frequency, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("unit", ["cm-1", "THz", "meV"])
def test_the_area_under_the_curve_counts_the_states_in_every_unit(page, unit):
    opened(page, "rutile.cif")
    page.select_option("#unit", unit)
    (total,) = [x for x in drawn(page, "#spectra .chart >> nth=1") if x.get("className") == "total"]
    assert np.trapezoid(total["x"], total["y"]) == pytest.approx(18.0, abs=1e-3)
    assert max(total["y"]) == pytest.approx(1000 * frequency_factor("cm-1", unit))


def test_where_bands_leave_the_axis_a_note_says_so(page):
    """They do where a model writes spectra down as the labels are, which end at 1000 cm⁻¹."""
    opened(page, "quartz.cif")
    assert page.locator("#spectra .note").is_hidden()
    page.evaluate("""() => {
        const { store } = document.getElementById("view");
        const { current } = store.values;
        const count = current.frequency.findIndex((w) => w > 1000);
        const cut = (x) => {
            if (Array.isArray(x) && x.length === current.frequency.length) return x.slice(0, count);
            if (Array.isArray(x)) return x.map(cut);
            if (x === null || typeof x !== "object") return x;
            return Object.fromEntries(Object.entries(x).map(([name, part]) => [name, cut(part)]));
        };
        store.set({ current: cut(current) });
    }""")
    assert "1000 cm⁻¹" in page.locator("#spectra .note").inner_text()


def displacements(page, point, branch):
    """Complex amplitudes of a 2×2×2 block as the page draws them, (2, 2, 2, n, 3)."""
    page.evaluate(
        """async ([point, branch]) => {
            const { pick } = await import("/static/js/bands.js");
            const { store } = document.getElementById("view");
            store.set({ cells: 2 });
            await pick(store, { point, branch });
        }""",
        [point, branch],
    )
    atoms = page.eval_on_selector("canvas.cell", "canvas => canvas.viewer.displacements()")
    inside = [atom for atom in atoms if max(atom["shift"]) < 2 and min(atom["shift"]) >= 0]
    u = np.zeros((2, 2, 2, len(inside) // 8, 3), complex)
    for atom in inside:
        u[(*atom["shift"], atom["site"])] = [complex(*part) for part in atom["u"]]
    return u


def misfit(u, bands, omega):
    """|F + m ω² u| over |m ω² u|, the forces those of the model in a periodic block."""
    constants = bands.force_constants.double()
    place = bands.crystal.fractional
    cell = np.round(np.floor(place + 1e-3)).astype(int)  # the page moves sites into the cell
    force = np.zeros_like(u)
    pairs = zip(constants.first, constants.second, constants.step, constants.values, strict=True)
    for i, j, step, K in pairs:
        shift = np.rint(step.numpy() - (place[j] - place[i])).astype(int) - cell[i] + cell[j]
        for R in product(range(2), repeat=3):
            one, two = (*R, int(i)), (*((np.array(R) + shift) % 2), int(j))
            pull = K.numpy() @ (u[two] - u[one])
            force[one] += pull
            force[two] -= K.numpy().T @ (u[two] - u[one])
    inertia = bands.force_constants.mass.double().numpy()[:, None] * u
    inertia *= (omega / FORCE_CONSTANT_TO_CM1) ** 2
    return np.abs(force + inertia).max() / np.abs(inertia).max()


@pytest.mark.parametrize("name", CRYSTALS)
def test_a_mode_at_the_zone_boundary_obeys_newton(page, name):
    """F = −m ω² u with the model's own force constants; wrong where the phase is q·R alone."""
    opened(page, name)
    bands = debye.predict(debye.DEMO / name).bands()
    edge = next(
        i for i, q in enumerate(bands.path.q.tolist())
        if any(q) and all(abs(2 * x - round(2 * x)) < 1e-9 for x in q)
    )  # fmt: skip
    q = bands.path.q[edge].numpy()
    place = bands.crystal.fractional % 1.0
    # Of the softest modes m ω² u is a small rest of large forces, or no vibration at all.
    first = int((bands.frequency[edge] > 50).nonzero()[0])
    branches = [first, len(bands.frequency[0]) // 2, len(bands.frequency[0]) - 1]
    wrong = []
    for branch in branches:
        omega = bands.frequency[edge, branch].item()
        u = displacements(page, edge, branch)
        assert misfit(u, bands, omega) < 1e-5
        by_cell = u * np.exp(-2j * np.pi * (place @ q))[:, None]
        wrong.append(misfit(by_cell, bands, omega))
    assert max(wrong) > 0.1
