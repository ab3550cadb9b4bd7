"""Measured spectra as instruments, programs and spreadsheets write them: read rightly, or refused."""

# ruff: noqa: E501 - tables of cases, one a line

import numpy as np
import pytest
from cases import CASES, needs_cases

from debye.crystals.dos.spectrum import Spectrum
from debye.crystals.dos_io.columns import table_of
from debye.crystals.dos_io.files import read_measured
from debye.crystals.dos_io.header import other_unit, unit_named, units_named
from debye.errors import InputError
from debye.units import FREQUENCY_UNITS

ENERGY = np.arange(1.5, 46, 1.5)
COUNTS = np.round(20 + 400 * np.exp(-(((ENERGY - 20) / 6) ** 2)))


def read(tmp_path, text, unit=None):
    path = tmp_path / "run.dat"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_measured(path, unit)


def rows(form="{} {}", energy=ENERGY):
    return "\n".join(form.format(e, c) for e, c in zip(energy, COUNTS, strict=True)) + "\n"


def comma(text):
    return text.replace(".", ",")


# The shared cases, each with its right value.


@needs_cases
@pytest.mark.parametrize(
    ("name", "unit", "named"),
    [
        ("a-decimal-comma.csv", None, "meV"),
        ("b-mantid.dat", "meV", "meV"),
        ("c-dexp.dat", None, "meV"),
        ("d-temperature-header.dat", None, "meV"),
        ("k-kelvin-trap.dat", None, "cm-1"),
    ],
)
def test_the_shared_cases(name, unit, named):
    found = read_measured(CASES / "spectra" / name, unit)
    assert (found.unit, found.notes) == (named, ())
    energy = found.frequency.numpy() / FREQUENCY_UNITS["meV"]
    assert energy == pytest.approx(1.5 * np.arange(1, 50), rel=1e-4)
    assert found.intensity[:6].tolist() == [20, 20, 21, 22, 25, 34]
    assert (found.error is not None) == (name[0] in "bd")


@needs_cases
def test_the_shared_case_without_a_unit_and_that_with_a_gain_side():
    with pytest.raises(InputError, match="could be in meV or THz or cm-1"):
        read_measured(CASES / "spectra" / "b-mantid.dat")
    found = read_measured(CASES / "spectra" / "g-gain-side.dat")
    assert found.frequency[0].item() == pytest.approx(3 * FREQUENCY_UNITS["meV"])
    assert found.frequency[-1].item() == pytest.approx(19.5 * FREQUENCY_UNITS["meV"])
    gain, elastic, most = found.notes
    assert gain == "its energy-gain side, 50 points below zero, is cut"
    assert elastic == "its elastic line, up to 1.5 meV, is cut"
    assert "change the sign of the energies" in most


# Numbers and what stands between them.


@pytest.mark.parametrize(
    "text",
    [
        "Energy (meV);Counts\n" + comma(rows("{};{}")),
        "Energy (meV)\tCounts\n" + comma(rows("{}\t{}")),
        "# Energie (meV)  Z\u00e4hlrate\n" + comma(rows("{}   {}")),
        "sep=;\nEnergy (meV);Counts;\n" + comma(rows("{} ; {};")),
        "Energy (meV);Counts\n" + comma(rows('"{}";"{}"')),
        'Energy (meV),Counts\n' + comma(rows('"{}","{}"')).replace('","', '","'),
        "# meV\n" + rows("{:.4e} {:.3e}"),
        "# meV\n" + rows("{:.4E}, {:.3E}").replace("E", "D"),
        "# meV\n" + rows("{:.4e},{:.3e}").replace("e", "d"),
        "% meV\n" + rows("{}, {}"),
        "! meV\n// ours\n" + rows("{}\t{}"),
        "# meV\n" + rows("  {} {} # a point"),
        "\ufeff# meV\r\n" + rows().replace("\n", "\r\n"),
    ],
)  # fmt: skip
def test_the_same_spectrum_in_many_forms(tmp_path, text):
    found = read(tmp_path, text)
    assert found.frequency.numpy() == pytest.approx(ENERGY * FREQUENCY_UNITS["meV"], rel=1e-4)
    assert found.intensity.numpy() == pytest.approx(COUNTS, rel=1e-3)
    assert (found.unit, found.notes) == ("meV", ())


def test_a_few_fortran_exponents_among_others_lose_no_row(tmp_path):
    lines = rows("{:.4E} {:.3E}").splitlines()
    for changed in (slice(0, 5), slice(10, 15), slice(0, None)):
        mixed = [*lines]
        mixed[changed] = [line.replace("E", "D") for line in lines[changed]]
        assert len(read(tmp_path, "# meV\n" + "\n".join(mixed)).frequency) == len(lines)


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ("***** 20.0", "line 2"),
        ("1.5.0 20", "line 2"),
        ("1.5 20 bad", "line 2: '1.5 20 bad'"),
        ("0.15E 01 0.2E 02", "line 2"),
        ("1.5 2-0-1", "line 2"),
        ("1,234.5; 20", "groups thousands"),
        ("1.234,5; 20", "groups thousands"),
        ("1,2,3; 20", "groups thousands"),
    ],
)
def test_a_first_row_that_cannot_be_read_is_no_header(tmp_path, first, why):
    with pytest.raises(InputError, match=why):
        read(tmp_path, f"# meV\n{first}\n" + rows("{} {}"))


