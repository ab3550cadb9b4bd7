"""How strongly each element scatters neutrons."""

from __future__ import annotations

from debye.errors import Refusal

# fmt: off
CROSS_SECTIONS: dict[str, float] = {
    "H": 82.02, "He": 1.206, "Li": 1.37, "Be": 7.63, "B": 5.24, "C": 5.551, "N": 11.51,
    "O": 4.232, "F": 4.018, "Ne": 2.628, "Na": 3.28, "Mg": 3.71, "Al": 1.503, "Si": 2.167,
    "P": 3.312, "S": 1.026, "Cl": 16.8, "Ar": 0.683, "K": 1.96, "Ca": 2.83, "Sc": 23.5,
    "Ti": 4.35, "V": 5.1, "Cr": 3.49, "Mn": 2.15, "Fe": 11.62, "Co": 5.6, "Ni": 18.5,
    "Cu": 8.03, "Zn": 4.131, "Ga": 6.83, "Ge": 8.6, "As": 5.5, "Se": 8.3, "Br": 5.9,
    "Kr": 7.685, "Rb": 6.8, "Sr": 6.25, "Y": 7.7, "Zr": 6.46, "Nb": 6.255, "Mo": 5.71,
    "Tc": 6.3, "Ru": 6.6, "Rh": 4.6, "Pd": 4.48, "Ag": 4.99, "Cd": 6.5, "In": 2.62,
    "Sn": 4.892, "Sb": 3.9, "Te": 4.32, "I": 3.81, "Xe": 4.344, "Cs": 3.9, "Ba": 3.38,
    "La": 9.66, "Ce": 2.94, "Pr": 2.66, "Nd": 16.6, "Pm": 21.3, "Sm": 39.4, "Eu": 9.2,
    "Gd": 180, "Tb": 6.84, "Dy": 90.3, "Ho": 8.42, "Er": 8.7, "Tm": 6.38, "Yb": 23.4,
    "Lu": 7.2, "Hf": 10.2, "Ta": 6.01, "W": 4.6, "Re": 11.5, "Os": 14.7, "Ir": 14, "Pt": 11.71,
    "Au": 7.75, "Hg": 26.8, "Tl": 9.89, "Pb": 11.12, "Bi": 9.156, "Ra": 13, "Th": 13.36,
    "Pa": 10.5, "U": 8.908, "Np": 14.5, "Pu": 7.7, "Am": 9, "Cm": 11.3, "D": 7.64, "T": 3.03,
}
# fmt: on
"""Bound total (coherent and incoherent) scattering cross-section of each natural element, barn.

V. F. Sears, Neutron News 3(3), 26 (1992), with the later values of H. Rauch and W. Waschkowski,
Neutron Data Booklet (2003), and of J. Dawidowski et al., Experimental Methods in the Physical
Sciences 44, 471 (2013), as the public-domain package periodictable 2.1 gathers them.
"""


def cross_section(symbol: str) -> float:
    """Bound total scattering cross-section of an element, barn.

    Raises:
        Refusal: None is known.

    Example:
        >>> cross_section("V")
        5.1
    """
    if symbol not in CROSS_SECTIONS:
        raise Refusal(
            f"cannot weight the spectrum of {symbol} as neutrons would",
            why="no scattering cross-section of it is tabulated",
            fix="compare without --neutron, or leave the structure out",
        )
    return CROSS_SECTIONS[symbol]
