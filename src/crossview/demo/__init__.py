"""The demonstration: one town never seen in training, from rendering to the map page."""
