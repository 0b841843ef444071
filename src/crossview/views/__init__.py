"""What an image shows: size, field of view, heading; decoding; re-projection; paired transforms."""
