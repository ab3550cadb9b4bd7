"""What a process survives: hostile inputs, signals in the middle of work, structures that kill it.

    python benchmarks/reliability.py hostile
    python benchmarks/reliability.py stops
    python benchmarks/reliability.py killers

`hostile` makes each input, gives it to a verb, and prints what came of it, the seconds and the
peak memory. `stops` sends SIGTERM to each long verb at several times, and prints the longest that
it took to end. `killers` has five files among 3,000 kill the process that opens them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DEMO = Path(__file__).parents[1] / "src" / "debye" / "data" / "demo"
DEBYE = [sys.executable, "-m", "debye"]
HOPELESS = 600
"""Seconds after which a command is ended."""


def measured(words: list[object]) -> tuple[int, float, float, str]:
    """Exit code, seconds, peak memory in GB and stderr of a command."""
    with tempfile.TemporaryFile("w+") as told:
        begun = time.monotonic()
        process = subprocess.Popen(
            [*DEBYE, *map(str, words)], stdout=subprocess.DEVNULL, stderr=told
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        told.seek(0)
        return os.waitstatus_to_exitcode(status), seconds, used.ru_maxrss / 1e6, told.read()


# Hostile inputs.


def xyz(positions: np.ndarray, side: float) -> str:
    """Silicon in a cube, as extended xyz."""
    lattice = f"{side} 0 0 0 {side} 0 0 0 {side}"
    rows = "\n".join(f"Si {x:.6f} {y:.6f} {z:.6f}" for x, y, z in positions)
    return f'{len(positions)}\nLattice="{lattice}" Properties=species:S:1:pos:R:3\n{rows}\n'


def poscar(positions: np.ndarray, side: float) -> str:
    """Silicon in a cube, as a POSCAR."""
    rows = "\n".join(f"{x:.6f} {y:.6f} {z:.6f}" for x, y, z in positions)
    cell = f"{side} 0 0\n0 {side} 0\n0 0 {side}"
    return f"Si\n1\n{cell}\nSi\n{len(positions)}\nCartesian\n{rows}\n"


def cif(positions: np.ndarray, lengths: str, angle: float, operations: str = "'x,y,z'\n") -> str:
    """Fractional positions, so that a length of 1 leaves them as they are."""
    a, b, c = lengths.split()
    rows = "\n".join(f"Si {x:.6f} {y:.6f} {z:.6f}" for x, y, z in positions)
    return (
        f"data_x\n_cell_length_a {a}\n_cell_length_b {b}\n_cell_length_c {c}\n"
        f"_cell_angle_alpha {angle}\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
        f"loop_\n_symmetry_equiv_pos_as_xyz\n{operations}"
        "loop_\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
        f"_atom_site_fract_z\n{rows}\n"
    )


def grid(side: int, step: float) -> np.ndarray:
    """Sites of a cube, (side³, 3)."""
    return np.array(np.meshgrid(*[range(side)] * 3)).reshape(3, -1).T * step


def table(rows: int, path: Path) -> None:
    """A table whose column of structures holds none."""
    pq.write_table(pa.table({"structure": ["nothing"] * rows}), path)


def literal(numbers: int) -> str:
    """A table of labels with a long list in a cell."""
    structure = {"numbers": [84], "positions": [[0, 0, 0]], "cell": (3 * np.eye(3)).tolist()}
    zeros = "[" + "0," * numbers + "0]"
    return f'mp_id,structure,phfreq,phdos\nx,"{structure}","{zeros}","[0]"\n'


def hostile_inputs(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """What each is, the verb it is given to, and the file."""
    origin, million = np.zeros((1, 3)), grid(100, 2.2)
    texts: dict[str, tuple[str, Callable[[], str]]] = {
        "a cell of 10⁻⁹ Å": ("cif", lambda: cif(origin, "1e-9 1e-9 1e-9", 90)),
        "an angle of 0.001°": ("cif", lambda: cif(origin, "5 5 5", 0.001)),
        "a cell of 10⁶ × 10⁶ × 3 Å": ("cif", lambda: cif(origin, "1e6 1e6 3", 90)),
        "8,000 sites 0.15 Å apart": ("xyz", lambda: xyz(grid(20, 0.15), 50.0)),
        "20,000 sites in one place": ("xyz", lambda: xyz(np.zeros((20_000, 3)), 50.0)),
        "20,000 sites in one place of a CIF": (
            "cif", lambda: cif(np.zeros((20_000, 3)), "50 50 50", 90)),
        "20,000 sites 0.51 Å apart": ("xyz", lambda: xyz(grid(27, 0.51), 300.0)),
        "10⁶ atoms, xyz": ("xyz", lambda: xyz(million, 220.0)),
        "10⁶ atoms, POSCAR": ("vasp", lambda: poscar(million, 220.0)),
        "10⁶ atoms, CIF": ("cif", lambda: cif(million / 220, "220 220 220", 90)),
        "190,000 atoms, xyz": ("xyz", lambda: xyz(million[:190_000], 220.0)),
        "190,000 atoms, POSCAR": ("vasp", lambda: poscar(million[:190_000], 220.0)),
        "190,000 atoms, CIF": (
            "cif", lambda: cif(million[:190_000] / 220, "220 220 220", 90)),
        "10⁶ equal symmetry operations": (
            "cif", lambda: cif(origin, "5 5 5", 90, "'x,y,z'\n" * 10**6)),
        "2·10⁶ lines that are no structures": ("jsonl", lambda: '{"numbers": 1}\n' * 2 * 10**6),
        "JSON nested 10⁶ deep": ("json", lambda: "[" * 10**6),
        "a literal of 2·10⁷ numbers": ("csv", lambda: literal(2 * 10**7)),
    }  # fmt: skip
    for i, (what, (suffix, text)) in enumerate(texts.items()):
        path = folder / f"input-{i}.{suffix}"
        path.write_text(text())
        yield what, "evaluate" if suffix == "csv" else "dos", path
        path.unlink()
    path = folder / "rows.parquet"
    table(2 * 10**6, path)
    yield "2·10⁶ rows of Parquet that are no structures", "dos", path


def hostile(folder: Path) -> None:
    """What comes of each input."""
    print("| input | came to | s | GB |\n|---|---|---|---|")
    for what, verb, path in hostile_inputs(folder):
        code, seconds, memory, told = measured([verb, path, "--model", "fast"])
        why = [line for line in told.splitlines() if line.startswith("  why: ")]
        came = why[-1][7:] if code and why else f"exit code {code}"
        print(f"| {what} | {came[:110]} | {seconds:.1f} | {memory:.2f} |", flush=True)


# Signals.


def salts(folder: Path, count: int) -> Path:
    """Rock salts, a POSCAR each."""
    folder.mkdir()
    for k in range(count):
        half = 2.5 + (k % 150) / 200
        metal, halide = ("Li", "Na", "K", "Rb", "Cs")[k % 5], ("F", "Cl", "Br", "I")[k // 5 % 4]
        (folder / f"salt-{k:04d}.vasp").write_text(
            f"salt\n{half}\n0 1 1\n1 0 1\n1 1 0\n{metal} {halide}\n1 1\nDirect\n"
            "0 0 0\n0.5 0.5 0.5\n"
        )
    return folder


def labels(path: Path, count: int) -> Path:
    """Rock salts, labelled with a bell."""
    frequency = [20.0 * k for k in range(51)]
    lines = ["mp_id,structure,phfreq,phdos"]
    for k in range(count):
        half = 2.5 + k / count
        structure = {
            "numbers": [11, 17],
            "positions": [[0, 0, 0], [half] * 3],
            "cell": [[0, half, half], [half, 0, half], [half, half, 0]],
        }
        bell = [float(np.exp(-(((f - 300 + k / 5) / 60) ** 2))) for f in frequency]
        lines.append(f'salt-{k},"{structure}","{frequency}","{bell}"')
    path.write_text("\n".join(lines) + "\n")
    return path


def long_verbs(folder: Path) -> dict[str, list[object]]:
    """A command of each verb that takes long."""
    many, data = salts(folder / "salts", 3000), labels(folder / "labels.csv", 600)
    config = folder / "network.toml"
    config.write_text("batch_size = 64\n[recipe]\nepochs = 200\n")
    frames, model = folder / "frames.h5", folder / "model.safetensors"
    subprocess.run([*DEBYE, "simulate", "kuramoto", "--runs", "16", "--output", frames], check=True)
    shipped = DEMO.parent / "phonon-ensemble.safetensors"
    model.write_bytes(shipped.read_bytes())
    large = folder / "large.vasp"
    large.write_text(poscar(grid(7, 2.35), 7 * 2.35))
    spectrum, demo = DEMO / "germanium.dat", DEMO / "germanium.vasp"
    return {
        "dos": ["dos", many],
        "thermo": ["thermo", many, "--output", folder / "thermo.jsonl"],
        "bands": ["bands", large, "--points", "3000"],
        "alloy": ["alloy", DEMO / "mg3sb2.cif", DEMO / "mg3bi2.cif", "--fractions", "0:1:0.001"],
        "screen": ["screen", many, "--output", folder / "screened", "--workers", "2"],
        "invert rank": ["invert", "rank", spectrum, many],
        "invert refine": ["invert", "refine", spectrum, demo, "--free", "lattice"],
        "invert design": ["invert", "design", DEMO / "mg3sb2.cif", "--target",
                          "heat-capacity-per-kg", "--value", "300", "--replace", "Sb=As,Bi,P",
                          "--replace", "Mg=Ca,Sr,Ba,Zn,Be"],
        "train": ["train", data, "--config", config, "--output", folder / "run"],
        "ensemble": ["ensemble", data, "--config", config, "--output", folder / "runs"],
        "evaluate": ["evaluate", data],
        "calibrate": ["calibrate", data, "--model", model, "--output", folder / "c.safetensors"],
        "simulate": ["simulate", "swarm", "--output", folder / "swarm.h5"],
        "learn": ["learn", frames, "--output", folder / "fit.safetensors"],
        "study": ["study", "swarm", "--output", folder / "study"],
        "xpcs": ["xpcs", frames, "--rings", "20"],
    }  # fmt: skip


def stopped(words: list[object], after: float) -> tuple[float, int, bool] | None:
    """Seconds from SIGTERM to the end, exit code, whether it said a traceback; None if too late."""
    command = [*DEBYE, *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            pass
        else:
            return None
        process.terminate()
        begun = time.monotonic()
        told = process.communicate(timeout=HOPELESS)[1]
        return time.monotonic() - begun, process.returncode, "Traceback" in told


def stops(folder: Path) -> None:
    """How long each verb takes to end."""
    print("| verb | signals sent after, s | longest to the end, s | exit codes | tracebacks |")
    print("|---|---|---|---|---|")
    for verb, words in long_verbs(folder).items():
        ends = {after: stopped(words, after) for after in (0.3, 1.5, 6.0, 15.0)}
        found = {after: end for after, end in ends.items() if end}
        longest = max(end[0] for end in found.values())
        codes = ", ".join(sorted({str(end[1]) for end in found.values()}))
        sent = ", ".join(f"{after:g}" for after in found)
        bad = sum(end[2] for end in found.values())
        print(f"| {verb} | {sent} | {longest:.1f} | {codes} | {bad} |", flush=True)


# What kills.

HOOK = """
import os, signal, sys

