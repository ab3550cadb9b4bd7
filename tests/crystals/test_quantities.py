"""The table of quantities: one name, one number and one interval, wherever a prediction is told."""

import csv
import io
import json
from itertools import product

import numpy as np
import pytest
import torch

import debye
from debye.crystals.dos import thermo
from debye.crystals.dos.quantities import (
    BASES,
    PROPERTIES,
    QUANTITIES,
    WITH_INTERVALS,
    OnGrid,
    Property,
    kelvins,
)
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.predict.predictor import Predictor
from debye.crystals.predict.record import (
    bounds_of,
    numbers,
    record,
    row,
    table,
    table_row,
    thermo_record,
)
from debye.crystals.structure.crystal import Crystal
from debye.errors import InputError

KELVIN = (0.0, 77.0, 293.15, 300.0, 1234.5)
GRID = np.arange(0.0, 1001.0, 20.0)


@pytest.fixture(scope="module")
def prediction():
    """Of the shipped ensemble, which is calibrated: two formula units, one site shared."""
    cell = 5.6 * np.eye(3)
    sites = [[0, 0, 0], [2.8, 2.8, 0], [2.8, 0, 0], [0, 2.8, 0]]
    species = [{"Na": 0.5, "K": 0.5}, {"Na": 0.5, "K": 0.5}, "Cl", "Cl"]
    crystal = Crystal(species, sites, cell * [[1], [1], [0.5]], source="salt.cif")
    return Predictor.load().predict(crystal)


def every():
    """Each quantity per each amount."""
    return [
        Property(q, b)
        for q in QUANTITIES.values()
        for b in (BASES if q.extensive else ["per-atom"])
    ]


def spectra(rows=4, n_atoms=2.0):
    generator = torch.Generator().manual_seed(3)
    density = torch.rand(rows, len(GRID), generator=generator, dtype=torch.float64) ** 3
    return Spectrum(GRID, density, n_atoms, "max").to("3N")


# One number.


def test_a_number_does_not_depend_on_what_is_found_with_it():
    """To the last bit: alone or in a batch, at one temperature or among many."""
    batch = spectra()
    for name, quantity in QUANTITIES.items():
        together = OnGrid.of(batch).value(name, KELVIN)
        for i, k in product(range(4), range(len(KELVIN))):
            alone = OnGrid.of(batch[i]).value(name, KELVIN[k : k + 1])
            assert torch.equal(together[i, k] if quantity.thermal else together[i], alone.sum())


@pytest.mark.parametrize("name", [n for n in QUANTITIES if n != "mean_frequency"])
def test_the_table_finds_what_thermodynamics_define(name):
    batch, of = spectra(), getattr(thermo, name)
    expected = of(batch, KELVIN) if QUANTITIES[name].thermal else of(batch)
    torch.testing.assert_close(OnGrid.of(batch).value(name, KELVIN), expected, rtol=1e-12, atol=0)


def test_the_mean_frequency_is_that_of_the_spectrum():
    batch = spectra()
    found = OnGrid.of(batch).value("mean_frequency")
    torch.testing.assert_close(found, batch.mean_frequency, rtol=1e-12, atol=0)


@pytest.mark.parametrize("basis", BASES)
def test_every_way_to_tell_a_prediction_gives_one_number(prediction, basis):
    """JSON record, CSV, data frame, thermo record and what Parquet takes, to the last digit."""
    kinds = [p for p in every() if p.basis == basis and p.quantity.extensive]
    told = numbers(prediction, kinds, KELVIN, several=True)
    thermodynamics = debye.thermodynamics(prediction, KELVIN, basis=basis)
    as_json = json.loads(json.dumps(thermo_record(prediction, thermodynamics)))
    as_csv = list(csv.DictReader(io.StringIO(thermodynamics.to_csv())))
    frame = thermodynamics.to_frame()
    for quantity, _ in kinds:
        plain = quantity.column(basis)
        if not quantity.thermal:
            assert as_json[plain] == told[plain] == frame.attrs[plain]
            continue
        bounds = bounds_of(plain) if quantity.name in WITH_INTERVALS else ()
        for k, T in enumerate(KELVIN):
            alone = debye.thermodynamics(prediction, T, basis=basis).to_dict()
            hot = quantity.column(basis, temperature=T)
            for short, long in zip((plain, *bounds), (hot, *bounds_of(hot)), strict=False):
                assert told[long] == as_json[short][k] == float(as_csv[k][short])
                assert told[long] == alone[short][0] == frame[short].loc[T]


