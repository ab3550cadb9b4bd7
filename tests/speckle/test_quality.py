"""Which pixels and frames count: one answer for every reader, verb and array."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from debye.cli.command import app
from debye.cli.console import to_json
from debye.errors import InputError
from debye.speckle import Frames, correlate, load_frames, read_stack
from debye.speckle.data.quality import bad_pixels, examine
from debye.speckle.data.saturation import full_at

DETECTOR = "entry/instrument/detector"
SIDE, COUNT = 40, 30


def speckle(decay=0.05, mean=20.0, count=COUNT, side=SIDE, grain=1.6, seed=0):
    """Counts of speckle that forgets exponentially, of grains that span more than a pixel."""
    dice = np.random.default_rng(seed)
    k = np.fft.fftfreq(side)
    aperture = np.hypot(k[:, None], k[None]) < 0.5 / grain

    def field():
        z = dice.normal(size=(side, side)) + 1j * dice.normal(size=(side, side))
        return np.fft.ifft2(np.fft.fft2(z) * aperture)

    keep, now, seen = np.exp(-decay), field(), []
    for _ in range(count):
        seen.append(np.abs(now) ** 2)
        now = keep * now + np.sqrt(1 - keep**2) * field()
    intensity = np.array(seen)
    return dice.poisson(intensity / intensity.mean() * mean).astype(np.uint16)


CLEAN = speckle()
GAP = np.zeros((SIDE, SIDE), dtype=bool)
GAP[17:20], GAP[5, 5] = True, True


def correlated(given):
    """In three rings about the middle pixel."""
    return correlate(given, rings=3, centre=(SIDE // 2, SIDE // 2))


def left_out(found):
    return found.about["left_out"]


RIGHT = correlated(Frames(CLEAN, range(COUNT), ~GAP)).g2


def write(path, data, times="even", **others):
    """A file in NeXus places; others are datasets of the detector."""
    with h5py.File(path, "w") as file:
        file[f"{DETECTOR}/data"] = data
        if times is not None:
            file[f"{DETECTOR}/time"] = np.arange(len(data)) * 0.1 if times == "even" else times
        for name, value in others.items():
            file[f"{DETECTOR}/{name}"] = value
    return path


def flagged(dtype, flag):
    data = CLEAN.astype(dtype)
    data[:, GAP] = np.array(flag, dtype=dtype)
    return data


@pytest.mark.parametrize(
    ("dtype", "flag"),
    [
        ("u1", 255), ("i2", 2**15 - 1), ("i2", -1), ("u2", 2**16 - 1), ("i4", -1), ("i4", -2),
        ("i4", 2**31 - 1), ("u4", 2**32 - 1), ("u4", 2**32 - 2), ("i8", -1), ("u8", 2**64 - 1),
        (">u4", 2**32 - 1), ("f4", 2.0**32 - 1), ("f8", 2.0**32 - 1), ("f4", 65535.0), ("f4", -1.0),
        ("f4", np.nan), ("f8", np.inf), ("f8", 1e30),
    ],
)  # fmt: skip
@pytest.mark.parametrize("holder", ["array", "file", "stack"])
def test_flags_of_every_type_are_no_photons(dtype, flag, holder, tmp_path):
    data = flagged(dtype, flag)
    if holder == "array":
        found = correlated(data)
    else:
        path = write(tmp_path / "f.h5", data)
        stack = holder == "stack"
        found = correlated(read_stack(f"{path}::/{DETECTOR}/data") if stack else path)
    torch.testing.assert_close(found.g2, RIGHT, rtol=1e-5, atol=0)
    assert sum(left_out(found)["pixels"].values()) == GAP.sum()


@pytest.mark.parametrize(
    ("stated", "flag"),
    [
        ({"bit_depth_readout": 12}, 4095),
        ({"bit_depth_image": 16}, 65535),
        ({"bit_depth_image": 32, "bit_depth_readout": 12}, 4095),
        ({"bit_depth": np.bytes_(b"14")}, 16383),
        ({"saturation_value": 3000.0}, 3000),
        ({"saturation_value": 3000.0}, 3500),
        ({"detectorSpecific/countrate_correction_count_cutoff": 2500}, 2500),
        ({"detectorSpecific/bit_depth_image": np.array([16])}, 65535),
        ({"count_rate_correction_cutoff": 2500}, 2600),
    ],
)
@pytest.mark.parametrize("program", ["area detector", "debye"])
def test_what_a_file_states_of_saturation_is_obeyed_whoever_wrote_it(
    stated, flag, program, tmp_path
):
    path = write(tmp_path / "f.h5", flagged("u4", flag), **stated)
    with h5py.File(path, "r+") as file:
        file["entry/program_name"] = program
    found = load_frames(path)
    assert found.quality.pixels == {"saturated": GAP.sum()}
    assert found.about["masked"] == found.quality.pixels
    torch.testing.assert_close(correlated(found).g2, RIGHT)


def test_frames_that_were_summed_are_full_later(tmp_path):
    data = CLEAN.astype("u4")
    data[:, GAP] = np.random.default_rng(0).integers(200, 60_000, (COUNT, GAP.sum()))
    path = write(tmp_path / "f.h5", data, bit_depth_readout=12, nframes_sum=16)
    assert full_at(12) * 16 == 65520  # of 16 readouts
    assert "saturated" not in load_frames(path).quality.pixels


@pytest.mark.parametrize("mean", [0.05, 1.0, 20.0, 500.0])
@pytest.mark.parametrize("decay", [0.0, 0.05, 3.0])
@pytest.mark.parametrize("count", [1, 4, 30])
def test_genuine_speckle_is_not_masked(mean, decay, count):
    """Exponential statistics at low and high counts, behind a beamstop that nobody has masked."""
    masked = 0
    for seed, grain in enumerate((1.0, 1.6, 4.0)):
        seen = speckle(decay, mean, count, 64, grain, seed)
        y, x = np.mgrid[-32:32, -32:32]
        seen[:, np.hypot(y, x) < 5] = 0
        bad = bad_pixels(torch.from_numpy(seen.astype(np.float32))[None])
        beyond = torch.from_numpy(np.hypot(y, x) >= 7)  # a dark pixel at its edge may be its own
        wrong = bad["hot"] | bad["stuck"] | (bad["dead"] & beyond)
        masked += int(wrong.sum())
    assert masked <= 1  # of 12,000 pixels


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("count", [1, 30])
@pytest.mark.parametrize("times", [100, 1e4])
def test_hot_pixels_are_found_from_the_first_frame_on(decay, count, times):
    seen = speckle(decay, 5.0, count).astype(np.float32)
    hot = [(3, 30), (20, 21), (20, 22), (33, 8)]
    for k, (y, x) in enumerate(hot):
        seen[:, y, x] = 5 * times + np.arange(count) + k
    bad = bad_pixels(torch.from_numpy(seen)[None])
    assert [tuple(p) for p in (bad["hot"] | bad["stuck"]).nonzero().tolist()] == hot


def test_a_flash_in_one_frame_and_a_stuck_pixel_are_found():
    seen = speckle(0.05).astype(np.float32)
    seen[4, 8, 9], seen[:, 30, 30] = 4000, 31
    bad = bad_pixels(torch.from_numpy(seen)[None])
    assert bad["hot"].nonzero().tolist() == [[8, 9]]
    assert bad["stuck"].nonzero().tolist() == [[30, 30]]


def test_dead_rows_and_pixels_are_found_by_their_shell():
    seen = speckle(0.3)
    seen[:, 17:20], seen[:, 5, 5] = 0, 0
    found = correlated(seen)
    assert left_out(found)["pixels"] == {"dead": GAP.sum()}
    torch.testing.assert_close(found.g2, correlated(Frames(seen, range(COUNT), ~GAP)).g2)


def frame(change):
    """Frames with something wrong, as 4-byte floats."""
    data = CLEAN.astype(np.float32)
    change(data)
    return data


BAD_FRAMES = {
    "dark": (lambda d: d.__setitem__(13, 0), {"dark": [13]}),
    "dark but for a hot pixel": (
        lambda d: (d.__setitem__(13, 0), d.__setitem__((slice(None), 3, 3), 9e4)),
        {"dark": [13]},
    ),
    "nan": (lambda d: d.__setitem__(13, np.nan), {"not finite": [13]}),
    "nan at the end": (lambda d: d.__setitem__(-1, np.nan), {"not finite": [29]}),
    "half nan": (lambda d: d.__setitem__((13, slice(20)), np.nan), {"not finite": [13]}),
    "half dark": (lambda d: d.__setitem__((13, slice(20)), 0), {"partly dark": [13]}),
    "full": (lambda d: d.__setitem__(13, 65535), {"full": [13]}),
    "flagged": (lambda d: d.__setitem__(13, -1), {"negative": [13]}),
    "repeated": (lambda d: d.__setitem__(13, d[12]), {"repeated": [13]}),
    "first repeated": (lambda d: d.__setitem__(1, d[0]), {"repeated": [1]}),
    "last repeated": (lambda d: d.__setitem__(29, d[28]), {"repeated": [29]}),
    "an old one again": (lambda d: d.__setitem__(20, d[7]), {"repeated": [20]}),
    "several": (
        lambda d: (d.__setitem__([4, 9], 0), d.__setitem__([6, 25], d[[5, 24]])),
        {"dark": [4, 9], "repeated": [6, 25]},
    ),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("holder", ["array", "file"])
def test_bad_frames_are_left_out_by_number_and_g2_stays(name, holder, tmp_path):
    change, want = BAD_FRAMES[name]
    data = frame(change)
    found = correlated(data if holder == "array" else write(tmp_path / "f.h5", data))
    assert left_out(found)["frames"] == want
    lost = {t for which in want.values() for t in which}
    assert found.numbers.tolist() == [t for t in range(COUNT) if t not in lost]
    whole = correlated(CLEAN).g2[:, :6]
    assert (found.g2[:, :6] - whole).abs().max() < 0.04
    assert json.loads(to_json(found.as_json()))["left_out"]["frames"] == want


def test_a_repeat_among_numbers_that_are_no_counts_is_seen_where_its_neighbours_change():
    moving = 0.37 * CLEAN
    moving[9], moving[29] = moving[8], moving[28]
    assert Frames(moving, range(COUNT)).quality.frames == {"repeated": [9, 29]}
    still = np.random.default_rng(0).exponential(size=(1, SIDE, SIDE)).repeat(8, axis=0)
    assert Frames(still, range(8)).quality.frames == {}
    coming_to_rest = 1 + 0.5 ** np.arange(200)[:, None, None] * still[0]
    assert Frames(coming_to_rest, range(200)).quality.frames == {}


def test_few_photons_may_be_equal_by_chance():
    sparse = np.random.default_rng(0).poisson(2e-3, (400, 8, 8)).astype(np.uint16)
    assert Frames(sparse, range(400)).quality.frames == {}


def test_a_frame_bad_in_one_run_leaves_all_runs_and_states_follow():
    data = np.stack([CLEAN, speckle(seed=5)])
    data[1, 7] = 0
    states = np.arange(2.0 * COUNT * 3).reshape(2, COUNT, 3)
    found = Frames(data, np.arange(COUNT) * 2.0, states=states)
    assert found.quality.frames == {"dark": [7]}
    assert found.times.tolist() == [2.0 * t for t in range(COUNT) if t != 7]
    assert torch.equal(found.states, torch.from_numpy(np.delete(states, 7, 1)))
    assert found.runs(1).quality == found.quality
    # Windows are numbered as recorded; what was left out is no target, but may be a start.
    assert found.window(6, 3).times.tolist() == [12.0, 16.0]
    assert found.window(7, 2).start.tolist() == states[:, 7].tolist()
    assert torch.equal(found.window(7, 2).frames[:, 1], found.data[:, 7])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.__setitem__(slice(None), np.nan), "not finite.*\n.*frame 0 in run 0"),
        (lambda d: d.__setitem__(slice(1, None), d[0]), "fewer than two.*\n.*1, 2, 3.* repeated"),
        (lambda d: d.__setitem__(slice(1, None), np.inf), "not finite"),
        (lambda d: d.__setitem__((slice(None), slice(15)), -1), "open pixels 600 broken"),
    ],
)
def test_a_run_of_which_too_much_is_bad_is_refused_by_number(change, words):
    with pytest.raises(InputError, match=words):
        Frames(frame(change), range(COUNT))


@pytest.mark.parametrize("dtype", ["?", "f4", "i8", "u1", "u4"])
def test_a_mask_counts_whatever_its_type(dtype, tmp_path):
    path = write(tmp_path / "f.h5", flagged("u2", 60_000), pixel_mask=GAP.astype(dtype))
    found = load_frames(path)
    assert found.quality.pixels == {"file's": GAP.sum()}
    torch.testing.assert_close(correlated(found).g2, RIGHT)


def test_bits_of_a_mask_are_its_reasons(tmp_path):
    mask = np.zeros((SIDE, SIDE), dtype=np.uint32)
    mask[0, :4], mask[1, :3], mask[2, :2], mask[3, 0] = 1, 2, 16 + 256, 1 << 31
    found = load_frames(write(tmp_path / "f.h5", CLEAN, pixel_mask=mask))
    assert found.quality.pixels == {"gap": 4, "dead": 3, "noisy": 2, "file's": 1}


@pytest.mark.parametrize("gap", [0, 60_000, 2**32 - 1])
def test_an_inverted_mask_is_suspected(gap, tmp_path):
    path = write(tmp_path / "f.h5", flagged("u4", gap), pixel_mask=(~GAP).astype("u1"))
    with pytest.raises(InputError, match="seems to be inverted"):
        load_frames(path)
    with pytest.raises(InputError, match="seems to be inverted"):
        Frames(flagged("u4", gap), range(COUNT), GAP)


def test_a_mask_that_leaves_little_of_the_light_is_told():
    found = Frames(CLEAN, range(COUNT), GAP)
    assert found.quality.notes[0].startswith("the mask may be inverted: the 121 open pixels see")
    assert found.about["notes"] == list(found.quality.notes)


@pytest.mark.parametrize("shape", [(1, SIDE, SIDE), (SIDE * SIDE,), (SIDE, SIDE - 1), (2, SIDE)])
def test_a_misshapen_mask_is_refused(shape, tmp_path):
    path = write(tmp_path / "f.h5", CLEAN, pixel_mask=np.zeros(shape, dtype=np.uint8))
    with pytest.raises(InputError, match=r"cannot use the mask .*\n.*and a frame \(40, 40\)"):
        load_frames(path)


def test_a_mask_without_a_pixel_is_refused():
    with pytest.raises(InputError, match="the mask leaves no pixel"):
        examine(torch.ones(1, 3, 4, 4), torch.zeros(4, 4) > 0)


def test_verbs_tell_what_was_left_out(tmp_path):
    data = flagged("u2", 65535)
    data[3] = data[2]
    path = write(tmp_path / "f.h5", data)
    done = CliRunner().invoke(app, ["xpcs", str(path), "--json", "--plot", str(tmp_path / "g.png")])
    assert done.exit_code == 0, done.stderr
    assert "frame 3 is repeated, and was left out" in done.stderr
    assert "121 saturated pixels were masked" in done.stderr
    told = json.loads(done.stdout)["left_out"]
    assert told["pixels"] == {"saturated": 121}
    assert told["frames"] == {"repeated": [3]}
    assert (tmp_path / "g.png").exists()
    shutil.copy(path, tmp_path / "clean.h5")
    write(tmp_path / "clean.h5", CLEAN)
    clean = CliRunner().invoke(app, ["xpcs", str(tmp_path / "clean.h5"), "--json"]).stdout
    assert json.loads(clean)["left_out"]["frames"] == {}


def test_where_no_two_photons_meet_no_error_is_claimed():
    dice = np.random.default_rng(0)
    rare = correlate(dice.poisson(1e-3, (20, 30, 30)).astype(np.uint16), rings=3)
    lonely = rare.g2 == 0
    assert lonely.any()
    assert torch.isnan(rare.error[lonely]).all()
    few = correlate(dice.poisson(0.05, (40, 60, 60)).astype(np.uint16), rings=3)
    assert torch.isfinite(few.g2).all()
    assert torch.isfinite(few.error[few.g2 > 0]).all()


def test_an_unmasked_direct_beam_is_peeled_off_and_a_smooth_peak_is_kept():
    seen = speckle().astype(np.float32)
    y, x = np.mgrid[:SIDE, :SIDE]
    beam = seen.copy()
    beam[:, 19:22, 19:22] += 6e4 + np.arange(COUNT)[:, None, None]
    assert examine(torch.from_numpy(beam)[None], torch.ones(SIDE, SIDE) > 0).quality.pixels == {
        "hot": 9
    }
    peak = seen + np.round(2000 * np.exp(-((y - 10) ** 2 + (x - 30) ** 2) / 8)).astype(np.float32)
    assert Frames(peak, range(COUNT)).quality.pixels == {}
