"""Files: what is written is read back, and what is wrong is refused before it does harm."""

import json
import math
import random
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from debye.errors import ComputationError, DebyeError, InputError
from debye.speckle.data.cxi import read_cxi
from debye.speckle.data.frames import Frames, fitted_gain
from debye.speckle.data.hdf5 import write_hdf5
from debye.speckle.data.nexus import load_frames, save_frames
from debye.speckle.data.quality import bad_pixels
from debye.speckle.data.readers import read_scan_folder, read_stack
from debye.speckle.fitting.fitted import load
from debye.speckle.studies.drift import DRIFT
from debye.speckle.studies.kuramoto import KURAMOTO
from debye.speckle.studies.scan import SCAN
from debye.speckle.studies.study import relative

OPEN = torch.ones(6, 6, dtype=torch.bool)
TIMES = torch.arange(4.0)


@pytest.fixture
def file(tmp_path):
    """A small simulated file, with counts."""
    case = replace(DRIFT, times=(0.0, 4.0, 2.0))
    save_frames(tmp_path / "frames.h5", case.frames(runs=2, photons=100, seed=1))
    return tmp_path / "frames.h5"


@pytest.mark.parametrize("case", [DRIFT, KURAMOTO, SCAN], ids=lambda c: c.name)
@pytest.mark.parametrize("photons", [0, 50])
def test_what_is_written_is_read_back(case, photons, tmp_path):
    frames = case.frames(runs=1, photons=photons, until=case.times[0] + 2 * case.times[2])
    save_frames(tmp_path / "f.h5", frames)
    back = load_frames(tmp_path / "f.h5")
    torch.testing.assert_close(
        back.data.double(), (frames.data * frames.mask).double(), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(back.states, frames.states)
    assert torch.equal(back.times, frames.times)
    assert back.gain == frames.gain
    assert back.about == frames.about
    start = frames.states[:, 0]
    torch.testing.assert_close(back.system(0.0, start), frames.system(0.0, start))
    intensity = [f.scattering(f.states, f.specimen) for f in (frames, back)]
    torch.testing.assert_close(intensity[0], intensity[1])


def test_the_file_describes_itself_in_nexus_names(file):
    with h5py.File(file) as f:
        assert f["entry"].attrs["NX_class"] == "NXentry"
        assert f["entry/data"].attrs["signal"] == "data"
        assert f["entry/data/data"].shape == (2, 3, 56, 56)
        assert f["entry/instrument/detector/data"].attrs["units"] == "counts"
        assert f["entry/instrument/detector/data"].dtype == np.uint16
        plan = json.loads(f["entry/process/plan"][()])
        assert plan["system"]["arguments"]["velocity"]["class"] == "LotkaVolterra"
        assert plan["about"]["seed"] == 1


def frames_of(**changes):
    made = {"data": torch.ones(2, 4, 6, 6), "times": TIMES, "mask": OPEN}
    return Frames(**{**made, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": torch.ones(6, 6)}, r"not \(run, time, qy, qx\)"),
        ({"times": torch.arange(5.0)}, "4 frames a run but 5 times"),
        ({"mask": OPEN[:5]}, "the mask is"),
        ({"states": torch.ones(2, 3, 7)}, "the states are"),
        ({"data": torch.ones(2, 1, 6, 6), "times": torch.zeros(1)}, "one frame says nothing"),
        ({"times": torch.tensor([0.0, 2.0, 1.0, 3.0])}, "time 2 is 1, after 2"),
        ({"data": -torch.ones(2, 4, 6, 6)}, r"negative.*\n.*pixel \(0, 0\) of frame 0 in run 0"),
        ({"data": torch.full((2, 4, 6, 6), math.nan)}, "not finite"),
    ],
)
def test_bad_frames_are_refused_by_name(changes, words):
    with pytest.raises(InputError, match=words):
        frames_of(**changes)


def test_frames_of_ones_own_are_written_too(tmp_path):
    """Without geometry, equation or gain: what is unknown stays unknown."""
    frames = frames_of(states=torch.zeros(2, 4, 3, 2))
    save_frames(tmp_path / "f.h5", frames)
    back = load_frames(tmp_path / "f.h5")
    assert back.gain is None
    assert back.system is None
    assert back.scattering is None
    assert torch.equal(back.data, frames.data)


def test_a_single_run_needs_no_axis_of_its_own(file):
    with h5py.File(file, "r+") as f:
        for name in (DATA, "entry/sample/states", "entry/sample/specimen"):
            values = f[name][0]
            del f[name]
            f[name] = values
    found = load_frames(file)
    assert found.data.shape == (1, 3, 56, 56)
    assert found.states.shape == (1, 3, 2)


def test_uneven_times_are_fine_and_masked_pixels_may_hold_anything():
    data = torch.ones(2, 4, 6, 6)
    data[..., 0, 0] = math.nan
    mask = OPEN.clone()
    mask[0, 0] = False
    frames = frames_of(data=data, mask=mask, times=torch.tensor([0.0, 0.1, 0.5, 3.0]))
    assert len(frames.times) == 4


def edit(path, change):
    with h5py.File(path, "r+") as f:
        change(f["entry/instrument/detector"])


def test_bad_pixels_are_masked_and_told(file):
    def spoil(detector):
        values = detector["data"][()].astype(np.float32)
        values[0, 0, 5, 5], values[..., 9, 28], values[0, 1, 50, 50] = np.nan, 0, -3
        values[0, 2, 20, 20] = 1e6
        del detector["data"]
        detector["data"] = values

    edit(file, spoil)
    found = load_frames(file, saturation=65535)
    assert found.about["masked"] == {"broken": 2, "saturated": 1}
    assert not found.mask[5, 5]
    assert not found.mask[20, 20]
    assert found.data.isfinite().all()


def test_dead_pixels_are_found_only_where_their_neighbours_see_intensity():
    data = torch.full((1, 30, 6, 6), 2.0)
    data[..., 2, 3] = 0
    assert bad_pixels(data)["dead"].nonzero().tolist() == [[2, 3]]
    assert not bad_pixels(0.01 * data)["dead"].any()


def test_a_detector_that_is_mostly_broken_is_refused(file):
    def spoil(detector):
        values = detector["data"][()].astype(np.float32)
        values[..., :40, :] = np.nan
        del detector["data"]
        detector["data"] = values

    edit(file, spoil)
    with pytest.raises(InputError, match=r"open pixels .* broken"):
        load_frames(file)


def replaced(name, make):
    def change(path):
        with h5py.File(path, "r+") as f:
            del f[name]
            make(f, name)

    return change


def huge(f, name):
    f.create_dataset(name, shape=(2, 3, 200_000, 200_000), dtype="f8", chunks=(1, 1, 100, 100))


def outside(f, name):
    f[name] = h5py.ExternalLink("/etc/passwd", "/data")


def circle(f, name):
    f[name] = h5py.SoftLink(f"/{name}")


def words(f, name):
    f[name] = np.array([b"a", b"b"])


DATA = "entry/instrument/detector/data"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(DATA, huge), "it declares .* GiB"),
        (replaced(DATA, outside), "will not follow the link .*\n.*outside"),
        (replaced(DATA, circle), "circles"),
        (replaced(DATA, words), "its shape is|not a number"),
        (replaced(DATA, lambda f, n: None), "there is none"),
        (replaced(DATA, lambda f, n: f.create_group(n)), "it is a group"),
        (replaced("entry/process/plan", lambda f, n: f.__setitem__(n, "{")), "it is damaged"),
        (
            replaced(
                "entry/process/plan", lambda f, n: f.__setitem__(n, '{"system": {"class": "os"}}')
            ),
            "cannot build 'os'",
        ),
    ],
)
def test_hostile_files_are_refused_before_they_are_read(file, change, message):
    change(file)
    with pytest.raises(InputError, match=message):
        load_frames(file)


