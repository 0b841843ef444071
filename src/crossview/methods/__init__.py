"""The catalogue of methods: one page per paper. Only ``catalogue`` and tests import it."""
