"""BiFair (arXiv 2507.04294), distributed: fairness-aware training of recommenders on LLM item embeddings."""

__version__ = "0.1.0"