def test_a_link_within_the_folder_is_followed(file):
    with h5py.File(file.with_name("other.h5"), "w") as f, h5py.File(file) as g:
        f["frames"] = g[DATA][()]
    replaced(DATA, lambda f, n: f.__setitem__(n, h5py.ExternalLink("other.h5", "/frames")))(file)
    assert load_frames(file).data.shape == (2, 3, 56, 56)


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_truncated_files_are_refused(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot read"):
        load_frames(file)


def test_damaged_files_are_refused_or_read_but_never_crash(file):
    """Bytes are changed at random; a crash, or anything but an InputError, fails the test."""
    whole, dice = file.read_bytes(), random.Random(0)
    refused = 0
    for k in range(60):
        damaged = bytearray(whole)
        for _ in range(dice.choice((1, 3, 20))):
            damaged[dice.randrange(9000 if k % 2 else len(whole))] = dice.randrange(256)
        file.write_bytes(damaged)
        try:
            load_frames(file)
        except DebyeError:
            refused += 1
    assert refused > 10


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_frames(tmp_path / "none.h5")
    with pytest.raises(InputError, match="there is no folder"), write_hdf5(tmp_path / "a" / "b.h5"):
        pass
    with pytest.raises(InputError, match="cannot read"):
        load(tmp_path / "none.safetensors")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "f.h5"
    path.write_text("old")
    with pytest.raises(ComputationError, match="free some space"), write_hdf5(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.h5"]


@pytest.fixture
def scan(tmp_path):
    """The published layout, 5 frames of 8 × 8."""
    raw, numeric = tmp_path / "raw", tmp_path / "numeric_data"
    raw.mkdir()
    numeric.mkdir()
    for k in range(5):
        np.full((8, 8), float(k), dtype="<f4").tofile(raw / f"image_{k:06d}.bin")
    y, x = np.arange(5) * 1e-6, np.arange(5) * 2e-6
    np.savetxt(raw / "positions.csv", np.stack([y, x], 1), delimiter=",")
    with h5py.File(raw / "beamstopMask.h5", "w") as f:
        stop = np.ones((8, 8), dtype=np.float32)
        stop[4, 4] = 0
        f["entry/data/data"] = stop
    np.savetxt(numeric / "run0_object_0.csv", np.full((12, 12), 1 + 2j), delimiter=",")
    np.savetxt(numeric / "run0_probes_0.csv", np.full((16, 8), 1 - 1j), delimiter=",")
    return tmp_path


def test_the_published_layout_is_read(scan):
    found = read_scan_folder(scan, side=8, pixel=1e-6)
    assert found.frames[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.positions[-1].tolist() == pytest.approx([8e-6, 4e-6])  # x before y
    assert found.in_pixels()[-1].tolist() == pytest.approx([4, 2])
    assert not found.mask[4, 4]
    assert found.mask.sum() == 63
    assert found.specimen[0, 0] == 1 + 2j
    assert found.modes.shape == (2, 8, 8)
    assert len(read_scan_folder(scan, side=8, frames=slice(2)).frames) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s / "raw/image_000002.bin").unlink(), "image_000002.bin is missing"),
        (lambda s: (s / "raw/image_000002.bin").write_bytes(b"abc"), "3 bytes; 8 × 8"),
        (lambda s: (s / "raw/positions.csv").write_text("1,2\n"), r"\(1, 2\) numbers for 5"),
        (lambda s: (s / "raw/positions.csv").write_text("a,b\n"), "two columns"),
        (lambda s: (s / "numeric_data/run0_object_0.csv").write_text("x,y\n"), "complex numbers"),
        (lambda s: (s / "raw").rename(s / "rare"), "no raw/image_000000.bin"),
    ],
)
def test_a_broken_scan_is_refused_with_its_reason(scan, change, message):
    change(scan)
    with pytest.raises(InputError, match=message):
        read_scan_folder(scan, side=8)


