"""Where the detector stands, as headers of images and files of pyFAI say."""

import fabio.cbfimage
import fabio.edfimage
import h5py
import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from stacks import SIDE, simulated, write_npy

import debye
from debye.errors import InputError
from debye.speckle.data.poni import read_poni
from debye.speckle.data.read_results import read_results
from debye.speckle.data.results import write_results
from debye.speckle.data.stack import Stack
from debye.speckle.xpcs.correlator import Correlator
from debye.speckle.xpcs.geometry import Geometry, wavelength_of
from debye.speckle.xpcs.qmap import make_qmap

DECTRIS = """# Detector: PILATUS 300K, 3-0101
# 2011/Apr/15 18:03:05.123
# Pixel_size 172e-6 m x 170e-6 m
# Exposure_time 0.0017700 s
# Exposure_period 0.00200 s
# Count_cutoff 1048500 counts
# Threshold_setting 6300 eV
# Wavelength 1.3 A
# Energy_range (0, 0) eV
# Detector_distance 4.15500 m
# Beam_xy (24.12, 22.28) pixels
"""
EDF = {
    "Center_1": "24.62",
    "Center_2": "32.78",
    "Offset_2": "10",
    "SampleDistance": "4.155 m",
    "PSize_1": "0.172 mm",
    "PSize_2": "1.7e-04",
    "WaveLength": "1.3e-10",
}
FRAME = np.arange(SIDE**2, dtype=np.int32).reshape(SIDE, SIDE)


def cbf(path):
    header = {
        "_array_data.header_convention": '"PILATUS_1.2"',
        "_array_data.header_contents": DECTRIS.replace("\n", "\r\n"),
    }
    fabio.cbfimage.CbfImage(data=FRAME, header=header).write(str(path))


def tif(path):
    said = TiffImagePlugin.ImageFileDirectory_v2()
    said[270] = DECTRIS
    Image.fromarray(FRAME).save(path, tiffinfo=said)


def edf(path):
    fabio.edfimage.EdfImage(data=FRAME, header=EDF).write(str(path))


@pytest.mark.parametrize("write", [cbf, tif, edf])
def test_headers_of_images_state_the_geometry(write, tmp_path):
    """EDF's middle of the first pixel is at ½, and its centre counts from the whole detector."""
    for k in range(3):
        write(tmp_path / f"a_{k}.{write.__name__}")
    stack = Stack.open(tmp_path)
    geometry = stack.geometry
    assert (geometry.x, geometry.y) == pytest.approx((24.12, 22.28))
    assert (geometry.distance, geometry.wavelength) == pytest.approx((4.155, 1.3))
    assert geometry.sides == pytest.approx((170e-6, 172e-6))
    assert stack.frame_time == (None if write is edf else 0.002)
    assert stack.stated.full == (1048500 if write is not edf else 2**31 - 2)
    assert stack.notes == []


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"SampleDistance": "3000"}, "detector distance of 3000 without a unit was taken in mm"),
        ({"SampleDistance": "9e9"}, "detector distance is not used"),
        ({"WaveLength": "7 m"}, "wavelength is not used"),
        ({"PSize_1": "12 m", "PSize_2": "1e-4"}, "pixel size is not used"),
    ],
)
def test_a_header_that_cannot_be_is_not_used_and_said(header, words, tmp_path):
    for k in range(2):
        image = fabio.edfimage.EdfImage(data=FRAME, header=header)
        image.write(str(tmp_path / f"a_{k}.edf"))
    stack = Stack.open(tmp_path)
    assert words in stack.notes[0]
    assert (stack.stated.wavelength, stack.stated.pixel, stack.geometry) == (None, None, None)


def test_an_unset_centre_is_not_stated(tmp_path):
    for k in range(2):
        image = fabio.edfimage.EdfImage(data=FRAME, header={"Center_1": "0", "Center_2": "0.0"})
        image.write(str(tmp_path / f"a_{k}.edf"))
    assert Stack.open(tmp_path).geometry is None


