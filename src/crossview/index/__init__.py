"""The index of a region: how it is built, and the vectors, places and thumbnails it holds."""
