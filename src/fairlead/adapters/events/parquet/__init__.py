"""Prediction events in Parquet files, in a folder or in S3."""
