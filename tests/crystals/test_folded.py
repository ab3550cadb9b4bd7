"""Force constants of supercells: folded, unfolded, read as labels, and taught."""

import math
import re
import zipfile
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
import torch
from ase.build import bulk
from lattices import squares

from debye.core import checkpoint
from debye.crystals.data.dataset import read_collection
from debye.crystals.data.force_constants import LatticeLabel, read_force_constants, sound_waves
from debye.crystals.graph import Graph
from debye.crystals.lattice.elastic import Elasticity
from debye.crystals.lattice.folded import FoldedForceConstants
from debye.crystals.lattice.harmonic import stiffness
from debye.crystals.model.network import PhononNet
from debye.crystals.predict.model_files import TAUGHT, TAUGHT_BEYOND
from debye.crystals.structure.crystal import Crystal
from debye.crystals.training.config import Settings
from debye.crystals.training.examples import Examples
from debye.crystals.training.lattice_loss import GRUNEISEN, LatticeLoss, compared, rmse, rooted
from debye.crystals.training.run import TrainingRun
from debye.crystals.training.variations import Variation
from debye.errors import InputError

GRID = [20.0 * i for i in range(51)]
ATOMS = {
    "salt": bulk("NaCl", "rocksalt", a=5.6),
    "wurtzite": bulk("ZnO", "wurtzite", a=3.3, c=5.2),
    "one atom": bulk("Cu", "fcc", a=3.6),
}
SUPERCELLS = {"salt": (2, 3, 4), "wurtzite": (3, 2, 1), "one atom": (3, 3, 3)}


def crystal(name):
    atoms = ATOMS[name]
    return Crystal(atoms.get_chemical_symbols(), atoms.get_positions(), atoms.cell.array)


@pytest.fixture(scope="module")
def net():
    """That nobody taught, but whose bonds are about as stiff as is usual."""
    torch.manual_seed(1)
    net = PhononNet(GRID, heads=["force_constants"], channels=8, hidden=16).eval()
    with torch.no_grad():
        net.force_constant_head.decoder.weights[-1].bias[0] += 1
    return net


def predicted(net, name):
    with torch.no_grad():
        return net.force_constants(Graph.of(crystal(name), net.cutoff)).double()


def folded(net, name):
    return FoldedForceConstants.of(predicted(net, name), crystal(name), SUPERCELLS[name])


@pytest.mark.parametrize("name", ATOMS)
def test_folded_force_constants_keep_commensurate_modes(net, name):
    """Exactly, however much of them is folded onto itself."""
    whole = predicted(net, name)
    found = folded(net, name)
    q = found.commensurate.unsqueeze(0)
    mass = whole.mass
    unfolded = replace(found.unfolded(), mass=mass)
    torch.testing.assert_close(squares(unfolded, q), squares(whole, q), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ATOMS)
def test_unfolded_and_folded_again_is_the_same(net, name):
    found = folded(net, name)
    again = FoldedForceConstants.of(found.unfolded(), found.crystal, found.supercell)
    torch.testing.assert_close(again.values, found.values, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ATOMS)
def test_phonopy_finds_the_same_modes_between(net, name):
    """Its choice of images, and its order of the supercell's sites."""
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    found = folded(net, name)
    atoms = ATOMS[name]
    unfolded = found.unfolded()
    cell = PhonopyAtoms(
        atoms.get_chemical_symbols(),
        cell=atoms.cell.array,
        positions=atoms.get_positions(),
        masses=unfolded.mass.numpy(),
    )
    phonon = phonopy.Phonopy(cell, np.diag(found.supercell), np.eye(3), is_symmetry=False)
    phonon.force_constants = found.values.numpy().reshape(len(atoms), -1, 3, 3)
    q = np.random.default_rng(0).random((9, 3))
    theirs = np.linalg.eigvalsh(
        phonon.run_qpoints(q, with_dynamical_matrices=True).dynamical_matrices
    )
    ours = squares(unfolded, torch.from_numpy(q).unsqueeze(0))[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: v[:1], "of shape"),
        (lambda v: v.index_fill(0, torch.tensor([0]), torch.nan), "not finite"),
        (lambda v: v + torch.eye(3), "acoustic sum rule"),
    ],
)
def test_force_constants_that_are_refused(net, change, why):
    found = folded(net, "salt")
    with pytest.raises(InputError, match=why):
        FoldedForceConstants(found.crystal, found.supercell, change(found.values))


