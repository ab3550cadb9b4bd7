"""What docs/xpcs.md shows runs."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "xpcs.md"


def test_the_page_runs(tmp_path, monkeypatch):
    if not PAGE.is_file():
        pytest.skip("the documentation is not beside the tests")
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)
    assert names["centre_warnings"](names["found"]) == ()
    assert (tmp_path / "a_results.hdf").is_file()
    law = names["power_law"](names["fitted"])
    assert abs(law.power - 2) < 4 * law.power_error
    centre = names["find_centre"](names["found"].saxs_2d, names["qmap"].mask, names["geometry"])
    assert abs(centre.x - 31.2) < 20
