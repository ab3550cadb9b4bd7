"""Dynamics → frames → dynamics: a law of motion fitted to time-resolved coherent scattering.

    equation → System → Trajectory → Scattering → Frames → FittedSystem
                  ↑______________ loss, or correlations ____________|

The names below are imported when they are first used, and listed by ``dir()``:

    from debye.speckle import Drift, Flow, fit, load_frames

The rooms, in the order of the arrows: `dynamics` (systems, known and learnable terms, solvers),
`scattering` (optics, models, photons), `xpcs` (correlations), `data` (frames and files),
`fitting` (Gauss–Newton, curriculum, fitted systems), `studies` (the published cases).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from debye.core.upward import lazily

if TYPE_CHECKING:
    from debye.speckle.conclusions.extrapolate import Extrapolation as Extrapolation
    from debye.speckle.conclusions.extrapolate import extrapolate as extrapolate
    from debye.speckle.conclusions.formula import Formulas as Formulas
    from debye.speckle.conclusions.formula import find_formula as find_formula
    from debye.speckle.conclusions.next_measurement import Candidate as Candidate
    from debye.speckle.conclusions.next_measurement import rank_measurements as rank_measurements
    from debye.speckle.data.correlate import correlate as correlate
    from debye.speckle.data.cxi import read_cxi as read_cxi
    from debye.speckle.data.frames import Frames as Frames
    from debye.speckle.data.frames import simulate as simulate
    from debye.speckle.data.nexus import load_frames as load_frames
    from debye.speckle.data.nexus import save_frames as save_frames
    from debye.speckle.data.read_results import Results as Results
    from debye.speckle.data.read_results import read_results as read_results
    from debye.speckle.data.readers import ScanData as ScanData
    from debye.speckle.data.readers import read_scan_folder as read_scan_folder
    from debye.speckle.data.readers import read_stack as read_stack
    from debye.speckle.data.results import write_results as write_results
    from debye.speckle.data.stack import Stack as Stack
    from debye.speckle.dynamics.brownian import Ageing as Ageing
    from debye.speckle.dynamics.brownian import Brownian as Brownian
    from debye.speckle.dynamics.brownian import SoftRepulsion as SoftRepulsion
    from debye.speckle.dynamics.couplings import Harmonics as Harmonics
    from debye.speckle.dynamics.couplings import Kernel as Kernel
    from debye.speckle.dynamics.couplings import PhaseSeries as PhaseSeries
    from debye.speckle.dynamics.couplings import Sites as Sites
    from debye.speckle.dynamics.known import GrayScott as GrayScott
    from debye.speckle.dynamics.known import LotkaVolterra as LotkaVolterra
    from debye.speckle.dynamics.known import MexicanHat as MexicanHat
    from debye.speckle.dynamics.known import PhaseCoupling as PhaseCoupling
    from debye.speckle.dynamics.known import Spiral as Spiral
    from debye.speckle.dynamics.known import SwarmForce as SwarmForce
    from debye.speckle.dynamics.known import Turing as Turing
    from debye.speckle.dynamics.learnable import Constant as Constant
    from debye.speckle.dynamics.learnable import Flow as Flow
    from debye.speckle.dynamics.learnable import FlowNetwork as FlowNetwork
    from debye.speckle.dynamics.learnable import Learnable as Learnable
    from debye.speckle.dynamics.learnable import RadialNetwork as RadialNetwork
    from debye.speckle.dynamics.learnable import RadialSpline as RadialSpline
    from debye.speckle.dynamics.learnable import RoundFlow as RoundFlow
    from debye.speckle.dynamics.learnable import Smooth as Smooth
    from debye.speckle.dynamics.named import Named as Named
    from debye.speckle.dynamics.named import NamedSum as NamedSum
    from debye.speckle.dynamics.particles import LennardJones as LennardJones
    from debye.speckle.dynamics.particles import Morse as Morse
    from debye.speckle.dynamics.particles import Particles as Particles
    from debye.speckle.dynamics.particles import Yukawa as Yukawa
    from debye.speckle.dynamics.solver import SolveError as SolveError
    from debye.speckle.dynamics.solver import Solver as Solver
    from debye.speckle.dynamics.solver import Trajectory as Trajectory
    from debye.speckle.dynamics.solver import solve as solve
    from debye.speckle.dynamics.splines import PairSpline as PairSpline
    from debye.speckle.dynamics.splines import SplineFlow as SplineFlow
    from debye.speckle.dynamics.splines import SplineReaction as SplineReaction
    from debye.speckle.dynamics.systems import Drift as Drift
    from debye.speckle.dynamics.systems import Kuramoto as Kuramoto
    from debye.speckle.dynamics.systems import ReactionDiffusion as ReactionDiffusion
    from debye.speckle.dynamics.systems import RigidMotion as RigidMotion
    from debye.speckle.dynamics.systems import Swarm as Swarm
    from debye.speckle.dynamics.systems import Swarmalator as Swarmalator
    from debye.speckle.dynamics.systems import System as System
    from debye.speckle.fitting.fit import Fitting as Fitting
    from debye.speckle.fitting.fit import prepare as prepare
    from debye.speckle.fitting.fitted import FittedSystem as FittedSystem
    from debye.speckle.fitting.fitted import fit as fit
    from debye.speckle.fitting.fitted import load as load
    from debye.speckle.fitting.fitted import resume as resume
    from debye.speckle.fitting.fitted import save as save
    from debye.speckle.fitting.goodness import Goodness as Goodness
    from debye.speckle.fitting.instrument import Instrument as Instrument
    from debye.speckle.fitting.plan import Plan as Plan
    from debye.speckle.fitting.plan import Stage as Stage
    from debye.speckle.fitting.positions import fit_positions as fit_positions
    from debye.speckle.fitting.stream import Stream as Stream
    from debye.speckle.scattering.models import Cloud as Cloud
    from debye.speckle.scattering.models import Lattice as Lattice
    from debye.speckle.scattering.models import RigidCloud as RigidCloud
    from debye.speckle.scattering.models import Scattering as Scattering
    from debye.speckle.scattering.optics import Detector as Detector
    from debye.speckle.scattering.optics import GaussianProbe as GaussianProbe
    from debye.speckle.scattering.optics import GridProbe as GridProbe
    from debye.speckle.scattering.optics import core_shell as core_shell
    from debye.speckle.scattering.optics import sphere as sphere
    from debye.speckle.scattering.rigid import CurvedProbe as CurvedProbe
    from debye.speckle.scattering.rigid import RigidLattice as RigidLattice
    from debye.speckle.scattering.scan import Scan as Scan
    from debye.speckle.studies.run import run_study as run_study
    from debye.speckle.studies.run import study as study
    from debye.speckle.studies.study import Case as Case
    from debye.speckle.studies.study import Report as Report
    from debye.speckle.studies.study import Study as Study
    from debye.speckle.unknown_starts.correlations import fit_correlations as fit_correlations
    from debye.speckle.unknown_starts.first_states import reconstruct_lattice as reconstruct_lattice
    from debye.speckle.unknown_starts.first_states import (
        reconstruct_lattices as reconstruct_lattices,
    )
    from debye.speckle.unknown_starts.first_states import reconstruct_object as reconstruct_object
    from debye.speckle.unknown_starts.reconstruction import Reconstruction as Reconstruction
    from debye.speckle.unknown_starts.suspension import Suspension as Suspension
    from debye.speckle.xpcs.average import average as average
    from debye.speckle.xpcs.centre import find_centre as find_centre
    from debye.speckle.xpcs.correlation import Correlation as Correlation
    from debye.speckle.xpcs.correlator import Correlator as Correlator
    from debye.speckle.xpcs.diffusion import diffusion as diffusion
    from debye.speckle.xpcs.diffusion import power_law as power_law
    from debye.speckle.xpcs.diffusion import stokes_einstein as stokes_einstein
    from debye.speckle.xpcs.fit import Fit as Fit
    from debye.speckle.xpcs.fit import fit_global as fit_global
    from debye.speckle.xpcs.geometry import Geometry as Geometry
    from debye.speckle.xpcs.qmap import QMap as QMap
    from debye.speckle.xpcs.qmap import make_qmap as make_qmap
    from debye.speckle.xpcs.twotime import TwoTime as TwoTime
    from debye.speckle.xpcs.twotime import two_time as two_time

_ROOMS = (
    "conclusions",
    "data",
    "dynamics",
    "fitting",
    "scattering",
    "studies",
    "unknown_starts",
    "xpcs",
)
_HOMES = {
    "data.correlate": ("correlate",),
    "data.frames": ("Frames", "simulate"),
    "data.nexus": ("load_frames", "save_frames"),
    "data.cxi": ("read_cxi",),
    "data.readers": ("ScanData", "read_scan_folder", "read_stack"),
    "data.read_results": ("Results", "read_results"),
    "data.results": ("write_results",),
    "data.stack": ("Stack",),
    "dynamics.couplings": ("Harmonics", "Kernel", "PhaseSeries", "Sites"),
    "dynamics.brownian": ("Ageing", "Brownian", "SoftRepulsion"),
    "dynamics.known": (
        "GrayScott",
        "LotkaVolterra",
        "MexicanHat",
        "PhaseCoupling",
        "Spiral",
        "SwarmForce",
        "Turing",
    ),
    "dynamics.learnable": (
        "Constant",
        "Flow",
        "FlowNetwork",
        "Learnable",
        "RadialNetwork",
        "RadialSpline",
        "RoundFlow",
        "Smooth",
    ),
    "dynamics.named": ("Named", "NamedSum"),
    "dynamics.particles": ("LennardJones", "Morse", "Particles", "Yukawa"),
    "dynamics.solver": ("SolveError", "Solver", "Trajectory", "solve"),
    "dynamics.splines": ("PairSpline", "SplineFlow", "SplineReaction"),
    "dynamics.systems": (
        "Drift",
        "Kuramoto",
        "ReactionDiffusion",
        "RigidMotion",
        "Swarm",
        "Swarmalator",
        "System",
    ),
    "unknown_starts.correlations": ("fit_correlations",),
    "conclusions.extrapolate": ("Extrapolation", "extrapolate"),
    "unknown_starts.first_states": (
        "reconstruct_lattice",
        "reconstruct_lattices",
        "reconstruct_object",
    ),
    "fitting.fit": ("Fitting", "prepare"),
    "fitting.goodness": ("Goodness",),
    "fitting.instrument": ("Instrument",),
    "conclusions.next_measurement": ("Candidate", "rank_measurements"),
    "fitting.plan": ("Plan", "Stage"),
    "fitting.fitted": ("FittedSystem", "fit", "load", "resume", "save"),
    "conclusions.formula": ("Formulas", "find_formula"),
    "fitting.positions": ("fit_positions",),
    "fitting.stream": ("Stream",),
    "unknown_starts.reconstruction": ("Reconstruction",),
    "unknown_starts.suspension": ("Suspension",),
    "scattering.models": ("Cloud", "Lattice", "RigidCloud", "Scattering"),
    "scattering.optics": ("Detector", "GaussianProbe", "GridProbe", "core_shell", "sphere"),
    "scattering.rigid": ("CurvedProbe", "RigidLattice"),
    "scattering.scan": ("Scan",),
    "studies.run": ("run_study", "study"),
    "studies.study": ("Case", "Report", "Study"),
    "xpcs.average": ("average",),
    "xpcs.centre": ("find_centre",),
    "xpcs.correlation": ("Correlation",),
    "xpcs.correlator": ("Correlator",),
    "xpcs.diffusion": ("diffusion", "power_law", "stokes_einstein"),
    "xpcs.fit": ("Fit", "fit_global"),
    "xpcs.geometry": ("Geometry",),
    "xpcs.qmap": ("QMap", "make_qmap"),
    "xpcs.twotime": ("TwoTime", "two_time"),
}
__getattr__, __dir__, __all__ = lazily(__name__, _HOMES, _ROOMS)
