"""Photos taken on the ground at known places: one's own and others', and pairs made of them."""
