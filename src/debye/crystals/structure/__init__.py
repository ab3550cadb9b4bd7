"""Crystals, their elements, symmetry and alloys; no files."""
