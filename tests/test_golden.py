"""What each verb's ``--json`` says on small inputs, held against records of earlier versions.

A change of a key or of a number here is a change for whoever reads the records with a program:
``python tests/test_golden.py`` writes them anew, and CHANGELOG says what changed.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
DEMO = "src/debye/data/demo"
STACK = ("stack.npy", "--rings", 2, "--frame-time", 0.01, "--centre", "16,16", "--distance", 5,
         "--pixel", 75e-6, "--energy", 8)  # fmt: skip
PLAN = "[[stages]]\nframes = 2\nruns = 1\niterations = 2\nportion = 1\n"

MADE = (
    ("dos", f"{DEMO}/rutile.cif", "--model", "fast", "--output", "rutile.csv"),
    ("simulate", "kuramoto", "--runs", 2, "--until", 6.5, "--output", "frames.h5", "--seed", 1),
    ("learn", "frames.h5", "--output", "law.safetensors", "--config", "plan.toml"),
    ("correlate", *STACK, "--output", "results.hdf"),
    ("screen", DEMO, "--output", "screened", "--model", "fast", "--workers", 1),
    ("screen", f"{DEMO}/binaries.extxyz", "--output", "sure", "--temperatures", 300),
)
"""What the verbs below are given, made in a folder of their own."""

VERBS = {
    "dos": ("dos", DEMO, "--json", "--partial", "element"),
    "dos-thz": ("dos", f"{DEMO}/quartz.cif", "--unit", "THz", "--json", "--model", "fast"),
    "thermo": ("thermo", f"{DEMO}/quartz.cif", "--temperatures", "0,77,300", "--json"),
    "thermo-kg": ("thermo", f"{DEMO}/rutile.cif", "--temperatures", "300", "--basis", "per-kg",
                  "--model", "fast", "--json"),
    "alloy": ("alloy", f"{DEMO}/mg3sb2.cif", f"{DEMO}/mg3bi2.cif", "--fractions", "0,0.5,1",
              "--json"),
    "bands": ("bands", f"{DEMO}/rock_salt.cif", "--points", 3, "--json"),
    "evaluate": ("evaluate", "salts.csv", "--split", "split.csv", "--model", "fast", "--json"),
    "top": ("top", "screened", "--json", "--top", 3),
    "top-sure": ("top", "sure", "--json", "--top", 2, "--by", "mean-frequency", "--lowest"),
    "invert-rank": ("invert", "rank", "rutile.csv", f"{DEMO}/rutile.cif", f"{DEMO}/quartz.cif",
                    "--background", "none", "--model", "fast", "--json"),
    "invert-refine": ("invert", "refine", "rutile.csv", f"{DEMO}/rutile.cif", "--free", "lattice",
                      "--resolution", 0, "--background", "none", "--model", "fast", "--json"),
    "invert-design": ("invert", "design", f"{DEMO}/mg3sb2.cif", "--replace", "Sb=As,Bi",
                      "--target", "mean-frequency", "--value", 150, "--model", "fast", "--json"),
    "extrapolate": ("extrapolate", "law.safetensors", "--until", 7, "--from", "frames.h5",
                    "--json"),
    "xpcs": ("xpcs", "frames.h5", "--rings", 2, "--json"),
    "correlate": ("correlate", *STACK, "--json"),
    "fit": ("fit", "results.hdf", "--model", "single", "--fix", "baseline=1", "--json"),
}  # fmt: skip


def run(words, folder):
    """Output of a verb, whose relative paths are in a folder (or in the demo)."""
    from typer.testing import CliRunner

    from debye.cli.command import app

    root = HERE.parent
    placed = [
        str(root / w) if str(w).startswith("src/") else
        str(folder / w) if Path(str(w)).suffix in SUFFIXES or w in ("screened", "sure") else str(w)
        for w in words
    ]  # fmt: skip
    done = CliRunner().invoke(app, placed)
    assert done.exit_code == 0, (words, done.output, done.stderr)
    return done.stdout


SUFFIXES = (".csv", ".h5", ".npy", ".hdf", ".safetensors", ".toml")


def brownian():
    """Frames of Brownian motion."""
    from debye.speckle import Geometry, make_qmap
    from debye.speckle.xpcs.simulate import Simulated

    geometry = Geometry(x=16, y=16, distance=5.0, pixel=75e-6, wavelength=1.5498)
    qmap = make_qmap(geometry, torch.ones(33, 33) > 0, 2, q_range=(2e-4, 9e-4))
    seen = Simulated(qmap, frames=200, frame_time=0.01, diffusion=1e7, photons=3.0, seed=1)
    return np.concatenate(list(seen.blocks()))


def make(folder):
    """The inputs of the verbs."""
    sys.path.insert(0, str(HERE))
    from salts import PAIRS, labelled_row, write_rows

    write_rows(folder / "salts.csv", map(labelled_row, PAIRS))
    rows = [f"{name},{'valid' if i % 3 == 2 else 'train'}" for i, name in enumerate(PAIRS)]
    (folder / "split.csv").write_text("\n".join(["mp_id,split", *rows]) + "\n")
    (folder / "plan.toml").write_text(PLAN)
    np.save(folder / "stack.npy", brownian())
    for words in MADE:
        run(words, folder)
    return folder


def records(text, folder):
    """The JSON values of an output, free of this machine's paths."""
    root = HERE.parent
    for place in (folder, root):
        text = text.replace(f"{place}/", "")
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("golden"))


def differences(expected, found, where=""):
    """Where two JSON values differ by more than single precision may."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            if key not in expected or key not in found:
                yield f"{where}.{key} is {'new' if key in found else 'gone'}"
            else:
                yield from differences(expected[key], found[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for i, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{where}[{i}]")
    elif isinstance(expected, float) and isinstance(found, float | int):
        if found != pytest.approx(expected, rel=2e-4, abs=2e-4):
            yield f"{where}: {found} instead of {expected}"
    elif expected != found:
        yield f"{where}: {found!r} instead of {expected!r}"


@pytest.mark.parametrize("name", VERBS)
def test_golden(name, folder):
    lines = (GOLDEN / f"{name}.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    found = records(run(VERBS[name], folder), folder)
    assert list(differences(expected, found)) == []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        place = make(Path(scratch))
        for name in sys.argv[1:] or VERBS:
            found = records(run(VERBS[name], place), place)
            lines = [json.dumps(record, ensure_ascii=False) for record in found]
            (GOLDEN / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
