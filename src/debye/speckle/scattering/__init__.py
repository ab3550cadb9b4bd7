"""What a detector sees of a state: probe, scattering, photons."""