PONI = """# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis
# Calibration done on Thu Nov 26 04:04:05 2026
poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 7.5e-05, "pixel2": 5.5e-05, "orientation": 3, "max_shape": [80, 96]}
Distance: 2.3
Poni1: 0.004
Poni2: 0.006
Rot1: 0.05
Rot2: -0.03
Rot3: 0.4
Wavelength: 1.2e-10
"""
FLAT = PONI.replace("0.05\n", "0\n").replace("-0.03", "0").replace("0.4\n", "0\n")


def written(folder, text):
    (folder / "a.poni").write_text(text)
    return folder / "a.poni"


def test_a_tilted_detector_has_the_q_of_pyfai(tmp_path):
    """pyFAI 2026.9: `AzimuthalIntegrator.center_array` of these numbers, and its `getFit2D`."""
    path = written(tmp_path, "Distance: 99\nPoni1: 7\n" + PONI)
    geometry = Stack.open(np.ones((3, 80, 96)), poni=path).geometry
    at = ([0, 40, 79], [0, 10, 95])
    q, azimuth = geometry.modulus((80, 96))[at], geometry.azimuth((80, 96))[at]
    want = [0.28893831515997775, 0.29355872105078646, 0.3061076583674538]
    assert q.tolist() == pytest.approx(want, rel=1e-12)
    want = [7.87483973017954, 8.894558668421624, 8.901884369357154]
    assert azimuth.tolist() == pytest.approx(want, rel=1e-10)
    assert geometry.distance == pytest.approx(2.303915, abs=1e-6)
    assert (geometry.x + 0.5, geometry.y + 0.5) == pytest.approx((-1983.562, -868.094), abs=1e-3)


def test_a_flat_poni_goes_before_the_header(tmp_path):
    cbf(tmp_path / "a_1.cbf")
    cbf(tmp_path / "a_2.cbf")
    stack = Stack.open(tmp_path, poni=written(tmp_path, FLAT))
    geometry = stack.geometry
    assert (geometry.tilt, geometry.distance, geometry.pixel) == (None, 2.3, (75e-6, 55e-6))
    assert geometry.y == pytest.approx(0.004 / 75e-6 - 0.5)
    assert geometry.x == pytest.approx(0.006 / 55e-6 - 0.5)
    lacking = written(tmp_path, FLAT.replace("Wavelength: 1.2e-10\n", ""))
    assert Stack.open(tmp_path, poni=lacking).geometry.wavelength == pytest.approx(1.3)
    old = FLAT.replace("Detector_config: {", "PixelSize1: 1e-4\nPixelSize2: 2e-4\nX: {")
    assert read_poni(written(tmp_path, old))["pixel"] == (1e-4, 2e-4)
    named = FLAT.replace("Detector: Detector", "Detector: Eiger4M")
    named = named.replace('"pixel1": 7.5e-05, "pixel2": 5.5e-05, ', "")
    assert read_poni(written(tmp_path, named))["pixel"] == (75e-6, 75e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no distance, poni1, poni2"),
        (FLAT.replace("2.3", "far"), "its distance is 'far'"),
        (FLAT.replace("2.3", "nan"), "its distance is 'nan'"),
        (FLAT.replace("2.3", "-1"), "does not meet the detector"),
        (PONI.replace("0.05", "3.0"), "does not meet the detector"),
        (FLAT.replace('"orientation": 3', '"orientation": 1'), "orientation 1 turns the frames"),
        (FLAT.replace('{"pixel1"', "{pixel1"), "is no JSON"),
        (FLAT.replace('"pixel1"', '"other"'), "how large a pixel is"),
        ("\0", "is no text"),
    ],
)
def test_a_poni_of_no_use_is_refused(text, words, tmp_path):
    with pytest.raises(InputError, match=words):
        read_poni(written(tmp_path, text))
    with pytest.raises(InputError, match=r"no\.poni"):
        read_poni(tmp_path / "no.poni")


