"""Options of the verbs that read frames: where the detector stood, and which frames and rings."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from debye.cli.paths import expanded

Stacks = Annotated[
    list[str],
    typer.Argument(
        help="Frames: an HDF5 file (an EIGER master; FILE::/PATH names the dataset), .npy, .npz "
        "(FILE::NAME), a folder of images, images. Several are runs, but images are frames of one.",
        show_default=False,
    ),
]
Mask = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        help="Mask: .npy, an image or FILE.h5::/PATH, once or more; 0 is a good pixel, of "
        "booleans True, of masks of 8-ID 1.",
        show_default=False,
    ),
]
Centre = Annotated[
    str | None,
    typer.Option("--centre", help="Centre of the beam x,y in pixels.", show_default="the file's"),
]
Energy = Annotated[
    float | None,
    typer.Option("--energy", help="Of the photons, keV.", show_default="the file's"),
]
Distance = Annotated[
    float | None,
    typer.Option("--distance", help="From sample to detector, m.", show_default="the file's"),
]
Pixel = Annotated[
    float | None,
    typer.Option("--pixel", help="Size of a pixel, m.", show_default="the file's"),
]
Poni = Annotated[
    str | None,
    typer.Option(
        "--poni",
        help="Geometry of a .poni file of pyFAI, tilts too; goes before the file's.",
        show_default=False,
    ),
]
FrameTime = Annotated[
    float | None,
    typer.Option("--frame-time", help="Between frames, s.", show_default="the file's"),
]
Rings = Annotated[
    str | None,
    typer.Option(
        "--rings",
        help="Rings in q: their number, log:NUMBER, or their borders 0.01,0.02,0.05 in 1/Å "
        "(in pixels, where q is).",
        show_default="8",
    ),
]
Phi = Annotated[int, typer.Option("--phi", min=1, help="Azimuthal parts of a ring.")]
TwoTime = Annotated[bool, typer.Option("--two-time", help="Make two-time maps too.")]
Which = Annotated[
    str | None,
    typer.Option("--frames", help="Frames to take, start:stop:step.", show_default="all"),
]
Run = Annotated[
    int | None,
    typer.Option(
        "--run", min=0, help="Which run of a file of several, from 0.", show_default="all"
    ),
]
Slices = Annotated[
    int, typer.Option("--slices", min=1, help="Stretches of time correlated by themselves too.")
]
FindCentre = Annotated[
    bool,
    typer.Option(
        "--find-centre", help="Take the centre about which the mean frame is most nearly round."
    ),
]

ResultFiles = Annotated[
    list[Path],
    typer.Argument(
        callback=expanded,
        help="Result files: of debye correlate, boost_corr, or others of 8-ID's layout or NXxpcs.",
        show_default=False,
    ),
]


class ModelName(str, Enum):
    """How g2 decays."""

    SINGLE = "single"
    STRETCHED = "stretched"
    DOUBLE = "double"
    CUMULANTS = "cumulants"


Model = Annotated[ModelName, typer.Option("--model", help="How g2 decays.")]
QRange = Annotated[
    str | None,
    typer.Option("--q", help="Bins to fit, from:to in the unit of q.", show_default="all"),
]
TimeRange = Annotated[
    str | None,
    typer.Option("--times", help="Delays to fit, from:to in s.", show_default="all"),
]
Fix = Annotated[
    list[str] | None,
    typer.Option("--fix", help="A parameter that is known: baseline=1.", show_default="none"),
]
Bound = Annotated[
    list[str] | None,
    typer.Option("--bound", help="Limits of a parameter: exponent=0.5:2.", show_default="none"),
]
Global = Annotated[
    bool, typer.Option("--global", help="Fit all bins at once, with τ a power of q.")
]
Power = Annotated[
    float | None,
    typer.Option("--power", help="n of τ ∝ q^−n, with --global.", show_default="fitted"),
]
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", help="Temperature, K."),
]
Viscosity = Annotated[
    float | None,
    typer.Option("--viscosity", help="Of the solvent, Pa s, for a radius.", show_default=False),
]
LeaveOut = Annotated[
    list[Path] | None,
    typer.Option(
        "--leave-out",
        callback=expanded,
        help="A file of RESULTS that is not to count.",
        show_default="none",
    ),
]
Average = Annotated[
    bool, typer.Option("--average", help="Take the mean of several runs, into one file.")
]
Follow = Annotated[
    bool,
    typer.Option("--follow", help="Follow a file or folder that grows, until no more comes."),
]
Count = Annotated[
    int | None,
    typer.Option("--count", min=2, help="With --follow: frames after which to end."),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=0, help="With --follow: seconds without a frame, to end."),
]
Every = Annotated[
    float,
    typer.Option("--every", min=0, help="With --follow: seconds between results on the way."),
]
BadFrames = Annotated[
    str | None,
    typer.Option("--bad-frames", help="Numbers of frames to leave out: 3,17.", show_default="none"),
]
Bin = Annotated[int, typer.Option("--bin", min=1, help="Successive frames that are summed to one.")]
