"""Structure → spectrum: the phonon density of states of a crystal from its structure."""