# Labels.


@pytest.fixture
def folder(net, tmp_path):
    for name in ("salt", "wurtzite"):
        write(tmp_path / f"{name}.npz", folded(net, name))
    return tmp_path


def write(path, found, **changes):
    arrays = {
        "numbers": ATOMS[path.stem].numbers,
        "cell": found.crystal.cell,
        "positions": found.crystal.positions,
        "supercell": np.array(found.supercell),
        "fc": found.values.numpy().reshape(found.crystal.n_sites, -1, 3, 3),
    }
    np.savez(path, **{**arrays, **changes})


@pytest.fixture
def rows(tmp_path):
    atoms = ATOMS["salt"]
    structure = {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.get_positions().tolist(),
        "cell": atoms.cell.array.tolist(),
    }
    omega = np.array(GRID)
    density = np.exp(-(((omega - 150) / 60) ** 2)).tolist()
    path = tmp_path / "data.csv"
    text = "mp_id,structure,phfreq,phdos\n"
    for name in ("salt", "other"):
        text += f'{name},"{structure}","{GRID}","{density}"\n'
    path.write_text(text)
    return read_collection(path)[0]


def test_labels_of_rows_and_of_others(folder, rows):
    labels, failed = read_force_constants(folder, rows)
    assert set(labels) == {"salt", "wurtzite"}
    assert not failed
    assert labels["wurtzite"].weight == 1
    assert labels["salt"].weight < 1  # a hump is not the spectrum of random force constants
    for label in labels.values():
        modes = squares(label.folded.unfolded(), label.q.double().unsqueeze(0))[0]
        torch.testing.assert_close(label.square.double(), modes, rtol=1e-4, atol=1e-6)


def test_nothing_is_taught_of_formulas_that_are_held_out(net, folder, rows):
    found = folded(net, "salt")
    np.savez(
        folder / "another.npz",
        **{**dict(np.load(folder / "salt.npz")), "positions": found.crystal.positions + 0.1},
    )
    labels, _ = read_force_constants(folder, rows, train=["other"], valid=["salt"])
    assert set(labels) == {"salt", "another", "wurtzite"} - {"another"}
    labels, _ = read_force_constants(folder, rows, train=["other"])
    assert set(labels) == {"wurtzite"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fc": np.zeros((2, 5, 3, 3))}, "of shape"),
        ({"numbers": np.array([11, 500])}, "no element 500"),
        ({"positions": np.array([[0, 0, 0], [1.0, 0, 0]])}, "its sites are not"),
        ({"cell": 4 * np.eye(3)}, "its cell or elements"),
        ({"cell": np.full((3, 3), np.nan)}, "no finite numbers"),
        ({"supercell": np.array([0, 1, 1])}, "of shape"),
        ({"supercell": np.array(["a", "b", "c"])}, "no finite numbers"),
        ({"fc": np.array([object()])}, "allow_pickle"),
    ],
)
def test_files_that_are_left_out(net, folder, rows, changes, why):
    write(folder / "salt.npz", folded(net, "salt"), **changes)
    labels, failed = read_force_constants(folder, rows)
    assert set(labels) == {"wurtzite"}
    assert why in failed[0].error.why


