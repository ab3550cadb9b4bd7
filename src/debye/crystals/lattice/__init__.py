"""Lattice dynamics: force constants → dynamical matrix → frequencies, bands, density of states."""
