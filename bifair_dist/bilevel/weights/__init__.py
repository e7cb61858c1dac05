"""Weights of the groups' losses (docs in `rule.py` and `balance.py`)."""