@pytest.mark.parametrize(
    "lines",
    [
        ["1,5,0,20", "3,0,0,20", "4,5,0,21"],
        ["1,5,20", "3,0,20", "4,5,21", "6,0,22"],
        ["10,0,20", "10,5,20", "11,0,21", "11,5,22"],
        ["1,5,2,0,4,1", "3,0,2,0,4,2"],
        ["1,5, 20", "3,0, 20", "4,5, 21"],
        ["1,5, 20,0, 4,5", "3,0, 20,0, 4,5"],
        ["10,0,20", "11,0,20", "12,0,21", "13,0,21", "14,0,25"],
    ],
)
def test_commas_that_could_be_decimal_are_refused_by_name(tmp_path, lines):
    with pytest.raises(InputError, match="could be decimal commas"):
        read(tmp_path, "Energy (meV),Counts\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "lines",
    [
        ["10,20", "12,25", "14,21"],
        ["10,20,4", "12,25,5", "14,21,4"],
        ["1.5,20,4", "3,21,4"],
        ["10, 20, 4", "12, 25, 5"],
    ],
)
def test_whole_numbers_with_commas_between_are_columns(tmp_path, lines):
    found = read(tmp_path, "meV\n" + "\n".join(lines))
    assert found.frequency[0].item() == pytest.approx(
        float(lines[0].split(",")[0]) * 8.06554, rel=1e-5
    )


def test_a_text_among_the_rows_is_named(tmp_path):
    with pytest.raises(InputError, match="line 32: 'end of file' is no row"):
        read(tmp_path, "# meV\n" + rows() + "end of file\n")


@pytest.mark.parametrize("energy", ["nan", "inf", "1e999"])
def test_an_energy_that_is_no_number_is_refused(tmp_path, energy):
    with pytest.raises(InputError, match="cannot use the energies: it holds NaN or infinity"):
        read(tmp_path, f"# meV\n0.5 20\n{energy} 20\n" + rows())


# Blocks and columns.


@pytest.mark.parametrize("mark", ["1", " 7 ", str(len(ENERGY))])
def test_the_number_of_a_spectrum_or_of_points_before_the_rows(tmp_path, mark):
    found = read(tmp_path, f"# X (meV), Y, E\n{mark}\n" + rows("{} , {} , 4.0"))
    assert len(found.frequency) == len(ENERGY)
    assert found.error.unique().tolist() == [4]


def test_several_spectra_are_refused(tmp_path):
    block = rows("{},{},4.0")
    with pytest.raises(InputError, match=r"lines with one number \(1, 2\) begin each"):
        read(tmp_path, f"# X (meV), Y, E\n1\n{block}2\n{block}")


@pytest.mark.parametrize(
    ("header", "form"),
    [
        (",energy_meV,counts", "{i},{e},{c}"),
        ("index;Energy (meV);Counts;Error", "{i};{e};{c};4.0"),
        ("# no  E/meV  I  dI", "{i} {e} {c} 4.0"),
        ("# meV", "{i} {e} {c} 4.0"),
        ("# meV", "{i} {e} {c}"),
    ],
)
@pytest.mark.parametrize("start", [0, 1])
def test_a_column_that_only_counts_is_left_out_and_told(tmp_path, header, form, start):
    lines = [
        form.format(i=i, e=e, c=c)
        for i, (e, c) in enumerate(zip(ENERGY, COUNTS, strict=True), start)
    ]
    found = read(tmp_path, "\n".join([header, *lines]) + "\n")
    assert found.intensity.tolist() == COUNTS.tolist()
    assert found.frequency.numpy() == pytest.approx(ENERGY * FREQUENCY_UNITS["meV"])
    assert found.notes == ("its first column only counts: left out",)


def test_energies_in_steps_of_one_are_no_index(tmp_path):
    energy = np.arange(len(COUNTS))
    found = read(tmp_path, "# energy (meV)  counts  error\n" + rows("{} {} 4.0", energy))
    assert (found.intensity.tolist(), found.notes) == (COUNTS.tolist(), ())


def test_an_index_without_energies_is_refused(tmp_path):
    with pytest.raises(InputError, match="only counts the rows"):
        read(tmp_path, "index,counts\n" + rows("{},{}", np.arange(len(COUNTS))), "meV")


def test_columns_in_another_order_are_refused(tmp_path):
    with pytest.raises(InputError, match="'Counts' stands before 'Energy \\(meV\\)'"):
        read(tmp_path, "Counts,Energy (meV)\n5,1.5\n6,3.0\n")


