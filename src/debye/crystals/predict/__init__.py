"""A model file, structures in, predictions out."""
