"""From a method's page and a table of pairs to a trained network."""
