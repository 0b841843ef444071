"""Evaluations as one page: tables beside the published figures, curves, galleries, maps, tests."""
