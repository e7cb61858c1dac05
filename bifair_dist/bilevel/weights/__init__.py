"""Weights of the groups' losses (docs in `rule.py` and `balance.py`)."""

from bifair_dist.bilevel.weights.balance import (
    GroupBalance,
    Pairs,
    example_coefficients,
    group_counts,
    group_losses,
)
from bifair_dist.bilevel.weights.registry import RULES, make_rule
from bifair_dist.bilevel.weights.rule import RuleContext, WeightRule

__all__ = [
    "RULES",
    "GroupBalance",
    "Pairs",
    "RuleContext",
    "WeightRule",
    "example_coefficients",
    "group_counts",
    "group_losses",
    "make_rule",
]
