"""Which pictures belong together: tables, reading, loading into batches."""