def test_a_scan_folder_is_learned_from(tmp_path):
    """The loop closed on the published layout: a simulated scan written as files, read, learned."""
    case = replace(SCAN, times=(1.0, 5.0, 1.0))
    scan = case.frames(runs=1, photons=1e4)
    raw, numeric, pixel = tmp_path / "raw", tmp_path / "numeric_data", 6.824e-9
    raw.mkdir()
    numeric.mkdir()
    for k, frame in enumerate(scan.data[0]):
        frame.numpy().astype("<f4").tofile(raw / f"image_{k:06d}.bin")
    np.savetxt(raw / "positions.csv", scan.states[0].flip(-1).numpy() * pixel, delimiter=",")
    np.savetxt(numeric / "run0_object_0.csv", scan.scattering.specimen.numpy(), delimiter=",")
    tall = scan.scattering.modes.reshape(-1, 128).numpy()
    np.savetxt(numeric / "run0_probes_0.csv", tall, delimiter=",")
    found = read_scan_folder(tmp_path, side=128, pixel=pixel).as_frames()
    middle = scan.states[0].mean(0)
    torch.testing.assert_close(found.states[0], scan.states[0] - middle, rtol=1e-4, atol=1e-4)
    assert fitted_gain(found, found.scattering) > 0
    intensity = found.scattering(found.states[0] + middle)
    assert relative(scan.gain * intensity * scan.mask, scan.data[0] * scan.mask) < 0.1


