"""Force constants in Euphonic: the same frequencies, and neutron scattering of them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lattices import CRYSTALS, emt, force_constants_of, omega, random_q

import debye
from debye.crystals.lattice.harmonic import HarmonicCrystal
from debye.crystals.lattice.phonopy import from_phonopy, with_born_charges
from debye.crystals.lattice.polar import BornCharges
from debye.errors import InputError

euphonic = pytest.importorskip("euphonic")
DOCS = Path(__file__).parents[2] / "docs/lattice.md"


def theirs(given, q):
    """Euphonic's frequencies, cm⁻¹."""
    modes = given.calculate_qpoint_frequencies(np.asarray(q), asr=None, use_c=False)
    return torch.from_numpy(modes.frequencies.to("1/cm").magnitude)


@pytest.mark.parametrize("name", CRYSTALS)
def test_frequencies_are_ours(name):
    crystal, q = CRYSTALS[name], random_q(10)
    force_constants = force_constants_of(crystal)
    found = theirs(HarmonicCrystal(crystal, force_constants).to_euphonic(), q)
    torch.testing.assert_close(found, omega(force_constants, q), rtol=1e-5, atol=1e-3)


def test_frequencies_of_a_calculation_are_ours():
    pytest.importorskip("phonopy")
    q, found = random_q(10), debye.from_phonopy(emt("Cu3Au")[0])
    given = from_phonopy(emt("Cu3Au")[0])
    torch.testing.assert_close(
        theirs(debye.predict(found).to_euphonic(), q), omega(given, q), rtol=1e-5, atol=1e-3
    )


def test_dipoles_split_the_same_modes():
    """Euphonic has a sum of its own, whose interpolation differs; at Γ and what fits in, none."""
    crystal = CRYSTALS["salt"]
    born = BornCharges.of([1.1 * np.eye(3), -1.1 * np.eye(3)], 2.4 * np.eye(3), 2)
    given = with_born_charges(HarmonicCrystal(crystal, force_constants_of(crystal)), born)
    exported = given.to_euphonic()
    fitting = torch.tensor([[1.0, 0, 0], [1.0, 2.0, 0]]).double()
    fitting = fitting @ torch.from_numpy(np.linalg.inv(exported.sc_matrix)).T
    pairs = force_constants_of(crystal)
    torch.testing.assert_close(
        theirs(exported, fitting), omega(pairs, fitting), rtol=1e-5, atol=1e-2
    )
    q = 1e-4 * torch.eye(3).double()
    ours = omega(given.force_constants, q)
    torch.testing.assert_close(theirs(exported, q)[:, -1], ours[:, -1], rtol=1e-3, atol=0.1)
    assert (ours[:, -1] - omega(pairs, q)[:, -1]).min() > 10


def test_what_has_no_force_constants_is_refused():
    import pickle

    crystal = debye.Crystal([{"Cu": 0.5, "Au": 0.5}], np.zeros((1, 3)), CRYSTALS["copper"].cell)
    mixed = HarmonicCrystal(crystal, force_constants_of(CRYSTALS["copper"]))
    with pytest.raises(InputError, match="crystal of Euphonic"):
        mixed.to_euphonic()
    without = pickle.loads(pickle.dumps(debye.predict(debye.DEMO / "silicon.vasp")))
    with pytest.raises(InputError, match="without its model"):
        without.to_euphonic()


@pytest.mark.filterwarnings("ignore:More than one OpenMP")
@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING")  # Euphonic's of spglib
def test_the_path_of_the_docs_runs():
    """What docs/lattice.md says of neutrons, word by word."""
    text = DOCS.read_text()
    (block,) = re.findall(r"```python\n(# S\(q, ω\)[\s\S]*?)```", text)
    names = {}
    exec(compile(block, str(DOCS), "exec"), names)
    scattering = names["scattering"].z_data.magnitude
    assert scattering.shape[0] > 10
    assert np.nanmax(scattering) > 0
