"""Scans: units of CXI, frames without a position, folders with bad frames."""

import h5py
import numpy as np
import pytest
import torch

from debye.errors import InputError
from debye.speckle import read_cxi, read_scan_folder
from debye.units import E

DETECTOR = "entry/instrument/detector"
COUNT, SIDE = 20, 24
CLEAN = np.random.default_rng(0).poisson(
    20 * np.random.default_rng(1).exponential(size=(COUNT, SIDE, SIDE))
)
CLEAN = CLEAN.astype(np.uint16)


def cxi(path, energy=8000 * E, distance=2.0, pixel=55e-6, units=("", "", ""), **others):
    with h5py.File(path, "w") as file:
        file["entry_1/data_1/data"] = CLEAN
        moved = others.get("moved", np.arange(3.0 * COUNT).reshape(COUNT, 3) * 1e-7)
        file["entry_1/data_1/translation"] = moved
        detector = "entry_1/instrument_1/detector_1"
        places = {
            "entry_1/instrument_1/source_1/energy": energy,
            f"{detector}/distance": distance,
            f"{detector}/x_pixel_size": pixel,
        }
        for (name, value), unit in zip(places.items(), units, strict=True):
            file[name] = value
            if unit:
                file[name].attrs["units"] = unit
        if "mask" in others:
            file[f"{detector}/mask"] = others["mask"]
    return path


RIGHT = 1.239841984e-6 / 8000 * 2.0 / (SIDE * 55e-6)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, ""),
        ({"energy": 8000.0}, "photon energy of 8000 without a unit was taken in ev"),
        ({"energy": 8.0}, "photon energy of 8 without a unit was taken in kev"),
        ({"energy": np.array([8000.0])}, "taken in ev"),
        ({"energy": 8.0, "units": ("keV", "", "")}, ""),
        ({"pixel": 55.0}, "pixel size of 55 without a unit was taken in um"),
        ({"pixel": 0.055}, "pixel size of 0.055 without a unit was taken in mm"),
        ({"pixel": 55.0, "units": ("", "", "um")}, ""),
        ({"distance": -2.0}, "distance of -2 was taken for 2"),
        ({"distance": 2000.0}, "distance of 2000 without a unit was taken in mm"),
        ({"distance": 2000.0, "units": ("", "mm", "")}, ""),
    ],
)
def test_units_of_cxi_are_what_is_possible(changes, note, tmp_path):
    found = read_cxi(cxi(tmp_path / "s.cxi", **changes))
    assert found.pixel == pytest.approx(RIGHT)
    assert found.quality.notes == () if not note else note in found.quality.notes[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"energy": 0.0}, "photon energy .*\n.*it is 0 .*none of"),
        ({"energy": np.nan}, "photon energy .*\n.*it is nan"),
        ({"energy": -8000.0}, "it is -8000"),
        ({"energy": 100.0}, "possible in ev and in kev"),
        ({"energy": 8000.0, "units": ("J", "", "")}, "it is 8000 j"),
        ({"pixel": 1.0}, "pixel size .*\n.*possible in mm and in um"),
        ({"pixel": 0.0}, "pixel size"),
        ({"distance": 0.0}, "detector distance"),
        ({"distance": np.inf}, "detector distance"),
        ({"moved": np.zeros((3, 3))}, "20 frames but 3 positions"),
        ({"moved": np.full((COUNT, 3), np.nan)}, "no two frames are good"),
        ({"mask": np.zeros((1, SIDE, SIDE))}, "cannot use the mask"),
    ],
)
def test_what_is_possible_in_no_unit_or_in_two_is_refused(changes, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_cxi(cxi(tmp_path / "s.cxi", **changes))


def test_a_pixel_that_is_given_needs_nothing_of_the_file(tmp_path):
    assert read_cxi(cxi(tmp_path / "s.cxi", energy=0.0), pixel=1e-8).pixel == 1e-8


def test_frames_without_a_position_are_left_out_with_it(tmp_path):
    moved = np.arange(3.0 * COUNT).reshape(COUNT, 3) * 1e-7
    moved[3], moved[7, 0] = np.nan, np.inf
    found = read_cxi(cxi(tmp_path / "s.cxi", moved=moved))
    assert found.quality.frames == {"without a position": [3, 7]}
    assert torch.equal(found.frames, torch.from_numpy(np.delete(CLEAN, [3, 7], 0)).float())
    assert np.allclose(found.positions, np.delete(moved[:, :2], [3, 7], 0))
    micrometres = read_cxi(cxi(tmp_path / "u.cxi", moved=1e6 * np.nan_to_num(moved, posinf=0)))
    assert "taken in um" in micrometres.quality.notes[0]
    assert float(micrometres.positions.max()) == pytest.approx(5.8e-6)


def test_bits_of_a_cxi_mask_that_say_nothing_bad_are_good(tmp_path):
    mask = np.zeros((SIDE, SIDE), dtype=np.uint32)
    mask[0, 0], mask[0, 1], mask[0, 2], mask[1] = 2, 8, 1 << 10, 1 << 13
    found = read_cxi(cxi(tmp_path / "s.cxi", mask=mask))
    assert found.quality.pixels == {"saturated": 1, "dead": 1, "noisy": 1}
    assert int((~found.mask).sum()) == 3


def test_a_scan_folder_leaves_out_what_is_bad(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    data = CLEAN.astype("<f4")
    data[4], data[9], data[:, 3, 3] = 0, data[8], np.nan
    for k, frame in enumerate(data):
        frame.tofile(raw / f"image_{k:06d}.bin")
    y, x = np.arange(COUNT) * 1e-6, np.arange(COUNT) * 2e-6
    np.savetxt(raw / "positions.csv", np.stack([y, x], 1), delimiter=",")
    found = read_scan_folder(tmp_path, side=SIDE)
    assert found.quality.frames == {"dark": [4], "repeated": [9]}
    assert found.quality.pixels == {"broken": 1}
    assert found.positions[:, 1].tolist() == pytest.approx(np.delete(y, [4, 9]).tolist())
