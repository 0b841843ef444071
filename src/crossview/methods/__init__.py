"""The catalogue of methods: one page per paper. Only ``wiring`` and tests import it."""
