"""Laws of calibrated uncertainty: intervals hold, widen with the level, scale; warnings speak."""

import json
from itertools import product

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from debye.core import checkpoint
from debye.crystals.data.labels import FREQUENCY, Collection
from debye.crystals.dos.distances import wasserstein
from debye.crystals.dos.quantities import QUANTITIES, WITH_INTERVALS, OnGrid
from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.inversion.rank import predicted, screened
from debye.crystals.predict.model_files import model_card
from debye.crystals.predict.predictor import Predictor
from debye.crystals.predict.record import record, table_header, table_row
from debye.crystals.structure.crystal import Crystal
from debye.crystals.structure_io.read import read_crystals, write_structures
from debye.crystals.uncertainty.applicability import TrainingSet
from debye.crystals.uncertainty.calibration import BAND, Calibration, calibrate, truth_of
from debye.crystals.uncertainty.conformal import LEVELS, conformal_quantiles, row_of
from debye.crystals.uncertainty.features import FEATURES, HeadOutputs, UncertaintyFeatures
from debye.crystals.uncertainty.uncertainty import Uncertainty, coverage, rejection_gain
from debye.errors import InputError

CATIONS, ANIONS = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Ba"), ("F", "Cl", "Br", "O", "S")
KINDS, ANSWERS = ("force_constants", "density"), (1,)
OMEGA = np.array(FREQUENCY)


def salt(a="Na", b="Cl", side=5.6, **facts):
    cell = side / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal([a, b], [[0, 0, 0], [side / 2] * 3], cell, **facts)


def peak(centre, width):
    """Normalised Gaussian spectra of one atom, (n, F)."""
    g = np.exp(-(((OMEGA - np.asarray(centre)[:, None]) / width) ** 2) / 2)
    return torch.from_numpy(3 * g / np.trapezoid(g, OMEGA, axis=-1)[:, None])


def labelled(n, seed):
    """Salts, and head_outputs that miss their labels the more the more they disagree."""
    rng = np.random.default_rng(seed)
    pairs = list(product(CATIONS, ANIONS))
    crystals = [salt(*pairs[i % len(pairs)], side=rng.uniform(5, 6.5)) for i in range(n)]
    truth = rng.uniform(200, 600, n)
    doubt = rng.exponential(15, n) + 3  # cm⁻¹
    head_outputs = torch.stack([peak(truth + doubt * rng.normal(size=n), 60) for _ in KINDS], dim=1)
    spectra = Spectrum(FREQUENCY, peak(truth, 60), 2.0, "1").to("max")
    spectra = Spectrum(FREQUENCY, spectra.density, np.full(n, 2.0), "max")
    rows = Collection(tuple(f"row {i}" for i in range(n)), tuple(crystals), spectra)
    return rows, HeadOutputs(head_outputs, KINDS, ANSWERS)


@pytest.fixture(scope="module")
def calibration():
    rows, head_outputs = labelled(300, seed=0)
    return calibrate(head_outputs, rows, cutoff=5.0)


@pytest.fixture(scope="module")
def unseen(calibration):
    """Uncertainties of 1000 rows that the calibration has not seen, and their truth."""
    rows, head_outputs = labelled(1000, seed=1)
    applicabilities = [calibration.training.applicability(c) for c in rows.crystals]
    features = UncertaintyFeatures.of(head_outputs, FREQUENCY, applicabilities)
    return Uncertainty.of(calibration, features), truth_of(rows.spectra)


# Quantiles.


@pytest.mark.parametrize("n", [99, 250])
def test_quantiles_are_the_order_statistics_of_split_conformal_prediction(n):
    scores = torch.from_numpy(np.random.default_rng(0).exponential(size=n))
    ranks = [int(np.ceil(round((n + 1) * level, 9))) for level in LEVELS]
    torch.testing.assert_close(
        conformal_quantiles(scores), scores.sort().values[torch.tensor(ranks) - 1]
    )


def test_mean_coverage_of_many_draws_is_at_least_the_level():
    """For 99 rows exactly ⌈100·level⌉/100, by exchangeability; here over 4000 draws."""
    rng = np.random.default_rng(1)
    hits = np.zeros(len(LEVELS))
    for _ in range(4000):
        scores = torch.from_numpy(rng.standard_cauchy(100)).abs()
        hits += (scores[99] <= conformal_quantiles(scores[:99])).numpy()
    expected = np.array(LEVELS)
    assert np.all(np.abs(hits / 4000 - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000))


