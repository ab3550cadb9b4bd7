"""What both halves share and neither owns."""
