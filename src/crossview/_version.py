"""The version of this package, which files and records name."""

__version__ = "0.1.0"
