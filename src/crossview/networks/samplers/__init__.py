"""Samplers: a table (and perhaps neighbours) in, the row lists of one epoch out."""
