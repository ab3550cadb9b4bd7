"""Fit, cross-validate, evaluate."""
