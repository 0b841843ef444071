"""From a photo to ranked places, and how far they can be trusted."""
