"""Where on Earth: points, footprints, tilings, metres and bearings. Knows nothing of images."""
