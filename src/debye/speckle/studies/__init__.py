"""The published cases: their parameters, how they are run and how they are judged."""
