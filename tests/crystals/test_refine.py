"""Screenings whose doubtful part a calculator refines, and calculators that fail there."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ase.build import bulk
from verbs import refused

import debye as package
from debye.crystals.screening.refine import Refinement
from debye.errors import InputError

pytest.importorskip("phonopy", reason="phonopy is an extra")
METALS = ("Cu", "Ag", "Au", "Ni")
MODULE = """
import os

from ase.calculators.emt import EMT

def potential():
    return EMT()

class Odd(EMT):
    def get_forces(self, atoms=None, **options):
        if "{refused}" in atoms.get_chemical_symbols():
            raise RuntimeError("no such element")
        return super().get_forces(atoms)

def odd():
    return Odd()

class Deadly(Odd):
    def get_forces(self, atoms=None, **options):
        if "{refused}" in atoms.get_chemical_symbols():
            os._exit(9)
        return super().get_forces(atoms)

def deadly():
    return Deadly()

number = 3
"""


@pytest.fixture
def metals(tmp_path, monkeypatch):
    """Four metals in a file, and a module that makes calculators, where the verb is called."""
    from ase.io import write

    monkeypatch.chdir(tmp_path)
    write(tmp_path / "metals.xyz", [bulk(name, cubic=True) for name in METALS])
    return Path("metals.xyz")


@pytest.fixture
def screen(debye, metals, tmp_path):
    def run(*words, module="potentials", refused="Pt"):
        (tmp_path / f"{module}.py").write_text(MODULE.replace("{refused}", refused))
        fixed = ("--output", "out", "--workers", 1, "--device", "cpu", "--temperatures", 300)
        return debye("screen", metals, *fixed, "--shard-size", 3, *words)

    return run


def rows(folder="out"):
    parts = sorted((Path(folder) / "parts").glob("*.parquet"))
    return {row["formula"]: row for part in parts for row in pq.read_table(part).to_pylist()}


def test_the_doubtful_half_is_refined_and_the_rest_kept(screen, debye, metals):
    assert screen().exit_code == 0
    before = rows()
    refining = ("--refine", "50%", "--calculator", "potentials:potential")
    result = screen(*refining)
    assert result.exit_code == 0, result.stderr
    assert "2 structures refined" in result.stderr
    after = rows()
    doubtful = sorted(before, key=lambda name: -before[name]["expected_error_cm-1"])[:2]
    for name, row in after.items():
        same = {k: row[k] for k in before[name]} == before[name]
        assert same == (name not in doubtful)
        assert row["refined_by"] == ("potentials:potential" if name in doubtful else None)
        assert row["refine_error"] is None
    row = after[doubtful[0]]
    atoms = bulk(doubtful[0], cubic=True)
    from ase.calculators.emt import EMT

    found = package.predict(package.from_calculator(atoms, EMT()), smooth=True)
    assert row["mean_frequency_cm-1"] == pytest.approx(found.total.mean_frequency.item(), rel=1e-5)
    assert row["dos"] == pytest.approx((4 * found.total.density).tolist(), rel=1e-4, abs=1e-6)
    assert row["mean_frequency_cm-1_lower"] is None
    top = debye("top", "out", "--max-error", 0, "--json", "--top", 9)
    told = [json.loads(line) for line in top.stdout.splitlines()]
    assert {row["formula"] for row in told} == set(doubtful)
    assert {row["refined_by"] for row in told} == {"potentials:potential"}
    inodes = {p: p.stat().st_ino for p in Path("out/refined").glob("*/forces-*")}
    again = screen(*refining)
    assert "0 of 2 chosen structures" in again.stderr
    assert rows() == after
    assert inodes == {p: p.stat().st_ino for p in Path("out/refined").glob("*/forces-*")}
    refused(screen("--refine", "1", "--calculator", "potentials:potential"), "--overwrite")
    assert screen().exit_code == 0  # without it, the screening is as it was
    found = package.Screening.open("out")
    assert (found.structures, found.failed) == (4, 0)


def test_what_fails_keeps_its_row_and_goes_on_later(screen):
    refining = ("--refine", "100%", "--calculator", "failing:odd")
    result = screen(*refining, module="failing", refused="Ag")
    assert result.exit_code == 0, result.stderr
    found = rows()
    assert "RuntimeError: no such element" in found["Ag"]["refine_error"]
    assert "forces at rest" in found["Ag"]["refine_error"]
    assert found["Ag"]["refined_by"] is None
    assert found["Ag"]["expected_error_cm-1"] > 0
    assert all(found[name]["refined_by"] for name in METALS if name != "Ag")
    assert "1 structure not refined" in result.stderr


def test_a_calculator_that_kills_its_worker_costs_one_row(screen):
    refining = ("--refine", "100%", "--calculator", "killing:deadly", "--workers", 2)
    result = screen(*refining, module="killing", refused="Au")
    assert result.exit_code == 0, result.stderr
    found = rows()
    assert "a worker died of it" in found["Au"]["refine_error"]
    assert all(found[name]["refined_by"] for name in METALS if name != "Au")


def test_a_refinement_goes_on_where_it_was_stopped(metals, tmp_path):
    (tmp_path / "slowly.py").write_text(MODULE)
    how = {"refine": "4", "calculator": "slowly:potential", "workers": 1, "device": "cpu"}
    refined = []

    def progress(report):
        refined.extend([report] * (report.number < 0))

    def notify(message):
        pass

    first = package.screen(
        metals, "out", **how, progress=progress, notify=notify, stopping=lambda: len(refined) > 1
    )
    assert not first.finished
    done = sum(bool(row["refined_by"]) for row in rows().values())
    assert 0 < done < 4
    second = package.screen(metals, "out", **how, progress=progress, notify=notify)
    assert second.finished
    assert second.refined == (4, 0)
    assert len(refined) == 4
    assert all(row["refined_by"] for row in rows().values())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--refine", "25%"), "both an amount and a calculator"),
        (("--calculator", "potentials:potential"), "both an amount and a calculator"),
        (("--refine", "0%", "--calculator", "potentials:potential"), "cannot refine '0%'"),
        (("--refine", "101%", "--calculator", "potentials:potential"), "cannot refine"),
        (("--refine", "1.5", "--calculator", "potentials:potential"), "cannot refine"),
        (("--refine", "all", "--calculator", "potentials:potential"), "cannot refine"),
        (("--refine", "9", "--calculator", "potentials"), "not module:function"),
        (("--refine", "9", "--calculator", "potentials:number"), "no function"),
        (("--refine", "9", "--calculator", "potentials:nothing"), "AttributeError"),
        (("--refine", "9", "--calculator", "no_such_module:made"), "ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_refined_is_refused(screen, words, why):
    refused(screen(*words), why, "fix: ")


def test_without_expected_errors_nothing_is_chosen(screen, model_file):
    words = ("--refine", "9", "--calculator", "potentials:potential", "--model", model_file)
    refused(screen(*words), "not calibrated", "fix: ")


@pytest.mark.parametrize(("amount", "count"), [("25%", 3), ("100%", 10), ("4", 4), ("40", 10)])
def test_amounts(metals, amount, count, tmp_path):
    (tmp_path / "amounts.py").write_text(MODULE)
    assert Refinement(amount, "amounts:potential").count(10) == count
    with pytest.raises(InputError):
        Refinement("", "amounts:potential")
