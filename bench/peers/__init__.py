"""What relo_ingest is measured against."""
