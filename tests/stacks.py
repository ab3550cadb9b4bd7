"""Frames as detectors write them, for tests."""

import bz2

import fabio.edfimage
import fabio.tifimage
import h5py
import hdf5plugin
import numpy as np
import torch
from PIL import Image

from debye.speckle.xpcs.geometry import Geometry
from debye.speckle.xpcs.qmap import make_qmap
from debye.speckle.xpcs.simulate import Simulated

SIDE, FRAMES, STEP = 49, 180, 2e-3
MIDDLE = Geometry(SIDE // 2, SIDE // 2)
EVERY = torch.ones(SIDE, SIDE) > 0
DETECTOR = "/entry/instrument/detector"


def simulated(geometry=MIDDLE, **options):
    qmap = make_qmap(geometry, EVERY, [3, 9, 15, 21])
    seen = Simulated(qmap, frames=FRAMES, frame_time=STEP, diffusion=2.0, seed=3, **options)
    return np.concatenate(list(seen.blocks()))


def write_master(folder, frames, parts=(1, 2), **stated):
    """A master of EIGER, and the bitshuffle files it links to."""
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "run_master.h5", "w") as master:
        for number, part in zip(parts, np.array_split(frames, len(parts)), strict=True):
            name = f"run_data_{number:06d}.h5"
            with h5py.File(folder / name, "w") as file:
                file.create_dataset(
                    "/entry/data/data",
                    data=part,
                    chunks=(1, *part.shape[1:]),
                    **hdf5plugin.Bitshuffle(),
                )
            link = h5py.ExternalLink(name, "/entry/data/data")
            master[f"/entry/data/data_{number:06d}"] = link
        for name, value in ({f"{DETECTOR}/frame_time": STEP} | stated).items():
            master[name] = value
    return folder / "run_master.h5"


def write_tiffs(folder, frames):
    folder.mkdir()
    for k, frame in enumerate(frames):
        fabio.tifimage.TifImage(data=frame).write(str(folder / f"scan_{k}.tif"))
    return folder


def write_edfs(folder, frames):
    folder.mkdir()
    for k, frame in enumerate(frames):
        fabio.edfimage.EdfImage(data=frame).write(str(folder / f"scan_{k:04d}.edf"))
    return folder


def write_packed(folder, frames):
    """The EDF files of `write_edfs`, each compressed."""
    for path in write_edfs(folder, frames).iterdir():
        path.with_suffix(".edf.bz2").write_bytes(bz2.compress(path.read_bytes(), 1))
        path.unlink()
    return folder


def write_scan(folder, frames):
    """Frames as the published ptychographic scan has them: float32 without a header."""
    (folder / "raw").mkdir(parents=True)
    for k, frame in enumerate(frames):
        frame.astype("<f4").tofile(folder / "raw" / f"image_{k:06d}.bin")
    return folder


def write_pages(path, frames):
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others)
    return path


def write_npy(path, frames):
    np.save(path, frames)
    return path


def write_npz(path, frames, **others):
    np.savez_compressed(path, frames=frames, **others)
    return path


def write_runs(path, *runs):
    """Runs as BLISS writes scans, an entry each, and as debye does, an axis for them."""
    with h5py.File(path, "w") as file:
        for k, run in enumerate(runs):
            file[f"/{k + 1}.1/measurement/eiger"] = run
    with h5py.File(path.with_suffix(".nxs"), "w") as file:
        least = min(map(len, runs))
        same = np.stack([run[-least:] for run in runs])
        chunks = (1, min(16, least), *same.shape[2:])
        file.create_dataset("/entry/data/data", data=same, chunks=chunks, compression=1)
    return path, path.with_suffix(".nxs")


def write_dataset(path, frames):
    with h5py.File(path, "w") as file:
        file["/some/where"] = frames
        file["/else/where"] = frames[:, :5]
    return f"{path}::/some/where"