@pytest.mark.parametrize("factor", [48.6, 1 / 48.6])
def test_force_constants_in_another_unit_are_left_out(net, folder, rows, factor):
    """Of rows and of others."""
    for name in ("salt", "wurtzite"):
        given = folded(net, name)
        usual = stiffness(given.crystal, given.unfolded())
        write(folder / f"{name}.npz", replace(given, values=given.values * factor / usual))
    with pytest.raises(InputError, match="check the unit"):
        read_force_constants(folder, rows)


def test_damaged_files_are_left_out(folder, rows):
    whole = (folder / "salt.npz").read_bytes()
    (folder / "salt.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.npz").write_text("no archive")
    labels, failed = read_force_constants(folder, rows)
    assert set(labels) == {"wurtzite"}
    assert len(failed) == 2


@pytest.mark.parametrize("header", [b"{'descr': '<f8', 'shape': (2,", b"{'a' 'b'", b"x" * 20])
def test_a_header_that_is_no_python_is_refused(folder, rows, header):
    """numpy parses headers of arrays as literals, and raises what Python's parser does."""
    with zipfile.ZipFile(folder / "salt.npz", "w") as archive:
        for name in ("numbers", "cell", "positions", "supercell", "fc"):
            length = len(header).to_bytes(2, "little")
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + length + header)
    labels, failed = read_force_constants(folder, rows)
    assert set(labels) == {"wurtzite"}
    assert "salt.npz" in failed[0].error.what


def test_a_folder_without_force_constants(tmp_path, rows):
    with pytest.raises(InputError, match="there are no force constants"):
        read_force_constants(tmp_path, rows)


# Sound.


@pytest.mark.parametrize("name", ["one atom", "salt", "wurtzite"])
def test_elastic_constants_are_where_long_waves_begin(net, name):
    """Those of the force constants themselves, by the method of long waves: modes at short q."""
    whole = predicted(net, name)
    C = Elasticity.of(crystal(name), whole).constants.double()
    q = 1e-3 * torch.tensor([[1.0, 0, 0], [0, 2, -1], [1, 1, 1]], dtype=torch.float64)
    modes = squares(whole, q.unsqueeze(0))[0][:, :3]
    torch.testing.assert_close(sound_waves(C, crystal(name), q), modes, rtol=1e-2, atol=0)


def own_elastic(net, name):
    return Elasticity.of(crystal(name), predicted(net, name)).constants.double().numpy()


@pytest.mark.parametrize("times", [10, 0.1])
def test_elastic_constants_in_another_unit_are_refused(net, folder, rows, times):
    C = times * own_elastic(net, "wurtzite")
    write(folder / "wurtzite.npz", folded(net, "wurtzite"), elastic=C)
    labels, failed = read_force_constants(folder, rows)
    assert set(labels) == {"salt"}
    assert "kbar" in failed[0].error.why