NEW = {
    "/entry/instrument/detector_1/beam_center_x": 24.0,
    "/entry/instrument/detector_1/beam_center_y": 22.0,
    "/entry/instrument/detector_1/beam_center_position_x": -0.23,
    "/entry/instrument/detector_1/beam_center_position_y": 0.17,
    "/entry/instrument/detector_1/position_x": -0.23 + 7.6e-5 * 3,
    "/entry/instrument/detector_1/position_y": 0.17,
    "/entry/instrument/detector_1/x_pixel_size": 7.6e-5,
    "/entry/instrument/detector_1/y_pixel_size": 7.6e-5,
    "/entry/instrument/detector_1/distance": 11.6,
    "/entry/instrument/detector_1/frame_time": 2e-3,
    "/entry/instrument/detector_1/count_time": 2e-3,
    "/entry/instrument/incident_beam/incident_energy": 12.184,
}
OLD = {
    "/measurement/instrument/acquisition/beam_center_x": [[24.0]],
    "/measurement/instrument/acquisition/beam_center_y": [[22.0]],
    "/measurement/instrument/acquisition/stage_zero_x": [[100.0]],
    "/measurement/instrument/acquisition/stage_x": [[100.0 + 0.076 * 3]],
    "/measurement/instrument/acquisition/stage_zero_z": [[0.0]],
    "/measurement/instrument/acquisition/stage_z": [[0.0]],
    "/measurement/instrument/detector/x_pixel_size": [[0.076]],
    "/measurement/instrument/detector/y_pixel_size": [[0.076]],
    "/measurement/instrument/detector/distance": [[11600.0]],
    "/measurement/instrument/detector/exposure_period": [[2e-3]],
    "/measurement/instrument/detector/exposure_time": [[1.9e-3]],
    "/measurement/instrument/source_begin/energy": [[12.184]],
}


@pytest.mark.parametrize("layout", [NEW, OLD], ids=["new", "old"])
def test_metadata_of_8id_beside_raw_frames_are_used(layout, tmp_path):
    """Names and units as 8-ID's own writers have them; the beam moves with the stage."""
    with h5py.File(tmp_path / "A012_run.h5", "w") as file:
        file["/entry/data/data"] = simulated()[:9]
        file["/entry/instrument/detector/beam_center_x"] = 1.0
    with h5py.File(tmp_path / "A012_run_metadata.hdf", "w") as file:
        for name, value in layout.items():
            file[name] = value
    (tmp_path / "B_metadata.hdf").write_bytes(b"not looked at")
    stack = Stack.open(tmp_path / "A012_run.h5")
    geometry = stack.geometry
    assert (geometry.x, geometry.y) == pytest.approx((27.0, 22.0))
    assert (geometry.distance, geometry.energy) == pytest.approx((11.6, 12.184))
    assert geometry.sides == pytest.approx((7.6e-5, 7.6e-5))
    assert stack.frame_time == 2e-3
    assert "A012_run_metadata.hdf says goes before" in stack.notes[0]
    assert "moved the beam by 3 pixels in x" in stack.notes[1]
    for name in ("A012_run_00001-00009.h5", "A013_run.h5"):  # a part of that run; another one
        (tmp_path / name).write_bytes((tmp_path / "A012_run.h5").read_bytes())
    assert Stack.open(tmp_path / "A012_run_00001-00009.h5").geometry == geometry
    (tmp_path / "B_metadata.hdf").unlink()
    other = Stack.open(tmp_path / "A013_run.h5")
    assert "of 1 *_metadata.hdf beside it none is of its name" in other.notes[0]
    assert other.geometry is None
    (tmp_path / "B_metadata.hdf").write_bytes(b"not looked at")
    (tmp_path / "A012_run_metadata.hdf").rename(tmp_path / "C_metadata.hdf")
    stack = Stack.open(tmp_path / "A012_run.h5")
    assert "of 2 *_metadata.hdf beside it none" in stack.notes[0]
    assert stack.geometry is None


