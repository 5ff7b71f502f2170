"""The network derived from a genotype, and its training."""
