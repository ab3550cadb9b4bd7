"""Labelled crystals and their splits."""
