"""Table checks: schemas that are inferred once and tested against."""
