"""The model: Graph → network → densities of states, or force constants."""
