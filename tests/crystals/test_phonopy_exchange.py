"""Force constants to phonopy and back: it finds the same frequencies, and opens our files."""

import importlib.util
import subprocess
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lattices import CRYSTALS, METALS, emt, force_constants_of, omega, random_q

from debye.crystals.lattice.bands import Bands, band_yaml, bands_csv, bands_record
from debye.crystals.lattice.dos import site_densities
from debye.crystals.lattice.path import QPath
from debye.crystals.lattice.phonopy import from_phonopy, to_phonopy, write_phonopy
from debye.errors import InputError

phonopy = pytest.importorskip("phonopy")

THZ = 33.35640951981521  # cm-1
# phonopy has older values of the constants: its frequencies are 1.2e-7 higher.
# A mode at rest is a root of rounding errors: 1e-14 eV/(Å² u) are 5e-5 cm⁻¹.
NEAR = {"rtol": 1.3e-7, "atol": 1e-4}
each_metal = pytest.mark.parametrize("name", METALS)
each_crystal = pytest.mark.parametrize("name", CRYSTALS)


def theirs(phonon, q):
    """phonopy's frequencies at wave vectors (Q, 3), cm⁻¹."""
    phonon.run_qpoints(np.asarray(q))
    return torch.from_numpy(phonon.qpoints.frequencies * THZ)


def path_of(crystal, points=60):
    return QPath.of(crystal.cell, points=points)


@pytest.fixture
def loaded(name, tmp_path):
    """A crystal and its force constants, and what phonopy makes of the file written of them."""
    crystal = CRYSTALS[name]
    force_constants = force_constants_of(crystal)
    path = write_phonopy(tmp_path / "phonopy_params.yaml", crystal, force_constants)
    return crystal, force_constants, phonopy.load(path)


# From phonopy.


@each_metal
def test_phonopys_bands_are_reproduced(name):
    phonon, crystal = emt(name)
    q = torch.cat([path_of(crystal).q, random_q(20)])
    ours = omega(from_phonopy(phonon), q)
    assert ours.max() > 100
    torch.testing.assert_close(ours, theirs(phonon, q), **NEAR)


@each_metal
def test_no_pair_stands_twice(name):
    force_constants = from_phonopy(emt(name)[0])
    ends = torch.stack([force_constants.first, force_constants.second], dim=1).double()
    one = torch.cat([ends, force_constants.step], dim=1)
    other = torch.cat([ends.flip(1), -force_constants.step], dim=1)
    apart = torch.cdist(torch.cat([one, other]), torch.cat([one, other]))
    assert apart.fill_diagonal_(1).min() > 1e-3


def test_full_and_compact_force_constants_are_the_same():
    phonon, _ = emt("Cu3Au")
    compact = copy(phonon)
    compact.force_constants = phonon.force_constants[phonon.primitive.p2s_map]
    torch.testing.assert_close(from_phonopy(compact).values, from_phonopy(phonon).values)


def test_what_is_no_set_of_force_constants_is_refused():
    phonon, _ = emt("Cu")
    empty, drifting, broken, nothing = (copy(phonon) for _ in range(4))
    empty.force_constants = None
    drifting.force_constants = phonon.force_constants + 0.05
    broken.force_constants = np.where(phonon.force_constants > 1, np.nan, phonon.force_constants)
    nothing.force_constants = np.zeros_like(phonon.force_constants)
    for other, text in (
        (empty, "no force constants"),
        (nothing, "all zero"),
        (drifting, "acoustic sum rule"),
        (broken, "NaN"),
    ):
        with pytest.raises(InputError) as refused:
            from_phonopy(other)
        assert text in str(refused.value)


# To phonopy.


@each_crystal
def test_phonopy_finds_our_frequencies(name, loaded):
    crystal, force_constants, phonon = loaded
    q = torch.cat([path_of(crystal).q, random_q(20)])
    torch.testing.assert_close(theirs(phonon, q), omega(force_constants, q), **NEAR)
    back = from_phonopy(phonon)
    torch.testing.assert_close(omega(back, q), omega(force_constants, q), **NEAR)


@each_crystal
def test_phonopy_finds_our_density_of_states(name, loaded):
    _, force_constants, phonon = loaded
    phonon.run_mesh([7, 7, 7], is_mesh_symmetry=False)
    axis = np.arange(0, 400.0, 1.0)
    phonon.run_total_dos(
        sigma=3 / THZ,
        freq_min=0,
        freq_max=axis[-1] / THZ,
        freq_pitch=1 / THZ,
        use_tetrahedron_method=False,
    )
    points, density = phonon.total_dos.frequency_points, phonon.total_dos.dos / THZ
    q = torch.from_numpy(np.array(phonon.mesh.qpoints))
    total = site_densities(force_constants, q, sigma=3.0).sum()
    ours = np.interp(points * THZ, total.frequency, total.density, left=0, right=0)
    # Ours shares each mode between two points 1 cm-1 apart before it broadens.
    assert np.abs(ours - density).sum() < 0.03 * density.sum()


@each_crystal
def test_the_supercell_is_wide_enough_and_no_wider(name):
    crystal = CRYSTALS[name]
    force_constants = force_constants_of(crystal)
    cell = to_phonopy(crystal, force_constants).supercell.cell
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    longest = np.linalg.norm(force_constants.step.numpy() @ crystal.cell, axis=1).max()
    assert 2 * longest < heights.min() < 3.5 * longest


