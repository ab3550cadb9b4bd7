"""Structures: the Crystal, what it is made of, and the files it comes in and goes to."""
