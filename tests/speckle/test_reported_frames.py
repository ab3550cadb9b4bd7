"""Files of frames that were reported to go wrong, with what is right."""

import json
from pathlib import Path

import pytest
from cases import CASES, needs_cases
from typer.testing import CliRunner

from debye.cli.command import app
from debye.errors import InputError
from debye.speckle import load_frames, read_cxi


def xpcs(path, *words):
    return CliRunner().invoke(app, ["xpcs", str(path), *words])


G2 = [1.75, 1.79, 1.80]


@needs_cases
@pytest.mark.parametrize(
    ("name", "first", "delay", "words"),
    [
        ("saturation-program-name.h5", [1.74, 1.78, 1.79], 0.1, "195 saturated pixels were masked"),
        ("zero-frame.h5", [1.76, 1.79, 1.80], 0.1, "frame 13 is dark, and was left out"),
        ("nan-frame.h5", [1.76, 1.79, 1.80], 0.1, "frame 13 is not finite, and was left out"),
        ("epoch-f8.h5", G2, 0.1, ""),
        ("jitter.h5", G2, 0.1, ""),
        ("int-ms.h5", G2, 100, ""),
        ("exchange.h5", G2, 1, "delays are in frames"),
        ("nxdata.h5", G2, 1, "delays are in frames"),
    ],
)
def test_reported_frames_are_read_rightly(name, first, delay, words):
    done = xpcs(CASES / "frames" / name, "--json", "--rings", "3", "--centre", "24,24")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [round(x[0], 2) for x in found["g2"]] == first
    assert found["delay"][0] == pytest.approx(delay, rel=1e-4)
    assert words in done.stderr
    told = [line for line in done.stderr.splitlines() if "left out" in line or "masked" in line]
    assert bool(told) == bool("left out" in words or "masked" in words)


@needs_cases
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("frames/virtual/a.h5", "its source a_part2.h5 is missing"),
        ("frames/linked/master.h5", "its source x_data_000002.h5 is missing"),
        ("frames/mask-inverted-no-light.h5", "the mask seems to be inverted"),
        ("frames/mask-per-module.h5", "it is (1, 48, 48), and a frame (48, 48)"),
        ("frames/complex.h5", "its numbers are complex"),
        ("frames/crashed.h5", "h5clear -s crashed.h5"),
        ("hostile/bitshuffle-flipped.h5", "cannot read /entry/instrument/detector/data"),
    ],
)
def test_reported_frames_that_cannot_be_used_are_refused(name, words):
    done = xpcs(CASES / name)
    assert done.exit_code == 2
    assert words in done.stderr
    assert Path(name).name in done.stderr


@needs_cases
def test_a_reported_repeat_is_left_out_of_what_is_learned(tmp_path):
    config = tmp_path / "plan.toml"
    config.write_text("[[stages]]\nframes = 2\nruns = 1\nstarts = 2\niterations = 1\nportion = 1\n")
    source, law = CASES / "frames" / "repeat.h5", tmp_path / "law.safetensors"
    words = ["learn", str(source), "--output", str(law), "--config", str(config)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3, done.stderr  # after one step the frames are not yet followed
    assert "frame 5 is repeated, and was left out" in done.stderr
    assert "the frames do not follow this law" in done.stderr
    ahead = ["extrapolate", str(law), "--until", "8", "--from", str(source), "--json"]
    record = json.loads(CliRunner().invoke(app, ahead).stdout)
    assert record["left_out"]["frames"] == {"repeated": [5]}
    assert load_frames(CASES / "frames" / "ref.h5").quality.lines() == []


@needs_cases
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ev.cxi", "a photon energy of 8000 without a unit was taken in ev"),
        ("um-pixel.cxi", "a pixel size of 55 without a unit was taken in um"),
        ("neg-distance.cxi", "a detector distance of -2 was taken for 2"),
        ("trans-nan.cxi", "frame 3 is without a position, and was left out"),
    ],
)
def test_reported_scans_are_converted_with_a_word(name, words):
    found = read_cxi(CASES / "frames" / name)
    assert found.pixel == pytest.approx(1.76114e-7, rel=1e-5)
    assert found.quality.lines() == [words]


@needs_cases
def test_a_reported_scan_without_energy_is_refused():
    with pytest.raises(InputError, match=r"photon energy of .*zero-energy.cxi"):
        read_cxi(CASES / "frames" / "zero-energy.cxi")