def test_a_file_s_elastic_constants_say_how_its_short_waves_travel(net, folder, rows):
    C = 1.2 * own_elastic(net, "wurtzite")
    write(folder / "wurtzite.npz", folded(net, "wurtzite"), elastic=C)
    write(folder / "salt.npz", folded(net, "salt"), elastic=np.full((6, 6), np.nan))
    labels, _ = read_force_constants(folder, rows)
    own = LatticeLabel.of(labels["salt"].folded, None, crc32(b"salt"))
    assert labels["salt"].square[-6:].allclose(own.square[-6:], rtol=1e-4)
    label = labels["wurtzite"]
    waves = sound_waves(torch.from_numpy(C), label.folded.crystal, label.q[-6:].double())
    torch.testing.assert_close(label.square[-6:, :3], waves.float(), rtol=1e-5, atol=0)
    modes = squares(label.folded.unfolded(), label.q.double().unsqueeze(0))[0]
    torch.testing.assert_close(label.square[:-6], modes[:-6].float(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("elastic", "why"),
    [
        (np.eye(3), r"matrix \(6, 6\)"),
        (np.arange(36.0).reshape(6, 6), "symmetric"),
        (1e9 * np.eye(6), "diamond's"),
        (np.where(np.eye(6) > 0, np.inf, 0), "finite"),
    ],
)
def test_elastic_constants_that_are_refused(net, folder, rows, elastic, why):
    write(folder / "salt.npz", folded(net, "salt"), elastic=elastic)
    labels, failed = read_force_constants(folder, rows)
    assert set(labels) == {"wurtzite"}
    assert re.search(why, failed[0].error.why)


# The loss.


@pytest.fixture(scope="module")
def lesson(net):
    """A batch whose labels are what the network says of it, one crystal without any."""
    names = ["wurtzite", "salt", "wurtzite", "one atom"]
    graphs = [Graph.of(crystal(name), net.cutoff) for name in names]
    labels = [LatticeLabel.of(folded(net, name), seed=k) for k, name in enumerate(names)]
    from debye.crystals.training.lattice_loss import Lesson, Taught

    taught = [Taught.of(labels[k], graphs[k]) for k in (0, 1, 3)]
    ones = torch.ones(4)
    return Graph.batch(graphs), Lesson(torch.tensor([0, 1, 3]), tuple(taught), ones, ones)


def test_the_truth_costs_nothing(net, lesson):
    graph, told = lesson
    with torch.no_grad():
        found = net.force_constants(graph)
    terms = LatticeLoss()(found, told, all_q=True)
    assert terms["matrix"] < 1e-3
    for modes in compared(found, told):
        assert modes.error[:6].abs().max() < 1e-2  # where the supercell is exact
    assert (rmse(found, told) > 1e-2).all()  # between, what is folded onto itself is not


def test_the_matrix_counts_in_wavenumbers(net, lesson):
    """All force constants 2 % stronger: frequencies 1 % higher, at commensurate wave vectors."""
    graph, told = lesson
    with torch.no_grad():
        found = net.force_constants(graph)
    stronger = replace(found, values=1.02 * found.values)
    for modes in compared(stronger, told):
        error, omega = modes.error, rooted(modes.wanted)
        exact = slice(0, 6)  # as many cells has the smallest supercell
        high = omega[exact].abs() > 50
        torch.testing.assert_close(
            error[exact][high], 0.01 * omega[exact][high], rtol=0.2, atol=0.05
        )


def test_a_crystal_that_falls_apart_counts_as_one(net, lesson):
    """Its blocks of the sites are negative, or nearly cancel: errors of it are not all there is."""
    graph, told = lesson
    with torch.no_grad():
        found = net.force_constants(graph)
    terms = {}
    for factor in (1.0, -1.0, 1e-3):
        labels = [label._replace(target=factor * label.target) for label in told.labels]
        lower = replace(found, values=factor * found.values * 1.1)
        with torch.no_grad():
            terms[factor] = float(
                LatticeLoss()(lower, told._replace(labels=tuple(labels)))["matrix"]
            )
    assert terms[-1.0] == pytest.approx(terms[1.0], rel=1e-5)
    assert terms[1e-3] < terms[1.0]


def test_sound_is_the_relative_error_of_slow_waves(net, lesson):
    """All force constants e^0.02 as strong: ω² by 2 %, and ω by 1 %, however short the wave."""
    graph, told = lesson
    with torch.no_grad():
        found = net.force_constants(graph)
        alone = [
            net.force_constants(Graph.of(crystal(name), net.cutoff))
            for name in ("wurtzite", "salt", "one atom")
        ]
    matrices = [
        each.dynamical_matrix(label.q.unsqueeze(0))
        for each, label in zip(alone, told.labels, strict=True)
    ]
    own = [
        label._replace(square=torch.linalg.eigvalsh(D)[0])
        for label, D in zip(told.labels, matrices, strict=True)
    ]
    stronger = replace(found, values=math.exp(0.02) * found.values)
    for modes in compared(stronger, told._replace(labels=tuple(own)), 8):
        assert modes.sound.shape == (2, 3)
        torch.testing.assert_close(modes.sound, torch.full((2, 3), 0.01), rtol=0.1, atol=1e-4)


def test_a_variation_changes_labels_alike(net, lesson):
    """Heavier masses and a longer lattice, seen from the label's side, cost nothing either."""
    graph, told = lesson
    heavier = torch.tensor([1.0, 1.2, 1.0, 0.8])
    with torch.no_grad():
        found = net.force_constants(graph)
    soft = torch.tensor([1.0, 1.01, 1.0, 0.99])
    factor = (soft ** (-6 * GRUNEISEN))[found.crystal[found.first]]
    changed = replace(
        found,
        mass=found.mass * heavier[found.crystal],
        values=found.values * factor[:, None, None],
    )
    varied = told._replace(stretch=soft, heavier=heavier)
    assert LatticeLoss()(changed, varied, all_q=True)["matrix"] < 1e-3
    assert LatticeLoss()(changed, told, all_q=True)["matrix"] > 1e-2


def test_gradients_of_the_loss(net, lesson):
    graph, told = lesson
    found = net.force_constants(graph)
    # Modes at rest stay at rest: there |ω − ω*| has no slope.
    moving = [label.q.abs().sum(-1) > 0 for label in told.labels]
    labels = [
        label._replace(q=label.q[some], square=label.square[some])
        for label, some in zip(told.labels, moving, strict=True)
    ]
    told = told._replace(labels=tuple(labels))
    start = found.values.detach() * 1.1

    def loss(values):
        terms = LatticeLoss()(replace(found, values=values), told, all_q=True)
        return torch.stack(list(terms.values())).sum()

    values = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(values), values)
    way = slope * start.norm() / slope.norm()
    step = 1e-4
    with torch.no_grad():
        rise = loss(start + step * way) - loss(start - step * way)
    torch.testing.assert_close((slope * way).sum(), rise / (2 * step), rtol=0.02, atol=1e-3)


