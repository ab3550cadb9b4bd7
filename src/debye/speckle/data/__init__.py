"""Frames in memory and in files."""
