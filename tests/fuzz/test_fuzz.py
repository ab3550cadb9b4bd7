"""A short run of the harness, and files that grammars make; `run.py` goes on for longer."""

from __future__ import annotations

from contextlib import suppress

import pytest
import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debye.errors import DebyeError

COUNT = 300
"""Inputs of each reader: about a minute in all."""


@pytest.mark.parametrize("name", run.TARGETS)
def test_undamaged_files_are_read(name, tmp_path):
    for filename, content in run.files_of(name).items():
        (tmp_path / filename).write_bytes(content)
        run.TARGETS[name].read(tmp_path / filename)


def test_damaged_files_are_read_or_refused():
    log = run.fuzz([*run.TARGETS], count=COUNT, minutes=0)
    assert not log.failures, log.failures
    assert log.inputs == dict.fromkeys(run.TARGETS, COUNT)
    assert 0.1 < log.read.total() / log.inputs.total() < 0.9, "too much damage, or too little"


def test_a_string_of_gigabytes_is_refused_at_once(tmp_path):
    with pytest.raises(DebyeError, match="more memory than there can be to read /entry/title"):
        run.TARGETS["frames"].read(run.made("frames", 207, tmp_path))


def test_an_input_is_had_again_by_its_number(tmp_path):
    one, other = (run.made("cif", 17, tmp_path).read_bytes() for _ in range(2))
    assert one == other != run.made("cif", 18, tmp_path).read_bytes()


def breaks(path):
    raise ZeroDivisionError(path)


def dies(path):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(("read", "why"), [(breaks, "traceback"), (dies, "death by SIGSEGV")])
def test_what_fails_is_found_and_the_rest_is_done(monkeypatch, read, why):
    def sometimes(path):
        if path.read_bytes().startswith(b"data"):
            read(path)

    monkeypatch.setitem(
        run.TARGETS, "bad", run.Target(lambda: {"a.cif": b"data_x\n" * 9}, sometimes)
    )
    log = run.fuzz(["bad"], count=20, minutes=0)
    assert 1 <= len(log.failures) < 20
    assert {reason.split("\n")[0] for *_, reason in log.failures} == {why}
    assert log.read["bad"] == 20 - len(log.failures)


# Files by grammar.

ODD = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "0.5",
        "1/2",
        "0.3333",
        "1e-9",
        "1e9",
        "nan",
        "inf",
        "-1",
        "?",
        ".",
        "5.64(3)",
        "1.0D+01",
        "1,5",
        "90",
        "89.9",
        "179.999",
        "0.001",
    ]
)
NUMBER = st.one_of(ODD, st.floats(-20, 20).map(lambda x: f"{x:.4f}"))
SYMBOL = st.sampled_from(
    [
        "Na",
        "Cl",
        "Na+",
        "O2-",
        "D",
        "T",
        "Ho1",
        "X1",
        "Q",
        "Si4+",
        "?",
        "Fe3+",
        "OH",
        "Uuo",
        "8",
        "T1",
    ]
)
OPERATION = st.sampled_from(
    [
        "x,y,z",
        "-x,-y,-z",
        "x+1/2,y,z",
        "y,x,-z",
        "-y,x-y,z+1/3",
        "x,y",
        "2x,y,z",
        "x+0.3333,y,z",
        "x,y,z,-1",
        "z,z,z",
    ]
)
CELL = st.lists(NUMBER, min_size=6, max_size=6)
SITES = st.lists(st.tuples(SYMBOL, NUMBER, NUMBER, NUMBER), min_size=1, max_size=6)
KEYS = [
    "_cell_length_a",
    "_cell_length_b",
    "_cell_length_c",
    "_cell_angle_alpha",
    "_cell_angle_beta",
    "_cell_angle_gamma",
]
GROUPS = st.sampled_from(
    ["", "_space_group_IT_number 227", "_space_group_name_H-M_alt 'R -3 m'",
     "_space_group_name_Hall 'F 4d 2 3 -1d'", "_space_group_IT_number 999",
     "_space_group_name_H-M_alt 'F d -3 m'\n_space_group_IT_coordinate_system_code 1",
     "_space_group_name_H-M_alt 'nonsense'"]
)  # fmt: skip


def cif(cell, group, operations, sites):
    lines = ["data_x", *(f"{k} {v}" for k, v in zip(KEYS, cell, strict=True)), group]
    if operations:
        lines += ["loop_", "_space_group_symop_operation_xyz", *(f"'{o}'" for o in operations)]
    lines += ["loop_", "_atom_site_label", *(f"_atom_site_fract_{x}" for x in "xyz")]
    return "\n".join([*lines, *(" ".join(site) for site in sites)]) + "\n"


def poscar(cell, scale, counts, sites):
    rows = [" ".join(cell[:3]), " ".join(cell[3:]), "0 0 5.0"]
    lines = ["x", scale, *rows, "Na Cl", counts, "Direct", *(" ".join(s[1:]) for s in sites)]
    return "\n".join(lines) + "\n"


STRUCTURES = st.one_of(
    st.builds(cif, CELL, GROUPS, st.lists(OPERATION, max_size=4), SITES),
    st.builds(
        poscar, CELL, NUMBER, st.sampled_from(["1 1", "0 2", "-1 2", "1", "1e9 1", "1 1 1"]), SITES
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STRUCTURES)
def test_structures_of_a_grammar_are_used_or_refused(text):
    from debye.crystals.structure_io.anything import crystals_of

    with suppress(DebyeError):
        run.used(run.network()(crystals_of(text.encode())[0]))


HEADER = st.sampled_from(
    ["# E (meV) S", "# T = 300 K", "# E(meV) S(1/cm-1)", "energy;intensity", "# w/THz g", "1", ""]
)
SEPARATOR = st.sampled_from([" ", ",", ";", "\t", " , "])


@settings(max_examples=300, deadline=None)
@given(HEADER, SEPARATOR, st.lists(st.lists(NUMBER, min_size=1, max_size=4), max_size=8))
def test_spectra_of_a_grammar_are_used_or_refused(tmp_path_factory, header, separator, rows):
    from debye.crystals.dos_io.files import read_measured

    path = tmp_path_factory.mktemp("spectra") / "a.dat"
    path.write_text("\n".join([header, *(separator.join(row) for row in rows)]) + "\n")
    try:
        found = read_measured(path)
    except DebyeError:
        return
    run.finite([found.frequency, found.intensity])
