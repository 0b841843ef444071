"""The embedded world: geometry seen from above and from the ground.

Seeded procedural towns, rendered twice; and real orthophotos, of which only the ground picture is
rendered. Nothing that is drawn here is a picture of Earth, and every drawn file says so.
"""