def test_weighted_scores_cover_the_level_of_each_row_on_average():
    rng = np.random.default_rng(2)
    scores, weights = torch.from_numpy(rng.exponential(size=(400, 5))), torch.full((400, 5), 0.2)
    q = conformal_quantiles(scores[:200], weights[:200].double())
    for level, found in zip(LEVELS, q, strict=True):
        assert (scores[200:] <= found).double().mean() == pytest.approx(level, abs=0.05)
        assert (scores[:200] <= found).double().mean() >= level


def test_too_few_rows_are_refused():
    with pytest.raises(InputError, match="cannot calibrate") as caught:
        conformal_quantiles(torch.ones(98))
    assert "98 rows are too few" in caught.value.why
    rows, head_outputs = labelled(60, seed=0)
    with pytest.raises(InputError, match="cannot calibrate"):
        calibrate(head_outputs, rows, cutoff=5.0)


@pytest.mark.parametrize("level", [0.0, 0.4, 0.995, 1.0, float("nan")])
def test_levels_outside_the_table_are_refused(level):
    with pytest.raises(InputError, match="no interval of level"):
        row_of(level)


def test_head_outputs_of_other_rows_are_refused():
    rows, head_outputs = labelled(120, seed=0)
    with pytest.raises(InputError, match="cannot calibrate with these head outputs"):
        calibrate(head_outputs._replace(densities=head_outputs.densities[:-1]), rows, cutoff=5.0)
    bad = head_outputs.densities.clone()
    bad[3, 0, 0] = torch.nan
    with pytest.raises(InputError, match="cannot calibrate with these head outputs"):
        calibrate(head_outputs._replace(densities=bad), rows, cutoff=5.0)


# Intervals.


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_intervals_hold_on_unseen_rows(unseen, level):
    """Coverage of n = 1000 after 300 rows: four standard errors of both samples."""
    slack = 4 * np.sqrt(level * (1 - level) * (1 / 1000 + 1 / 300))
    for name, of in coverage(*unseen, level).items():
        assert of.inside.mean().item() == pytest.approx(level, abs=slack), name
        assert (of.width > 0).all()


@pytest.mark.parametrize("name", [*WITH_INTERVALS, BAND])
def test_intervals_widen_with_the_level_and_stay_physical(unseen, name):
    sure, _ = unseen
    before = None
    for level in (0.5, 0.55, 0.685, 0.8, 0.95, 0.99):
        found = (
            sure.band(level=level) if name == BAND else sure.interval(name, [300.0], level=level)
        )
        assert (found.lower >= 0).all()
        assert (found.lower <= found.upper).all()
        if before is not None:
            assert (found.lower <= before.lower).all()
            assert (found.upper >= before.upper).all()
        before = found


def test_heat_capacity_closes_at_absolute_zero_and_stays_below_dulong_and_petit(unseen):
    lower, upper = unseen[0].interval("heat_capacity", [0.0, 1e5])
    assert (upper[:, 0] == 0).all()
    assert (upper <= 24.9434).all()
    assert (upper[:, 1] - lower[:, 1] < 1e-3).all()


def test_relative_intervals_do_not_change_when_all_frequencies_do(calibration):
    """Scale all frequencies and the error by s: mean frequency's interval scales by s, at T s C_V's
    stays."""
    s, density = 1.7, peak([300.0], 60)
    error = torch.tensor([12.0], dtype=torch.float64)
    a = OnGrid(FREQUENCY, density)
    b = OnGrid(tuple(s * f for f in FREQUENCY), density / s)
    for name, T, factor in (
        ("mean_frequency", (), s),
        ("zero_point_energy", (), s),
        ("heat_capacity", (200.0,), 1.0),
        ("entropy", (200.0,), 1.0),
    ):
        hotter = tuple(s * t for t in T)
        torch.testing.assert_close(
            b.scale(name, s * error, hotter), factor * a.scale(name, error, T)
        )


def test_slopes_are_derivatives_of_a_common_factor_on_all_frequencies():
    density, h = peak([300.0], 60), 1e-4
    at = OnGrid(FREQUENCY, density)
    moved = [OnGrid(tuple(f * s for f in FREQUENCY), density / s) for s in (1 - h, 1 + h)]
    error = at.value("mean_frequency")  # so that the scale is the slope itself
    for name in WITH_INTERVALS:
        T = (77.0, 300.0) if QUANTITIES[name].thermal else ()
        slope = (moved[1].value(name, T) - moved[0].value(name, T)).abs() / (2 * h)
        torch.testing.assert_close(at.scale(name, error, T), slope, rtol=1e-5, atol=1e-8)


