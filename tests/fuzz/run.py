"""Files as damage and malice make them: every reader answers or refuses, in bounds, and lives.

    python tests/fuzz/run.py --minutes 60            # all readers in turn, each input but once
    python tests/fuzz/run.py --only cif --from 4711 --count 1     # one input again, by its number

An input is made of a seed of `seeds.py` and its number alone, so that a failure can be had again.
A process of its own reads them; it may neither die nor take more than `SECONDS` of a processor,
its children's among them, nor more than `BYTES` for one. What is no `DebyeError` is a failure, and
so is a result that holds NaN.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
import psutil
import seeds

from debye.errors import DebyeError

SECONDS, BYTES = 10.0, 2 * 2**30
"""Bounds of one input, of processor time and memory; a busy machine makes nothing hang."""
ASLEEP = 20 * SECONDS
"""Seconds by the clock after which what does nothing hangs too."""
BATCH = 400
"""Inputs of one process."""
WORDS = (
    b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1e-300", b"1e30", b"9" * 30, b"0x10", b"1,5",
    b"1.0D+03", b"?", b".", b"''", b'"', b"#", b"{", b"}", b"[", b"]" * 50, b"[" * 5000, b"\x00",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\t", b"\n", b";", b"loop_", b"data_",
    "½é中".encode(), b"null", b"true", b"x,y,z", b"-x,-y,-z,-1", b"Uuo", b"D", b"Xx", b"H",
)  # fmt: skip
NUMBER = re.compile(rb"-?\d+(\.\d*)?([eE][-+]?\d+)?")


class Target(NamedTuple):
    """A reader, and files that it should read."""

    files: Callable[[], dict[str, bytes]]
    """Name of a file → its bytes."""
    read: Callable[[Path], Any]
    cost: float = 1.0
    """About how many inputs of a text take as long as one."""


# Readers.


def structures(path: Path) -> None:
    """Read, and predict what could be read."""
    from debye.crystals.structure_io.read import read_structures

    used(network()(read_structures(path)))


def used(items: Iterator[Any]) -> None:
    """Look at each result; where there is none, the input was refused."""
    from debye.crystals.structure_io.read import FailedInput

    found = list(items)
    good = [item for item in found if not isinstance(item, FailedInput)]
    finite(item.total.density for item in good if hasattr(item, "total"))
    if not good and found:
        raise found[0].error


@cache
def network():
    from debye.crystals.predict.predictor import Predictor

    return Predictor.load("fast")


def finite(tensors) -> None:
    for tensor in tensors:
        assert tensor.isfinite().all(), "a result holds NaN or infinity"


def texts(path: Path) -> None:
    """The same as text that a user pasted."""
    from debye.crystals.structure_io.anything import crystals_of

    for given in (path.read_bytes(), path.read_text(encoding="utf-8", errors="replace")):
        used(crystals_of(given)[0])


def spectra(path: Path) -> None:
    from debye.crystals.dos.spectrum import Spectrum
    from debye.crystals.dos_io.files import read_measured

    with suppress(DebyeError):
        finite([Spectrum.read(path).density])
    measured = read_measured(path)
    finite([measured.frequency, measured.intensity])


def labelled(path: Path) -> None:
    from debye.crystals.data.dataset import read_collection

    finite([read_collection(path)[0].spectra.density])


def force_constants(path: Path) -> None:
    from debye.crystals.data.phonopy_files import force_constants_in

    given = force_constants_in(path)
    finite([given.sites.density] if given else [])


def charges(path: Path) -> None:
    from debye.crystals.data.born import read_born
    from debye.crystals.predict.model_files import probe_crystal

    finite([read_born(path, probe_crystal()).charges])


def frames(path: Path) -> None:
    from debye.cli.console import to_json
    from debye.speckle import correlate

    strict(json.loads(to_json(correlate(path).as_json())))


def strict(record) -> None:
    """JSON holds neither NaN nor infinity."""
    json.dumps(record, allow_nan=False)


def scan(path: Path) -> None:
    from debye.speckle import read_cxi

    found = read_cxi(path)
    finite([found.frames[:, found.mask]])
    assert found.pixel is None or (math.isfinite(found.pixel) and found.pixel > 0)


def images(path: Path) -> None:
    """The same file twice, as frames that follow one another; a geometry stands by itself."""
    from debye.speckle.data.poni import read_poni
    from debye.speckle.data.stack import Stack

    if path.suffix == ".poni":
        read_poni(path)
        return
    spec = path if path.suffix in (".npy", ".npz") else [path, path]
    for block, numbers in Stack.open(spec).blocks():
        assert len(block) == len(numbers)


def stack(path: Path) -> None:
    from debye.speckle import read_stack

    read_stack(f"{path}::/entry/instrument/detector/data")


def model(path: Path) -> None:
    from debye.crystals.predict.model_files import probe_crystal
    from debye.crystals.predict.predictor import Predictor

    finite([Predictor.load(path).predict(probe_crystal()).total.density])


def fitted(path: Path) -> None:
    from debye.speckle import load

    repr(load(path))


def settings(path: Path) -> None:
    from debye.core.files import read_toml
    from debye.crystals.training.config import Settings
    from debye.speckle import study
    from debye.speckle.conclusions.candidates import read_candidates

    if path.name == "candidates.toml":
        read_candidates(path)
        return
    tables = read_toml(path)
    (study("swarm").plan.changed if path.name == "plan.toml" else Settings.from_tables)(tables)


def forces(path: Path) -> None:
    """A file of forces or charges beside phonopy's record."""
    from debye.crystals.data.phonopy_files import force_constants_in

    record = seeds.PHONOPY if path.name == "BORN" else seeds.PHONOPY.split("force_constants:")[0]
    path.with_name("phonopy.yaml").write_text(record)
    for other in path.parent.iterdir():
        if other.name not in (path.name, "phonopy.yaml"):
            other.unlink()
    given = force_constants_in(path.parent)
    finite([given.sites.density] if given else [])


