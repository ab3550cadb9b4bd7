"""Lattice dynamics: force constants → dynamical matrix → frequencies and bands."""
