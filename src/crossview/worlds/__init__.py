"""The embedded world: seeded procedural towns seen from above and from their streets.

One geometry, two pictures. Nothing here is a picture of Earth, and every file says so.
"""
