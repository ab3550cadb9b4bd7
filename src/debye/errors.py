"""One way to refuse: what happened, why, and what to do about it."""

from __future__ import annotations

from typing import Any


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

    def __reduce__(self) -> tuple[Any, ...]:
        """How it travels between processes: without ``__init__``, which may take other things."""
        return _empty, (type(self), self.args), self.__dict__

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  fix: {self.fix}"


def _empty(kind: type[DebyeError], args: tuple[str, ...]) -> DebyeError:
    """An error before it is given its attributes."""
    return kind.__new__(kind, *args)


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