def test_examples_join_rows_and_others(net, folder, rows):
    labels, _ = read_force_constants(folder, rows)
    examples = Examples.of(rows, net.cutoff, labels)
    assert len(examples) == 3
    assert [taught is None for taught in examples.taught] == [False, True, False]
    batch = examples.batch([2, 1, 0])
    assert batch.target.isnan().any(-1).tolist() == [True, False, False]
    assert batch.lesson.crystals.tolist() == [0, 2]
    # What a stretched lattice takes beyond the cutoff stays a pair.
    varied = Variation(torch.full((3,), 1.01), torch.ones(3)).of(batch, torch.tensor(GRID))
    torch.testing.assert_close(varied.graph.cell, 1.01 * batch.graph.cell)


def test_a_training_learns_force_constants(net, folder, rows, tmp_path):
    """Stretched lattices and scaled masses among them."""
    labels, _ = read_force_constants(folder, rows)
    settings = Settings.from_tables(
        {
            "batch_size": 2,
            "network": {"heads": ["force_constants", "density"], "channels": 8, "hidden": 16},
            "recipe": {"epochs": 12, "peak_rate": 0.02, "warmup": 0.1},
            "strain": {"fraction": 1.0},
        }
    )
    train, valid = rows.take(["other"]), rows.take(["salt"])
    run = TrainingRun(train, valid, tmp_path / "run", settings, labels=labels)
    assert len(run.examples) == 2
    for _ in run.steps():
        pass
    assert run.history[-1].train_loss < 0.3 * run.history[0].train_loss
    assert run.history[-1].valid_frequency > 0
    data = checkpoint.read_card(tmp_path / "run" / "best.safetensors")["data"]
    assert data[TAUGHT] == 1
    assert data[TAUGHT_BEYOND] == [labels["wurtzite"].folded.crystal.formula]
    again = TrainingRun(train, valid, tmp_path / "run", settings, labels=labels, resume=True)
    assert again.finished
    with pytest.raises(InputError, match="the validation rows"):
        TrainingRun(train, valid, tmp_path / "run", settings, resume=True)
