"""One way to refuse: what happened, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial


class DebyeError(Exception):
    """Debye will not go on, and says what happened, why, and what to do.

    Args:
        what: What was refused or failed, naming the file, the option or the argument.
        why: The cause, with the offending value.
        fix: What to do about it.

    Either an `InputError` or a `ComputationError`. The command line prints the three lines and
    leaves with ``exit_code``.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.what, self.why, self.fix = what, why, fix

    def __reduce__(self) -> tuple[Callable[..., DebyeError], tuple[str]]:
        """How it travels between processes: exceptions are rebuilt from positions, not names."""
        return partial(type(self), why=self.why, fix=self.fix), (self.what,)

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  fix: {self.fix}"


class InputError(DebyeError, ValueError):
    """What was asked or given cannot be used; nothing was computed.

    Example:
        >>> print(InputError("cannot read a.cif", why="the file is empty", fix="export it again"))
        cannot read a.cif
          why: the file is empty
          fix: export it again
    """

    exit_code = 2


class ComputationError(DebyeError, RuntimeError):
    """The work was well asked but could not be done (a solve blew up, a loss became NaN)."""