def test_masses_are_ours(tmp_path):
    crystal = CRYSTALS["salt"]
    force_constants = replace(force_constants_of(crystal), mass=torch.tensor([25.5, 37.0]).double())
    phonon = phonopy.load(write_phonopy(tmp_path / "p.yaml", crystal, force_constants))
    assert phonon.masses == pytest.approx([25.5, 37.0])
    torch.testing.assert_close(
        theirs(phonon, random_q(5)), omega(force_constants, random_q(5)), **NEAR
    )


def test_mixed_sites_are_refused():
    crystal = replace(CRYSTALS["copper"], species=({"Cu": 0.5, "Au": 0.5},))
    with pytest.raises(InputError, match="phonopy cell"):
        to_phonopy(crystal, force_constants_of(crystal))


def test_without_phonopy_it_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "phonopy" else find(name)
    )
    with pytest.raises(InputError) as refused:
        to_phonopy(CRYSTALS["salt"], force_constants_of(CRYSTALS["salt"]))
    assert refused.value.fix == "pip install 'debye[phonopy]'"


# Files of bands.


def test_band_yaml_is_what_phonopy_writes(tmp_path):
    phonon, crystal = emt("Cu3Au")
    path = path_of(crystal, 30)
    ours = yaml.safe_load(band_yaml(Bands.of(crystal, from_phonopy(phonon), path, velocities=True)))
    segments = [part.numpy() for part in path.q.split(path.lengths)]
    phonon.run_band_structure(segments, with_group_velocities=True)
    phonon.write_yaml_band_structure(filename=tmp_path / "band.yaml")
    known = yaml.safe_load((tmp_path / "band.yaml").read_text())
    for key in ("nqpoint", "npath", "segment_nqpoint", "natom"):
        assert ours[key] == known[key]
    for key in ("lattice", "reciprocal_lattice"):
        np.testing.assert_allclose(ours[key], known[key], atol=1e-6)
    for one, two in zip(ours["phonon"], known["phonon"], strict=True):
        np.testing.assert_allclose(one["q-position"], two["q-position"], atol=1e-6)
        assert one["distance"] == pytest.approx(two["distance"], abs=1e-6)
        for mode, other in zip(one["band"], two["band"], strict=True):
            assert mode["frequency"] == pytest.approx(other["frequency"], abs=1e-4)
            assert len(mode["group_velocity"]) == 3
    assert [p["symbol"] for p in ours["points"]] == [p["symbol"] for p in known["points"]]


def test_eigenvectors_of_band_yaml_are_phonopys(tmp_path):
    """D(q) e = ω² e with phonopy's own D(q), whose phases are of the whole way between atoms."""
    phonon, crystal = emt("Cu3Au")
    bands = Bands.of(crystal, from_phonopy(phonon), path_of(crystal, 12))
    written = yaml.safe_load(bands.write_yaml(tmp_path / "band.yaml").read_text())
    for point in written["phonon"]:
        phonon.run_qpoints([point["q-position"]], with_dynamical_matrices=True)
        D = phonon.qpoints.dynamical_matrices[0]
        modes = [np.array(mode["eigenvector"]) @ [1, 1j] for mode in point["band"]]
        E = np.array([mode.ravel() for mode in modes])
        np.testing.assert_allclose(E.conj() @ E.T, np.eye(len(E)), atol=1e-10)
        found = np.einsum("ja,ab,jb->j", E.conj(), D, E).real
        np.testing.assert_allclose(E @ D.T, found[:, None] * E, atol=2e-6)


def test_csv_and_record_hold_the_bands():
    crystal = CRYSTALS["salt"]
    bands = Bands.of(crystal, force_constants_of(crystal), path_of(crystal), velocities=True)
    header, *rows = (line.split(",") for line in bands_csv(bands, "THz").splitlines())
    assert header[:6] == ["distance_per_angstrom", "q1", "q2", "q3", "label", "frequency_1_THz"]
    assert header[-1] == "velocity_6_km_per_s"
    assert [row[4] for row in rows] == list(bands.path.labels)
    numbers = np.array([[float(x) for x in row[5:11]] for row in rows])
    np.testing.assert_allclose(numbers * THZ, bands.frequency.numpy(), atol=1e-4)
    record = bands_record(bands, "THz")
    np.testing.assert_allclose(record["frequency_THz"], numbers, atol=1e-5)
    assert sum(record["segment_points"]) == len(record["q"])
    np.testing.assert_allclose(
        np.einsum("qjx,qx->qj", record["group_velocity_km_per_s"], bands.path.direction.numpy()),
        [[float(x) for x in row[11:]] for row in rows],
        atol=1e-5,
    )


def test_the_documented_command_finds_its_own_path(tmp_path):
    """``phonopy-load … --band auto`` of docs/lattice.md, which asks seekpath."""
    crystal = CRYSTALS["salt"]
    write_phonopy(tmp_path / "phonopy_params.yaml", crystal, force_constants_of(crystal))
    command = [Path(sys.executable).with_name("phonopy-load"), "phonopy_params.yaml"]
    done = subprocess.run(
        [*command, "--band", "auto", "--mesh", "10", "--dos"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = yaml.safe_load((tmp_path / "band.yaml").read_text())
    assert found["npath"] >= 5
    highest = max(band["frequency"] for point in found["phonon"] for band in point["band"])
    bands = Bands.of(crystal, force_constants_of(crystal), "seekpath")
    assert highest * THZ == pytest.approx(bands.frequency.max().item(), rel=1e-3)
