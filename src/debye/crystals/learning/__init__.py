"""Learning: labelled crystals, the loss, training, and how good the result is."""
