"""What an index knows of its own reliability, from photos of known place."""
