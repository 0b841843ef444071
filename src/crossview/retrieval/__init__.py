"""From embeddings to places: models, embedding, index, search, ranks. Runs without torch."""
