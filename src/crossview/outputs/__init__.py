"""Answers as things people use: a table, text formats for other programs, and one map page."""