def screened(path: Path) -> None:
    """A part of a screening, or what it says of itself."""
    from debye.crystals.screening.rank import Query, top

    folder = path.parent / "screened"
    shutil.copytree(seeds.LEGACY / "screened", folder, dirs_exist_ok=True)
    part = next(folder.glob("parts/*.parquet"))
    (part if path.suffix == ".parquet" else folder / path.name).write_bytes(path.read_bytes())
    strict(top(Query(folder, "heat-capacity-per-kg"), 5))


def split(path: Path) -> None:
    from debye.crystals.data.dataset import read_split

    read_split(path)


TARGETS = {
    "cif": Target(
        lambda: {"a.cif": seeds.CIF.encode(), "b.cif": seeds.MAGNETIC.encode()}, structures
    ),
    "poscar": Target(lambda: {"POSCAR": seeds.POSCAR.encode()}, structures),
    "extxyz": Target(lambda: {"a.extxyz": seeds.EXTXYZ.encode()}, structures),
    "json": Target(
        lambda: {
            "a.json": seeds.PYMATGEN.encode(),
            "b.json": seeds.ASE.encode(),
            "c.json": seeds.ASE_IO.encode(),
            "d.jsonl": "\n".join([seeds.ASE, seeds.PYMATGEN]).encode(),
        },
        structures,
    ),
    "texts": Target(
        lambda: {
            str(i): text.encode()
            for i, text in enumerate(
                [seeds.CIF, seeds.MAGNETIC, seeds.POSCAR, seeds.EXTXYZ, seeds.PYMATGEN, seeds.ASE]
            )
        },
        texts,
    ),
    "database": Target(lambda: {"a.db": seeds.written(seeds.ase_database, ".db")}, structures),
    "parquet": Target(lambda: {"a.parquet": seeds.written(seeds.parquet, ".parquet")}, structures),
    "spectrum": Target(
        lambda: {
            "a.csv": seeds.written(seeds.spectrum, ".csv"),
            "b.dat": seeds.MEASURED.encode(),
            "c.dat": seeds.mantid().encode(),
            "d.json": seeds.written(seeds.spectrum, ".json"),
        },
        spectra,
    ),
    "data": Target(lambda: {"data.csv": seeds.DATA.encode()}, labelled),
    "phonopy": Target(lambda: {"phonopy.yaml": seeds.PHONOPY.encode()}, force_constants, 8),
    "born": Target(lambda: {"BORN": seeds.BORN.encode()}, charges),
    "frames": Target(
        lambda: {
            "a.h5": seeds.written(seeds.eiger, ".h5"),
            "b.h5": seeds.written(seeds.bitshuffled, ".h5"),
            "c.h5": seeds.written(seeds.own_frames, ".h5"),
        },
        frames,
        4,
    ),
    "stack": Target(lambda: {"a.h5": seeds.written(seeds.bitshuffled, ".h5")}, stack, 2),
    "images": Target(
        lambda: {
            "a.tif": seeds.written(seeds.tiff, ".tif"),
            "a.edf": seeds.written(seeds.edf, ".edf"),
            "a.npy": seeds.written(seeds.npy, ".npy"),
            "a.npz": seeds.written(seeds.npz, ".npz"),
            "a.poni": seeds.PONI.encode(),
        },
        images,
        2,
    ),
    "scan": Target(lambda: {"a.cxi": seeds.written(seeds.cxi, ".cxi")}, scan, 2),
    "model": Target(lambda: {"m.safetensors": seeds.written(seeds.network, "")}, model, 4),
    "fitted": Target(lambda: {"f.safetensors": seeds.written(seeds.fitted, "")}, fitted, 2),
    "settings": Target(
        lambda: {
            "a.toml": b"[network]\nr_max = 5.0\n[recipe]\nepochs = 3\nseed = 1\n",
            "candidates.toml": b"[a]\nstart = [0.1, 0.2]\ntimes = [0.0, 1.0]\n[b]\nstart = [0.0]\n"
            b"until = 2.0\nframes = 9\nq = [1.0, 2.0]\n",
            "plan.toml": b'likelihood = "poisson"\n[[stages]]\nframes = 3\nruns = 2\n',
        },
        settings,
    ),
    "forces": Target(
        lambda: {
            "FORCE_CONSTANTS": seeds.written(seeds.force_constants, ""),
            "force_constants.hdf5": seeds.written(seeds.force_constants_hdf5, ".hdf5"),
            "BORN": seeds.BORN.encode(),
        },
        forces,
        8,
    ),
    "screened": Target(
        lambda: {
            "a.parquet": next((seeds.LEGACY / "screened").glob("parts/*")).read_bytes(),
            "debye-screen.json": (seeds.LEGACY / "screened" / "debye-screen.json").read_bytes(),
        },
        screened,
        2,
    ),
    "split": Target(lambda: {"split.csv": b"mp_id,split\na,train\nb,valid\nc,test\n"}, split),
}


