"""Measuring: relations, exact ranks, figures with intervals, tests, and records of all that."""