@pytest.mark.parametrize("others", [0, 1])
def test_the_detector_of_an_entry_is_found_whatever_its_name(others, tmp_path):
    """NeXus tells detectors by their class; of two nobody knows whose the frames are."""
    with h5py.File(tmp_path / "n.nxs", "w") as file:
        file["/scan_7/measurement/frames"] = simulated()[:9]
        detector = file.create_group("/scan_7/instrument/lambda")
        detector["beam_center_x"], detector["beam_center_y"] = 20.5, 21.0
        detector["distance"], detector["frame_time"] = 3.0, 1e-3
        detector["x_pixel_size"] = detector["y_pixel_size"] = 55e-6
        detector["pixel_mask"] = np.eye(SIDE, dtype=np.uint32)
        for name in ("lambda", *("eiger" for _ in range(others))):
            file.require_group(f"/scan_7/instrument/{name}").attrs["NX_class"] = "NXdetector"
        file["/scan_7/instrument/beam/incident_wavelength"] = 1.5
    stack = Stack.open(tmp_path / "n.nxs")
    if others:
        assert (stack.geometry, stack.frame_time) == (None, None)
        return
    want = Geometry(20.5, 21.0, 3.0, (55e-6, 55e-6), stack.stated.wavelength)
    assert want.wavelength == pytest.approx(1.5)
    assert (stack.geometry, stack.frame_time) == (want, 1e-3)
    assert int((~stack.mask).sum()) == SIDE


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"distance": 5000.0}, "give it in m"),
        ({"pixel": 75.0}, "give it in m"),
        ({"pixel": (75e-6, 75.0)}, "give it in m"),
        ({"energy": 8000.0}, "give it in keV"),
    ],
)
def test_numbers_in_another_unit_are_refused(option, words):
    frames = np.random.default_rng(0).poisson(2.0, (5, 32, 32))
    with pytest.raises(InputError, match=words):
        debye.correlate(frames, rings=2, **option)


def test_no_tilt_is_no_tilt_and_a_tilt_is_kept(tmp_path):
    flat = Geometry(x=24, y=23, distance=5.0, pixel=(75e-6, 55e-6), wavelength=wavelength_of(8))
    turned = Geometry(24, 23, 5.0, (75e-6, 55e-6), flat.wavelength, (0.0, 0.0, 0.0))
    shape = (SIDE, SIDE)
    torch.testing.assert_close(turned.modulus(shape), flat.modulus(shape), rtol=1e-14, atol=0)
    torch.testing.assert_close(turned.azimuth(shape), flat.azimuth(shape), rtol=1e-12, atol=1e-9)
    tilted = Geometry(24, 23, 5.0, (75e-6, 55e-6), flat.wavelength, (0.3, 0.1, 0.0))
    q = tilted.modulus(shape)
    assert float(q[23, 24]) == pytest.approx(0, abs=1e-12)
    assert float(q[23, 40] / flat.modulus(shape)[23, 40]) == pytest.approx(np.cos(0.3), rel=1e-3)
    correlator = Correlator(make_qmap(tilted, torch.ones(shape) > 0, 3))
    correlator.update(simulated())
    write_results(tmp_path / "r.hdf", correlator.finish())
    assert read_results(tmp_path / "r.hdf").correlation.qmap.geometry == tilted


def test_a_tilt_is_of_use_only_with_the_beam_in_front():
    with pytest.raises(InputError, match="tilt"):
        Geometry(x=0, y=0, tilt=(3.0, 0.0, 0.0))


def test_the_verb_takes_a_poni(tmp_path):
    import json

    from typer.testing import CliRunner

    from debye.cli.command import app

    name = write_npy(tmp_path / "s.npy", simulated())
    middle = FLAT.replace("0.004", f"{24.5 * 75e-6}").replace("0.006", f"{24.5 * 55e-6}")
    words = ["correlate", str(name), "--output", str(tmp_path / "r.hdf"), "--rings", "2", "--json"]
    done = CliRunner().invoke(app, [*words, "--poni", str(written(tmp_path, middle))])
    record = json.loads(done.stdout)
    assert record["centre"] == [pytest.approx(24), pytest.approx(24)]
    assert (record["distance"], record["q_unit"]) == (2.3, "1/Å")
