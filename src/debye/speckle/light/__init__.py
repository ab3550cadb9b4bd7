"""From a state to what a detector records, and what its correlations say."""
