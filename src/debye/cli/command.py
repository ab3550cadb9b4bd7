"""The command itself: which verbs there are, and how each is loaded, run and ended.

A verb's module is imported when it is called, so that ``debye --help`` costs nothing: what it says
of each verb stands here.
"""

from __future__ import annotations

import functools
import inspect
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeAlias, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from debye import __version__
from debye.cli.console import DONE, GO_ON, complain, interrupted, leave, quiet, show
from debye.cli.stopping import leave_at_once, leaving
from debye.cli.watched import watch_over
from debye.errors import ComputationError, DebyeError

Click: TypeAlias = Any
"""A class of click, which newer versions of typer carry within and older ones import."""

Section = Mapping[str, tuple[str, str]]
"""Verbs by name: the module of `debye.cli` that holds each, and what it does."""

VERBS: dict[str, Section] = {
    "Predict": {
        "dos": ("predict", "Predict the phonon density of states of crystals."),
        "thermo": ("predict", "Predict heat capacity, entropy and energies over temperatures."),
        "bands": ("lattice", "Predict the phonon bands of a crystal along a path."),
        "alloy": ("predict", "Predict the spectra of the alloys between two parents."),
        "screen": ("screening", "Predict many structures, on all cores or on a cluster."),
        "top": ("screening", "Rank what was screened."),
        "demo": ("predict", "Predict the structures that come with debye."),
    },
    "From a measured spectrum": {
        "invert": ("command", "From a spectrum back to a structure: rank, refine, design."),
    },
    "Train": {
        "train": ("training", "Train the network on labelled crystals."),
        "ensemble": ("training", "Cross-validate, and keep the networks as an ensemble."),
        "evaluate": ("evaluation", "Compare predicted with labelled spectra."),
        "calibrate": ("evaluation", "Give a model an uncertainty, from its errors."),
        "model": ("predict", "Print the card of a model."),
    },
    "Coherent scattering": {
        "simulate": ("speckle", "Simulate the frames of a known system."),
        "learn": ("speckle", "Learn the unknown term of an equation of motion from frames."),
        "extrapolate": ("speckle", "Follow a fitted system beyond its data."),
        "formula": ("speckle", "Put the fitted term of a system into words."),
        "plan": ("speckle", "Rank measurements not yet made by what they would tell."),
        "study": ("speckle", "Conduct a published study in one go."),
        "correlate": ("correlate", "Correlate a detector's frames into a result file."),
        "xpcs": ("correlate", "Correlate a detector's frames: another name of correlate."),
        "fit": ("xpcs", "Fit relaxation to g2: τ by q, diffusion, radius."),
        "average": ("xpcs", "Average the result files of runs that agree."),
    },
    "Look": {"studio": ("studio", "Open the studio: crystals and speckle on a page.")},
    "Help": {"help": ("command", "Show the help of a verb.")},
}
INVERT: dict[str, Section] = {
    "Verbs": {
        "rank": ("inversion", "Rank candidates by how likely they make a measured spectrum."),
        "refine": ("inversion", "Adjust a structure until its spectrum fits a measured one."),
        "design": ("inversion", "Find substitutions that bring a property to a value."),
    }
}
LONG = ("train", "ensemble", "learn", "study", "screen")
"""Verbs that go on where they stopped, if they are run again."""

_STYLE: dict[str, Any] = {
    "no_args_is_help": True,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # one look for all help, which takes no time to load
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Verbs(TyperGroup):
    """Verbs that are imported when they are called."""

    sections: Mapping[str, Section] = VERBS

    def __init__(self, **attributes: Click) -> None:
        super().__init__(**attributes)
        self.verbs = {name: home for part in self.sections.values() for name, home in part.items()}
        # Names alone, among which the nearest to a misspelt one is sought.
        self.commands = dict.fromkeys(self.verbs, TyperCommand(None))

    def list_commands(self, ctx: Click) -> list[str]:
        """Names of the verbs."""
        return list(self.verbs)

    def get_command(self, ctx: Click, cmd_name: str) -> Click:
        """A verb, loaded now."""
        if cmd_name not in self.verbs:
            return None
        module = import_module(f"debye.cli.{self.verbs[cmd_name][0]}")
        return _loaded(cmd_name, getattr(module, cmd_name))

    def format_commands(self, ctx: Click, formatter: Click) -> None:
        """The verbs with a line each, none of them loaded."""
        for title, part in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, about) for name, (_, about) in part.items()])

    def parse_args(self, ctx: Click, args: list[str]) -> list[str]:
        """`debye help VERB` is `debye VERB --help`."""
        if args[:1] == ["help"]:
            args = [*(word for word in args[1:] if word != "help"), "--help"]
        return super().parse_args(ctx, args)

    def make_context(self, *args: Click, **kwargs: Click) -> Click:
        """As usual, but that nobody need read the help to its end."""
        with _readers_may_leave():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Click) -> Click:
        """As usual, but that nobody need read the help to its end."""
        with _readers_may_leave():
            return super().invoke(ctx)