# Inputs.


def mutated(data: bytes, noise: random.Random) -> bytes:
    """A file with one to four things wrong."""
    for _ in range(noise.choice([1, 1, 2, 4])):
        data = noise.choice(DAMAGES)(bytearray(data), noise)
    return bytes(data)


def flipped(data: bytearray, noise: random.Random) -> bytes:
    for _ in range(noise.choice([1, 1, 3, 20])):
        if data:
            data[noise.randrange(len(data))] ^= 1 << noise.randrange(8)
    return bytes(data)


def overwritten(data: bytearray, noise: random.Random) -> bytes:
    at, size = noise.randrange(len(data) + 1), noise.choice([1, 2, 4, 8])
    data[at : at + size] = noise.choice([b"\x00", b"\xff", b"\x7f", b"\x80"]) * size
    return bytes(data)


def cut(data: bytearray, noise: random.Random) -> bytes:
    return bytes(data[: noise.randrange(len(data) + 1)])


def removed(data: bytearray, noise: random.Random) -> bytes:
    at = noise.randrange(len(data) + 1)
    del data[at : at + noise.choice([1, 8, 64, 512])]
    return bytes(data)


def repeated(data: bytearray, noise: random.Random) -> bytes:
    at = noise.randrange(len(data) + 1)
    part = bytes(data[at : at + noise.choice([1, 16, 256])])
    return bytes(data[:at]) + part * noise.choice([2, 3, 200]) + bytes(data[at:])


def inserted(data: bytearray, noise: random.Random) -> bytes:
    at = noise.randrange(len(data) + 1)
    return bytes(data[:at]) + noise.choice(WORDS) + bytes(data[at:])


def renumbered(data: bytearray, noise: random.Random) -> bytes:
    found = [*NUMBER.finditer(data)]
    if not found:
        return bytes(data)
    one = noise.choice(found)
    return bytes(data[: one.start()]) + noise.choice(WORDS) + bytes(data[one.end() :])


def reordered(data: bytearray, noise: random.Random) -> bytes:
    lines = bytes(data).split(b"\n")
    i, j = noise.randrange(len(lines)), noise.randrange(len(lines))
    lines[i], lines[j] = lines[j], noise.choice([lines[i], b"", lines[i] * 3])
    return b"\n".join(lines)


DAMAGES = (
    flipped,
    overwritten,
    cut,
    removed,
    repeated,
    inserted,
    renumbered,
    renumbered,
    reordered,
)


@cache
def files_of(name: str) -> dict[str, bytes]:
    return TARGETS[name].files()


def made(name: str, number: int, folder: Path) -> Path:
    """The input of a number, in a file."""
    noise = random.Random(f"{name} {number}")
    filename = noise.choice(sorted(files_of(name)))
    path = folder / filename
    path.write_bytes(mutated(files_of(name)[filename], noise))
    return path


# Runs.