def opened(event, given):
    if event == "open" and isinstance(given[0], (str, os.PathLike)):
        if os.path.basename(given[0]).startswith("killer"):
            os.kill(os.getpid(), signal.SIGSEGV)

sys.addaudithook(opened)
"""
"""A file of this text, as Python loads it into every process: files of one name kill."""


def killers(folder: Path) -> None:
    """What is left of 3,000 structures, of which five kill."""
    many, hook = salts(folder / "salts", 3000), folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
    for path in random.Random(1).sample(sorted(many.iterdir()), 5):
        path.rename(path.with_name(f"killer-{path.name}"))
    output = folder / "screened"
    print("| command | structures | reported | rows | s |\n|---|---|---|---|---|")
    _, seconds, _, _ = measured(["screen", many, "--output", output, "--model", "fast"])
    rows = [
        row
        for part in (output / "parts").iterdir()
        for row in pq.read_table(part, columns=["id", "error"]).to_pylist()
    ]
    named = sum("SIGSEGV" in (row["error"] or "") for row in rows)
    good = len({row["id"] for row in rows if not row["error"]})
    print(f"| screen | 3000 | {named} | {good} | {seconds:.0f} |", flush=True)
    lines = folder / "dos.jsonl"
    _, seconds, _, told = measured(["dos", many, "--output", lines, "--model", "fast"])
    named, good = told.count("process that read it died: SIGSEGV"), len(set(lines.open()))
    print(f"| dos | 3000 | {named} | {good} | {seconds:.0f} |")


def main() -> None:
    """Print one of the tables."""
    parts = {"hostile": hostile, "stops": stops, "killers": killers}
    if len(sys.argv) != 2 or sys.argv[1] not in parts:
        sys.exit(f"usage: {sys.argv[0]} {' | '.join(parts)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        parts[sys.argv[1]](Path(folder))


if __name__ == "__main__":
    main()