# The expected error.


def test_expected_error_ranks_errors_and_never_falls_with_novelty(calibration, unseen):
    sure, truth = unseen
    spectra = sure.features.spectra
    off = wasserstein(*(Spectrum(FREQUENCY, s.density) for s in (spectra, truth)))
    assert sure.expected_error.mean().item() == pytest.approx(off.mean().item(), rel=0.15)
    assert rejection_gain(sure.expected_error, off) > 0.4
    assert rejection_gain(off, off) == pytest.approx(1.0)
    noise = torch.from_numpy(np.random.default_rng(3).random(len(off)))
    assert abs(rejection_gain(noise, off)) < 0.2
    features = sure.features.values[0]
    for k in range(len(FEATURES)):
        further = features.clone()
        further[k] += 1
        error = calibration.scales.error
        assert error(further) >= error(features)


def test_many_members_give_the_features_of_one_on_average():
    rows, head_outputs = labelled(20, seed=4)
    training = TrainingSet.of(rows.crystals, 5.0)
    applicabilities = [training.applicability(c) for c in rows.crystals]
    twice = HeadOutputs(head_outputs.densities.repeat(1, 3, 1), KINDS * 3, (1, 3, 5))
    one, three = (
        UncertaintyFeatures.of(r, FREQUENCY, applicabilities) for r in (head_outputs, twice)
    )
    torch.testing.assert_close(one.values, three.values)
    torch.testing.assert_close(one.gap, three.gap)
    torch.testing.assert_close(one.spectra.density, three.spectra.density)


def test_cells_of_any_choice_have_the_same_features():
    training = TrainingSet.of([salt(), salt("K")], 5.0)
    head_outputs = HeadOutputs(peak([300.0, 320.0], 60)[None], KINDS, ANSWERS)
    found = [
        UncertaintyFeatures.of(head_outputs, FREQUENCY, [training.applicability(c)]).values
        for c in (salt(), salt().supercell(2))
    ]
    torch.testing.assert_close(*found)


# The calibration in a model's card.


def test_round_trip_through_json(calibration, unseen):
    card = json.loads(json.dumps(calibration.to_card("me"), allow_nan=False))
    assert len(json.dumps(card)) < 60_000
    again = Calibration.from_card(card, "me")
    features = unseen[0].features
    for found, sure in ((Uncertainty.of(again, features), unseen[0]),):
        torch.testing.assert_close(found.expected_error, sure.expected_error, rtol=1e-3, atol=0)
        for name in WITH_INTERVALS:
            for a, b in zip(
                found.interval(name, [77.0, 300.0]), sure.interval(name, [77.0, 300.0]), strict=True
            ):
                torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": "another"}, "another model"),
        ({"version": 99}, "its format is 99"),
        ({"quantiles": 3}, "damaged"),
        ({"training": {}}, "damaged"),
    ],
)
def test_a_calibration_that_is_not_this_models_is_refused(calibration, change, why):
    with pytest.raises(InputError, match="will not use the calibration") as caught:
        Calibration.from_card({**calibration.to_card("me"), **change}, "me")
    assert why in caught.value.why
    assert "debye calibrate" in caught.value.fix


@pytest.fixture(scope="module")
def calibrated_file(model_file, tmp_path_factory):
    """The small model with a calibration: its head_outputs are of one kind."""
    rows, head_outputs = labelled(120, seed=5)
    one = HeadOutputs(head_outputs.densities[:, 1:], ("density",), (0,))
    path = tmp_path_factory.mktemp("model") / "calibrated.safetensors"
    predictor = Predictor.load(model_file)
    card = calibrate(one, rows, cutoff=5.0).to_card(checkpoint.fingerprint(predictor.model))
    checkpoint.amend(model_file, path, {"calibration": card})
    return path


