"""Densities of states and what follows from them."""
