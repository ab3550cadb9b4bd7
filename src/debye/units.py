"""One table of physical constants and conversion factors; nobody else converts.

Inside debye frequencies are wavenumbers in cm⁻¹, temperatures in K, lengths in Å
and masses in u. The SI constants are exact since 2019; the atomic mass constant is CODATA 2022.
"""

from __future__ import annotations

from debye.errors import InputError

H = 6.62607015e-34
"""Planck constant, J s."""
C = 299792458.0
"""Speed of light, m/s."""
E = 1.602176634e-19
"""Elementary charge, C; also one electronvolt in J."""
K_B = 1.380649e-23
"""Boltzmann constant, J/K."""
N_A = 6.02214076e23
"""Avogadro constant, 1/mol."""
U = 1.66053906892e-27
"""Atomic mass constant, kg."""
R = K_B * N_A
"""Gas constant, J/(mol K)."""
U_PER_A3_TO_G_PER_CM3 = U * 1e27
"""Density of 1 u/Å³, g/cm³: 1.6605."""

CM1_TO_J = 100.0 * H * C
"""Energy of one wavenumber, J."""
FORCE_CONSTANT_TO_CM1 = (E / U) ** 0.5 * 1e10 / (2 * 3.141592653589793 * 100.0 * C)
"""Wavenumber of √(1 eV/Å² / 1 u): ω = 521.47 √(Φ/m)."""
VELOCITY_TO_KM_S = (E / U) ** 0.5 * 1e-3
"""Velocity of √(1 eV / 1 u), km/s: 9.823; that is 1 Å times √(1 eV/Å² / 1 u)."""
STRESS_TO_GPA = E * 1e21
"""Pressure of 1 eV/Å³, GPa: 160.2."""
COULOMB = E / (4 * 3.141592653589793 * 8.8541878188e-12) * 1e10
"""e²/4πε₀ with ε₀ of CODATA 2022, eV Å: 14.40."""
CM1_TO_K = CM1_TO_J / K_B
"""Temperature of one wavenumber, K: x = h c ν / k_B T = 1.4388 ν / T."""

FREQUENCY_UNITS = {
    "cm-1": 1.0,
    "THz": 1e12 / (100.0 * C),
    "meV": 1e-3 * E / CM1_TO_J,
    "K": 1.0 / CM1_TO_K,
}
"""How many cm⁻¹ one unit of frequency (or of its energy) holds."""

TIME_UNITS = {
    name: factor
    for names, factor in (
        ("s sec second seconds", 1.0),
        ("ms msec millisecond milliseconds", 1e-3),
        ("us µs μs usec microsecond microseconds", 1e-6),
        ("ns nsec nanosecond nanoseconds", 1e-9),
        ("min minute minutes", 60.0),
        ("h hr hour hours", 3600.0),
    )
    for name in names.split()
}
"""How many seconds a unit of time holds."""

LENGTH_UNITS = {
    name: factor
    for names, factor in (
        ("m meter meters metre metres", 1.0),
        ("cm", 1e-2),
        ("mm millimeter millimeters", 1e-3),
        ("um µm μm micron microns micrometer micrometers", 1e-6),
        ("nm nanometer nanometers", 1e-9),
        ("å angstrom angstroms ångström", 1e-10),
    )
    for name in names.split()
}
"""How many metres a unit of length holds."""
PHOTON_UNITS = {"j": 1.0, "joule": 1.0, "ev": E, "kev": 1e3 * E}
"""How many joules a unit of the energy of photons holds."""


def frequency_factor(source: str, target: str) -> float:
    """Factor that turns a frequency in ``source`` into one in ``target``.

    Args:
        source: One of ``cm-1``, ``THz``, ``meV``, ``K``.
        target: Likewise.

    Returns:
        ``f`` such that a number in ``source`` times ``f`` is the number in ``target``.

    Raises:
        InputError: A unit is not in the table.

    Example:
        >>> round(frequency_factor("THz", "cm-1"), 4)
        33.3564
        >>> round(frequency_factor("THz", "meV"), 5)
        4.13567
    """
    for unit in (source, target):
        if unit not in FREQUENCY_UNITS:
            raise InputError(
                f"unknown frequency unit {unit!r}",
                why=f"known units are {', '.join(FREQUENCY_UNITS)}",
                fix="use one of them",
            )
    return FREQUENCY_UNITS[source] / FREQUENCY_UNITS[target]