def test_records_rows_and_lines_agree(prediction):
    """All that `debye dos` says, and all that a screening keeps."""
    kept = table([prediction], KELVIN, "none").to_pylist()[0]
    for T in KELVIN:
        told = record(prediction, temperature=T)
        for wanted in PROPERTIES.values():
            column, plain = wanted.column(T), wanted.quantity.column(wanted.basis)
            assert kept[column] == row(prediction, [T], "none")[column]
            if plain in told:
                for here, there in zip(
                    (plain, *bounds_of(plain)), (column, *bounds_of(column)), strict=True
                ):
                    assert told[here] == kept[there]
    cells = table_row(prediction, 300.0, "cm-1", 0.9).split()
    assert cells[2] == f"{kept['mean_frequency_cm-1']:.4g}"
    assert cells[4] == f"{kept['heat_capacity_J_per_K_per_mol_atoms_at_300_K']:.3f}"


def test_intervals_hold_their_values_and_amounts_are_ratios(prediction):
    told = numbers(prediction, every(), [300.0], level=0.5)
    wide = numbers(prediction, every(), [300.0], level=0.95)
    amounts = {"per-atom": 4.0, "per-formula-unit": 2.0, "per-mole-of-cells": 1.0}
    amounts["per-kg"] = 1e-3 * prediction.crystal.mass
    for quantity, basis in every():
        column = quantity.column(basis)
        if quantity.extensive:
            per_cell = told[quantity.column("per-mole-of-cells")]
            assert told[column] * amounts[basis] == pytest.approx(per_cell, rel=1e-6)
        if quantity.name in WITH_INTERVALS:
            (low, high), (lower, upper) = (
                [where[end] for end in bounds_of(column)] for where in (told, wide)
            )
            assert lower < low < told[column] < high < upper


def test_columns_are_ascii_and_apart():
    columns = [q.column(b, temperature=300.0) for q, b in every()]
    assert len(set(columns)) == len(columns)
    assert all(column.isascii() and " " not in column and "/" not in column for column in columns)


# The table of thermodynamics.


@pytest.mark.parametrize(
    "temperatures",
    [300, 300.0, [300], (300,), range(300, 301), np.array([300.0]), torch.tensor(300)],
)
def test_temperatures_are_taken_as_they_come(temperatures):
    assert kelvins(temperatures) == (300.0,)
    found = debye.thermodynamics(spectra()[0], temperatures)
    assert found == debye.thermodynamics(spectra()[0], [300.0])
    assert repr(found).startswith("Thermodynamics(1 temperature 300 K, per-atom, C_V ")


def test_a_prediction_knows_its_mass_and_intervals(prediction):
    found = debye.thermodynamics(prediction, 300, basis="per-kg")
    assert found == prediction.thermo(300, basis="per-kg")
    lower, upper = found.bounds["heat_capacity"]
    assert lower < found.heat_capacity < upper


def test_what_is_no_spectrum_is_refused():
    with pytest.raises(InputError, match="no thermodynamics of a str") as caught:
        debye.thermodynamics("quartz.cif", 300)
    assert "debye.predict" in caught.value.fix


def test_frames_need_pandas_and_one_spectrum(monkeypatch):
    import sys

    found = debye.thermodynamics(spectra()[0], range(0, 301, 100))
    frame = found.to_frame()
    assert frame.index.name == "temperature_K"
    assert list(frame.columns) == found.to_csv().splitlines()[0].split(",")[1:]
    assert frame.attrs["basis"] == "per-atom"
    with pytest.raises(InputError, match="one table"):
        debye.thermodynamics(spectra(), 300).to_frame()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="data frame") as caught:
        found.to_frame()
    assert "pandas is not installed" in caught.value.why


def test_numbers_in_tables_have_seven_digits(prediction):
    text = debye.thermodynamics(prediction, np.linspace(1, 900, 7)).to_csv()
    for line in text.splitlines()[1:]:
        kelvin, *digits = (x.split("e")[0].replace(".", "").strip("-0") for x in line.split(","))
        assert max(map(len, digits)) <= 7
        assert len(kelvin) <= 10