class InvertVerbs(Verbs):
    """The verbs of `debye invert`."""

    sections = INVERT


app = typer.Typer(
    cls=Verbs,
    name="debye",
    help="Physics-guided machine learning for materials characterization.",
    epilog="Results go to stdout, notes and progress to stderr; - reads stdin. Exit codes: 0 done, "
    "1 failed, 2 bad usage or input, 3 some items failed, 130 interrupted.",
    **_STYLE,
)
invert = typer.Typer(
    cls=InvertVerbs,
    help="From a spectrum back to a structure: rank candidates, refine one, design one.",
    **_STYLE,
    add_completion=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        show(f"debye {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    pass


@invert.callback()
def _no_options() -> None:
    pass


def help() -> None:  # noqa: A001 - the name of the verb
    """Show the help of a verb: `debye help dos`, `debye help invert rank`."""


def run() -> None:
    """Run the command that this process was started with."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may hold any bytes
    leave_at_once()
    watch_over()
    app()


def _loaded(name: str, made: Callable[..., int | None] | typer.Typer) -> Click:
    """A verb, or a family of verbs, as a command."""
    if isinstance(made, typer.Typer):
        return get_command(made)
    alone = typer.Typer(**{**_STYLE, "no_args_is_help": False}, add_completion=False)
    alone.command(name)(verb(made))
    return get_command(alone)


def verb(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn what a verb returns or raises into an exit code, and add ``--quiet`` to its options.

    A verb returns its code, or None for done. A `DebyeError` is printed and gives its own code; no
    traceback is shown for it, nor where the machine has no more memory or disk.
    """
    from debye.cli.options import Quiet

    @functools.wraps(function)
    def run(*args: object, **kwargs: object) -> None:
        before = quiet.set(bool(kwargs.pop("quiet", False)))
        kept = function.__name__ in LONG and kwargs.get("output")
        message = GO_ON if kept else "interrupted"
        try:
            with leaving(message):
                code = function(*args, **kwargs) or DONE
        except KeyboardInterrupt:
            code = interrupted(message)
        except (DebyeError, MemoryError, RuntimeError, OSError) as error:
            explained = _explained(error)
            complain(explained)
            code = explained.exit_code
        finally:
            quiet.reset(before)
        raise typer.Exit(code)

    hints = get_type_hints(function, include_extras=True)
    given = inspect.signature(function).parameters
    parameters = [p.replace(annotation=hints[name]) for name, p in given.items()]
    added = inspect.Parameter(
        "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet
    )
    run.__signature__ = inspect.Signature([*parameters, added])  # type: ignore[attr-defined]
    run.__annotations__ = {**hints, "quiet": Quiet}
    return run


def _explained(error: Exception) -> DebyeError:
    """What a verb died of, in words; raised again if there are none for it."""
    if isinstance(error, DebyeError):
        return error
    if isinstance(error, MemoryError):
        return ComputationError("out of memory", why="the work is too large", fix="do it in parts")
    if isinstance(error, OSError):
        return ComputationError("stopped", why=str(error), fix="check the disk and permissions")
    if type(error).__name__ != "OutOfMemoryError":  # of torch, which need not be loaded
        raise error
    return ComputationError(
        "the device is out of memory",
        why=str(error).partition(". ")[0],
        fix="use smaller batches, more processes, or --device cpu",
    )


@contextmanager
def _readers_may_leave() -> Iterator[None]:
    """End well where nobody reads any more what is printed."""
    try:
        yield
    except BrokenPipeError:
        leave(sys.stdout)
        raise typer.Exit(DONE) from None
