"""The published cases, one file each, and what they share: parameters, tables, pages."""
