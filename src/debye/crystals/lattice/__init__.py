"""Lattice dynamics: force constants → dynamical matrix → frequencies, bands, densities of states."""
