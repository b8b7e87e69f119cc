"""Tables in files through Arrow: Parquet, CSV, JSON Lines."""
