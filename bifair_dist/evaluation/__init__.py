"""Sharded full ranking, accuracy and fairness metrics, bootstrap intervals."""

from bifair_dist.evaluation.bootstrap import bootstrap_intervals
from bifair_dist.evaluation.groups import GroupMembership
from bifair_dist.evaluation.metrics import EvaluationResult, evaluate
from bifair_dist.evaluation.ranking import full_ranking

__all__ = ["EvaluationResult", "GroupMembership", "bootstrap_intervals", "evaluate", "full_ranking"]
