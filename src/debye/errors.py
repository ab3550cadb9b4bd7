"""One way to refuse: what happened, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial


class Refusal(Exception):  # noqa: N818 - it is raised for the user's sake, not only for the program's
    """Debye will not go on, and says what happened, why, and what to do.

    Args:
        what: What was refused, naming the file, the option or the argument.
        why: The cause, with the offending value.
        fix: What to do about it.

    The command line prints the three lines and leaves with ``exit_code``.

    Example:
        >>> print(Refusal("cannot read quartz.cif", why="the file is empty", fix="export it again"))
        cannot read quartz.cif
          why: the file is empty
          fix: export it again
    """

    exit_code = 2
    """Bad usage or input; `Failure` is for work that was well asked and went wrong."""

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(what, why, fix)
        self.what, self.why, self.fix = what, why, fix

    def __reduce__(self) -> tuple[Callable[..., Refusal], tuple[str]]:
        """How it travels between processes: exceptions are rebuilt from positions, not names."""
        return partial(type(self), why=self.why, fix=self.fix), (self.what,)

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  fix: {self.fix}"


class Failure(Refusal):
    """The work was well asked but could not be done (a solve blew up, a loss became NaN)."""

    exit_code = 1