def test_predictions_of_a_calibrated_model_know_their_uncertainty(calibrated_file, model_file):
    assert Predictor.load(model_file).predict(salt()).uncertainty is None
    predictor = Predictor.load(calibrated_file)
    crystals = [salt(), salt("K", "Br", 6.4), salt("Mg", "O", 4.6)]
    for together in predictor(crystals):
        alone = predictor.predict(together.crystal)
        for p in (together, alone):
            assert p.uncertainty.expected_error > 0
        torch.testing.assert_close(
            together.uncertainty.expected_error, alone.uncertainty.expected_error, rtol=1e-4, atol=0
        )
        lower, upper = together.band()
        assert ((lower <= together.total.density) & (together.total.density <= upper)).all()
        told = record(together, unit="THz", level=0.8)
        assert told["interval_level"] == 0.8
        for key in ("mean_frequency_THz", "heat_capacity_J_per_K_per_mol_atoms"):
            assert told[f"{key}_lower"] <= told[key] <= told[f"{key}_upper"]
        for low, middle, high in zip(
            told["dos_lower"], told["dos"], told["dos_upper"], strict=True
        ):
            assert low <= middle * (1 + 1e-6)
            assert middle <= high * (1 + 1e-6)
        header, row = table_header(300.0, "cm-1", 0.9), table_row(together, 300.0, "cm-1", 0.9)
        assert header.splitlines()[0].count("±") == 2
        assert len(row.split()) >= len(header.splitlines()[0].split()) - 5


def test_a_calibration_of_another_model_is_refused_on_load(calibrated_file, model_file, tmp_path):
    other = Predictor.load(model_file).model
    with torch.no_grad():
        next(other.parameters()).add_(0.01)
    card = {
        **model_card(other, elements=["Na", "Cl"]),
        "calibration": checkpoint.read_card(calibrated_file)["calibration"],
    }
    checkpoint.save_model(tmp_path / "other.safetensors", other, card)
    with pytest.raises(InputError, match="will not use the calibration"):
        Predictor.load(tmp_path / "other.safetensors")


# Words.


@pytest.mark.parametrize(
    ("crystal", "words"),
    [
        (salt("Pu", "O"), "no training structure contained Pu"),
        (salt("Na", "K"), "made of metals only"),
        (salt("Na", "Cl", 4.0), "its shortest bond is"),
        (salt("Na", "Cl", 9.6), "its packing is"),
        (salt({"Na": 0.5, "K": 0.5}), "mixed or partly vacant"),
    ],
)
def test_what_is_unlike_the_training_set_is_said(calibrated_file, crystal, words):
    warnings = Predictor.load(calibrated_file).predict(crystal).warnings
    assert any(words in w for w in warnings), warnings


def test_a_usual_crystal_is_not_warned_of(calibration):
    from debye.crystals.uncertainty.applicability import large_error, unlike_training

    known = calibration.training
    bond, packing = (np.mean(ends) for ends in (known.bond, known.packing))
    assert list(unlike_training(salt(), bond, packing, known)) == []
    assert list(large_error(5.0, 0.5)) == []
    assert list(large_error(45.0, 0.97)) == [
        "expected error 45 cm⁻¹, worse than for 97 % of the training crystals"
    ]


def test_a_row_left_out_is_new_to_the_others():
    known = TrainingSet(("NaCl", "KCl", "MgO"), (0.8, 1.1), (0.2, 0.6), 2, 0)
    assert known.applicability(salt()).distance == 0
    left_out = known.applicability(salt(), left_out=0)
    assert (left_out.nearest, left_out.distance, left_out.rarest) == ("KCl", 0.5, 0)


@pytest.fixture(scope="module")
def salts_file(tmp_path_factory):
    crystals = [salt(), salt("K", "Br", 6.4), salt("Mg", "O", 4.6)]
    return write_structures(tmp_path_factory.mktemp("salts") / "salts.json", crystals)


