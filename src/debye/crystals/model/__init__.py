"""The model: Graph → network → densities of states, and predictions from a model file."""
