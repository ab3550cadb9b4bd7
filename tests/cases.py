"""The shared cases, small files after public bug reports, which CI has beside the repository."""

from pathlib import Path

import pytest

CASES = Path(__file__).parents[2] / "shared" / "cases"
needs_cases = pytest.mark.skipif(
    not CASES.exists(), reason="the shared cases are not beside the repository"
)
