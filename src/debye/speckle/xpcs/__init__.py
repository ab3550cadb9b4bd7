"""XPCS: correlations of frames."""
