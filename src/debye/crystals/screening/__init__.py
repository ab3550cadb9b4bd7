"""Screening: millions of structures → shards → Parquet parts → a ranked table."""