@dataclass
class Log:
    """What became of the inputs."""

    inputs: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, int, str]] = field(default_factory=list)

    def table(self) -> str:
        kinds = ("traceback", "hang", "memory", "death")
        rows = [
            f"| reader | inputs | read | {' | '.join(kinds)} |",
            "|---|---|---|---|---|---|---|",
        ]
        for name in [*self.inputs, "all"]:
            of = [f for f in self.failures if name in (f[0], "all")]
            counts = [sum(why.startswith(kind) for *_, why in of) for kind in kinds]
            numbers = (
                (self.inputs.total(), self.read.total())
                if name == "all"
                else (self.inputs[name], self.read[name])
            )
            rows.append(f"| {name} | {' | '.join(f'{n:,}' for n in (*numbers, *counts))} |")
        return "\n".join(rows)


def work(name: str, numbers: range, at: Any, results: Any) -> None:
    """Read inputs one after the other, saying at which one this is."""
    import faulthandler
    import warnings

    import torch

    faulthandler.disable()

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    read = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            with at.get_lock():
                at[:] = number, time.monotonic(), sum(os.times()[:4]), read
            path = made(name, number, Path(folder))
            try:
                TARGETS[name].read(path)
                read += 1
            except DebyeError as error:
                if not (error.what and error.why and error.fix):
                    results.put((number, f"it does not say what, why or what to do: {error}"))
            except Exception:
                results.put((number, traceback.format_exc()))
    with at.get_lock():
        at[0], at[3] = -1, read
    results.put(None)


def batch(name: str, numbers: range, log: Log) -> None:
    """Have a process read some inputs; where it dies or hangs, another goes on behind."""
    context = multiprocessing.get_context("fork")
    while numbers:
        at, results = context.Array("d", [numbers.start, time.monotonic(), 0, 0]), context.Queue()
        process = context.Process(target=work, args=(name, numbers, at, results), daemon=True)
        process.start()
        why, ended = "", False
        while not ended:
            ended = bool(wait([process.sentinel], timeout=0.5))
            with at.get_lock():
                number, since, before, read = int(at[0]), at[1], at[2], int(at[3])
                asleep = time.monotonic() - since > ASLEEP
                late = asleep or busy(process.pid) - before > SECONDS
            large = resident(process.pid) > BYTES
            if not ended and number >= 0 and (late or large):
                why = "hang" if late else "memory"
                process.kill()
            while not results.empty():
                if found := results.get():
                    log.failures.append((name, found[0], f"traceback\n{found[1]}"))
        process.join()
        log.read[name] += read
        if number < 0:
            break
        code = process.exitcode or 0
        why = why or f"death by {signal.Signals(-code).name if code < 0 else code}"
        log.failures.append((name, number, why))
        numbers = range(number + 1, numbers.stop)


def resident(pid: int | None) -> int:
    """Bytes of memory that a process holds."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except (OSError, IndexError):
        return 0


def busy(pid: int | None) -> float:
    """Seconds of a processor that a process and all its descendants have used."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(sum(one.cpu_times()[:4]) for one in family)
    return 0.0


def fuzz(names: list[str], *, count: int | None, minutes: float, start: int = 0) -> Log:
    """Give each reader so many inputs, or all of them inputs for so long."""
    import debye.crystals.predict.predictor
    import debye.speckle.data.correlate  # noqa: F401

    log, end = Log(), time.monotonic() + 60 * minutes
    done = dict.fromkeys(names, start)
    while names and (count is not None or time.monotonic() < end):
        for name in names:
            files_of(name)
            size = max(1, int(BATCH / TARGETS[name].cost))
            stop = done[name] + size if count is None else min(done[name] + size, start + count)
            batch(name, range(done[name], stop), log)
            log.inputs[name] += stop - done[name]
            done[name] = stop
        if count is not None:
            names = [name for name in names if done[name] < start + count]
    return log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--count", type=int, help="inputs of each reader, instead of minutes")
    parser.add_argument("--from", type=int, default=0, dest="start", help="number of the first")
    parser.add_argument("--only", nargs="*", default=[*TARGETS], choices=[*TARGETS])
    parser.add_argument("--keep", type=Path, help="folder for the inputs that failed")
    words = parser.parse_args()
    log = fuzz(words.only, count=words.count, minutes=words.minutes, start=words.start)
    for name, number, why in log.failures:
        print(f"{name} {number}: {why.rstrip()}\n", file=sys.stderr)
        if words.keep:
            folder = words.keep / f"{name}-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            made(name, number, folder)
    print(log.table())
    raise SystemExit(bool(log.failures))


if __name__ == "__main__":
    main()
