"""crossview: where on the map was this picture taken, from imagery seen from above."""

__version__ = "0.1.0"
