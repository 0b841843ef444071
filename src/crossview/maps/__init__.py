"""Answers as things people use: a table, JSON lines, GeoJSON, KML and a self-contained map page."""
