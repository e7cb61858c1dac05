"""Raw formats in, dataset folder out: sources, k-core, splits, groups, writer and reader. Knows nothing of models."""
