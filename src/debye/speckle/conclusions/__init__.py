"""What follows from a fitted system: its formula, what comes next, what to measure next."""
