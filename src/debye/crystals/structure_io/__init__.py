"""Structure files in and out."""
