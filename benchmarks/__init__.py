"""Measurements against peers, one file each; ``make bench`` lists them."""
