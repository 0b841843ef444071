"""The catalogue of data sets: one page each, official lists in, PairTables out."""
