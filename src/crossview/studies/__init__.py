"""Studies: one command trains, evaluates and tabulates the rows of an ablation, seed by seed."""
