"""What both halves share and neither owns."""

VERSION = "0.2.0"