def test_screened_rows_carry_it(debye, calibrated_file, salts_file, tmp_path):
    out, words = tmp_path / "out", ("--workers", 1, "--temperatures", "100,300", "--device", "cpu")
    run = debye("screen", salts_file, "--output", out, "--model", calibrated_file, *words)
    assert run.exit_code == 0, run.stderr
    header, units = run.stdout.splitlines()[:2]
    assert header[units.index("90 %") : units.index("90 %") + 4].strip() == "±"
    rows = pq.read_table(next((out / "parts").iterdir())).to_pylist()
    predictor = Predictor.load(calibrated_file)
    sure = [predictor.predict(c).uncertainty for c in read_crystals(salts_file)]
    for row, one in zip(rows, sure, strict=True):
        assert row["expected_error_cm-1"] == pytest.approx(one.expected_error.item(), abs=1e-4)
        assert row["nearest_training_formula"] == one.applicability.nearest
        heat = one.interval("heat_capacity", [300.0])
        kilograms = 1e-3 * row["mass_per_atom_u"]
        for name, end in zip(("lower", "upper"), heat, strict=True):
            key = f"at_300_K_{name}"
            assert row[f"heat_capacity_J_per_K_per_mol_atoms_{key}"] == pytest.approx(end.item())
            per_mass = end.item() / kilograms
            assert row[f"heat_capacity_J_per_K_per_kg_{key}"] == pytest.approx(per_mass, rel=1e-6)
        lower, upper = (row[f"mean_frequency_cm-1_{end}"] for end in ("lower", "upper"))
        assert lower < row["mean_frequency_cm-1"] < upper
    errors = sorted(row["expected_error_cm-1"] for row in rows)
    assert len(debye("top", out, "--max-error", errors[-1], "--json").stdout.splitlines()) == 3
    assert "no structure fits" in debye("top", out, "--max-error", 0.9 * errors[0]).stderr
    found = screened(out, predictor.card["sha256"], predictor.calibration)
    asked = predicted(predictor, read_crystals(salts_file))
    torch.testing.assert_close(found.size, asked.size, rtol=1e-4, atol=0)
    median = float(np.median(predictor.calibration.typical))
    expected = [one.expected_error.item() / median for one in sure]
    assert asked.size.tolist() == pytest.approx(expected)


def test_rows_of_a_model_without_it_cannot_be_judged_by_it(debye, model_file, salts_file, tmp_path):
    out = tmp_path / "out"
    run = debye("screen", salts_file, "--output", out, "--model", model_file, "--workers", 1)
    assert (run.exit_code, "±" in run.stdout) == (0, False)
    rows = pq.read_table(next((out / "parts").iterdir())).to_pylist()
    assert {row["expected_error_cm-1"] for row in rows} == {None}
    refused = debye("top", out, "--max-error", 10)
    assert refused.exit_code == 2
    assert "is not calibrated" in refused.stderr
    assert debye("top", out, "--max-error", "-1").exit_code == 2


def test_a_design_tells_how_far_it_is_from_what_is_known(debye, calibrated_file, tmp_path):
    start = write_structures(tmp_path / "salt.json", [salt()])
    words = ("--replace", "Cl=Br", "--target", "mean-frequency", "--value", 200)
    told = debye("invert", "design", start, *words, "--model", calibrated_file)
    assert told.exit_code == 0, told.stderr
    assert "nearest known: " in told.stdout
    told = debye("invert", "design", start, *words, "--model", calibrated_file, "--json").stdout
    for proposal in json.loads(told)["proposals"]:
        assert proposal["expected_error_cm-1"] > 0
        assert proposal["nearest_training_formula"]


def test_calibrate_and_evaluate_verbs(debye, model_file, tmp_path):
    from salts import write_rows

    rows, _ = labelled(120, seed=6)
    names = [f"r{i}" for i in range(120)]
    table = [
        {
            "mp_id": name,
            "structure": str(
                {
                    "numbers": crystal.to_atoms().numbers.tolist(),
                    "positions": crystal.positions.tolist(),
                    "cell": crystal.cell.tolist(),
                }
            ),
            "phfreq": str(list(FREQUENCY)),
            "phdos": str(density.tolist()),
        }
        for name, crystal, density in zip(names, rows.crystals, rows.spectra.density, strict=True)
    ]
    data, split = write_rows(tmp_path / "data.csv", table), tmp_path / "split.csv"
    parts = ["train" if i < 15 else "valid" for i in range(120)]
    split.write_text(
        "\n".join(["mp_id,split", *(f"{n},{p}" for n, p in zip(names, parts, strict=True))])
    )
    out = tmp_path / "out.safetensors"
    told = debye("calibrate", data, "--model", model_file, "--output", out)
    assert told.exit_code == 2
    assert "without a split" in told.stderr
    told = debye("calibrate", data, "--split", split, "--model", model_file, "--output", out)
    assert told.exit_code == 0, told.stderr
    assert "calibrated on 105 rows" in told.stderr
    told = debye("evaluate", data, "--split", split, "--model", out)
    assert "inside the intervals" in told.stdout
    told = debye("evaluate", data, "--split", split, "--model", out, "--json")
    held = json.loads(told.stdout)["coverage"]
    assert set(held) == {*WITH_INTERVALS, "density"}
    assert 0.85 < held["mean_frequency"]["90 %"] < 0.95
    card = json.loads(debye("model", out).stdout)["calibration"]
    assert card["rows"] == 105
