"""Losses: vectors in, one scalar out."""