def test_widths_of_mantid_are_left_out_and_told(tmp_path):
    found = read(tmp_path, "# X , Y , E , DX\n" + rows("{} , {} , 4.0 , 0.1"), "meV")
    assert found.notes == ("its column 'DX' is not used",)
    assert table_of("# a , b , c , d\n1 2 3 4\n2 3 4 5").names == ("a", "b", "c", "d")


# Units.


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("Temperature (K): 5.0   Ei (meV) 100\nEnergy transfer (meV)   S   dS", "meV"),
        ("T [K] = 300\nwavenumber intensity", "cm-1"),
        ("T = 300 K, Ei = 100 meV\nwavenumber (cm-1), S", "cm-1"),
        ("Ei: 25meV; resolution 0.5 meV\nfrequency_THz,dos", "THz"),
        ("measured at (300 K)\nE [meV], S", "meV"),
        ("Temperature (K)\tEnergy (meV)", "meV"),
        ("Energy (meV)  DOS (states/THz)", "meV"),
        ("energy_meV,counts", "meV"),
        ("Raman shift (cm\u22121)", "cm-1"),
        ("$\\omega$ (cm$^{-1}$)", "cm-1"),
        ("shift [cm\u20131]", "cm-1"),
        ("cm**-1", "cm-1"),
        ("E (K)", "K"),
        ("Ei = 100 meV", None),
        ("T = 5 K", None),
        ("Temperature (K): 5", None),
        ("energy (\u00b5eV)", None),
        ("energy (meV) or wavenumber (cm-1)", None),
    ],
)
def test_the_unit_is_that_of_the_energies(header, unit):
    assert unit_named(header) == unit


def test_two_units_are_named_and_one_of_them_may_be_asked_for(tmp_path):
    text = "# meV THz\n" + rows()
    with pytest.raises(InputError, match="its header names two units, meV and THz"):
        read(tmp_path, text)
    assert read(tmp_path, text, "meV").unit == "meV"
    with pytest.raises(InputError, match="names meV and THz, and cm-1 was asked for"):
        read(tmp_path, text, "cm-1")


@pytest.mark.parametrize("unit", ["eV", "\u00b5eV", "GHz", "kJ/mol"])
def test_units_that_are_not_read_are_named(tmp_path, unit):
    assert other_unit(f"Energy ({unit}), S") == unit
    assert units_named(f"Energy ({unit}), S") == []
    for asked in (None, "meV"):
        with pytest.raises(InputError, match=f"its header names {unit}"):
            read(tmp_path, f"# Energy ({unit})  S\n" + rows(), asked)


def test_headers_in_latin_1(tmp_path):
    assert (
        read(tmp_path, "# Q = 2 \u00c5-1\n# E (meV)\n".encode("latin-1") + rows().encode()).unit
        == "meV"
    )


# Energy gain and the elastic line.


def scattering(low, elastic=5000.0):
    energy = np.arange(low, 40, 1.0)
    height = (
        10 + 300 * np.exp(-(((energy - 20) / 5) ** 2)) + elastic * np.exp(-((energy / 1.2) ** 2))
    )
    return energy, height


def lines_of(energy, height, error=4.0):
    return "# E (meV)\n" + "".join(
        f"{e} {h:.3f} {error}\n" for e, h in zip(energy, height, strict=True)
    )


@pytest.mark.parametrize("low", [-10.0, -0.5, 0.0, 0.5])
def test_the_elastic_line_is_cut_wherever_the_axis_begins(tmp_path, low):
    found = read(tmp_path, lines_of(*scattering(low)))
    first = found.frequency[0].item() / FREQUENCY_UNITS["meV"]
    assert 2 < first <= 4
    assert found.intensity[:3].max() < 150
    assert len(found.notes) == 1 + (low < 0)


@pytest.mark.parametrize("low", [0.0, 0.5, 5.0])
def test_a_spectrum_without_an_elastic_line_is_whole(tmp_path, low):
    energy, height = scattering(low, elastic=0.0)
    found = read(tmp_path, lines_of(energy, height))
    assert (len(found.frequency), found.notes) == (len(energy), ())


def test_a_spectrum_that_falls_all_along_has_no_elastic_line(tmp_path):
    energy = np.arange(0.0, 40)
    assert read(tmp_path, lines_of(energy, 100 * np.exp(-energy / 20))).notes == ()


def test_energies_all_below_zero_are_refused_with_the_cure(tmp_path):
    with pytest.raises(InputError, match="change the sign of the energies"):
        read(tmp_path, lines_of(-ENERGY[::-1], COUNTS))


def test_a_measurement_read_as_a_spectrum_warns_of_what_was_cut(tmp_path):
    (tmp_path / "a.dat").write_text(lines_of(*scattering(0.0)))
    with pytest.warns(UserWarning, match=r"a\.dat: its elastic line, up to"):
        Spectrum.read(tmp_path / "a.dat", unit="meV")