def test_cxi_and_plain_stacks(tmp_path):
    path = tmp_path / "scan.cxi"
    with h5py.File(path, "w") as f:
        f["entry_1/data_1/data"] = np.ones((4, 8, 8), dtype=np.uint16)
        f["entry_1/data_1/translation"] = np.arange(12.0).reshape(4, 3) * 1e-6
        detector = f.create_group("entry_1/instrument_1/detector_1")
        detector["distance"], detector["x_pixel_size"] = 2.0, 50e-6
        mask = np.zeros((8, 8), dtype=np.uint32)
        mask[0, 0] = 1
        detector["mask"] = mask
        f["entry_1/instrument_1/source_1/energy"] = 1.6e-15
    found = read_cxi(path)
    assert not found.mask[0, 0]
    wavelength = 6.62607015e-34 * 299792458 / 1.6e-15
    assert found.pixel == pytest.approx(wavelength * 2.0 / (8 * 50e-6))
    assert found.in_pixels().shape == (4, 2)
    assert read_stack(f"{path}::/entry_1/data_1/data", frames=slice(1, 3)).shape == (2, 8, 8)
    with pytest.raises(InputError, match="there is none"):
        read_stack(str(path))
    with pytest.raises(InputError, match="fewer frames at a time"):
        read_stack(f"{path}::/entry_1/data_1/data", max_bytes=100)


@pytest.mark.parametrize(
    "kind", [np.uint8, np.uint16, np.int32, ">u2", np.float16, np.float32, float]
)
def test_frames_take_what_numpy_holds(kind):
    """Without a mask every pixel counts; whole numbers are counts, others have no noise."""
    frames = Frames(np.full((4, 6, 5), 3, dtype=kind), np.arange(4, dtype=np.float32))
    assert frames.data.shape == (1, 4, 6, 5)
    assert frames.data.is_floating_point()
    assert (np.asarray(frames) == 3).all()
    assert frames.times.dtype == torch.float64
    assert frames.mask.all()
    assert frames.photons == (0 if np.dtype(kind).kind == "f" else 3)


def test_float32_times_are_kept_exactly_and_lists_are_times():
    times = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    assert frames_of(times=times).times.tolist() == times.astype(float).tolist()
    assert frames_of(times=[0, 1, 2, 3]) == frames_of(times=range(4))
    assert frames_of(times=[0, 1, 2, 4]) != frames_of(times=range(4))


def test_counts_beyond_single_precision_are_kept():
    counts = np.full((2, 4, 4), 2**24 + 1, dtype=np.uint32)
    assert int(frames_of(data=counts, times=[0, 1], mask=None).data.max()) == 2**24 + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "frames.h5"}, "its type is <U9"),
        ({"data": [[1, 2], [3]]}, "cannot use the frames"),
        ({"data": np.ones((2, 4, 6, 6)) * 1j}, "complex128, not a real number"),
        ({"data": np.ma.masked_less(np.ones((2, 4, 6, 6)), 2)}, "masked array"),
        ({"times": np.array(["2026-01-01"] * 4, dtype="datetime64[s]")}, "datetime64"),
        ({"mask": np.zeros((6, 6), dtype=np.uint32)}, "whether 0 or 1 is a good pixel"),
        ({"photons": -1}, "photons = -1"),
        ({"gain": math.nan}, "gain = nan"),
        ({"system": "kuramoto"}, "system = 'kuramoto'"),
        ({"scattering": 3}, "give a Lattice, Cloud or Scan"),
    ],
)
def test_what_are_no_frames_is_refused_in_words(changes, words):
    with pytest.raises(InputError, match=words):
        frames_of(**changes)


def test_numbers_that_are_no_counts_are_not_rounded_in_a_file(tmp_path):
    save_frames(tmp_path / "f.h5", frames_of(data=torch.full((2, 4, 6, 6), 0.5), photons=1))
    assert (load_frames(tmp_path / "f.h5").data == 0.5).all()
