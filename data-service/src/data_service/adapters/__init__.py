"""Parquet files, NATS and Redis."""
