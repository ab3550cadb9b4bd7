"""Files of densities of states and of measured spectra."""
