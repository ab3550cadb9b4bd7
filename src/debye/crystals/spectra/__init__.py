"""Spectra: the density of states as a type, and what follows from it by integration."""
