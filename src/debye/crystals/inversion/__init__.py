"""From a spectrum back to what was measured: rank, refine, design."""
