"""How groups are weighted: rule, look-ahead rho, refresh and the strength of fairness.

    python jobs/tune.py --tune.space balance --data.dataset DATASET

Hardware: 2 cores, two trials at a time. Minutes: about 60 on steam for 24 trials.
"""

from bifair_dist.bilevel.weights.registry import RULES
from bifair_dist.experiments.space import Choice, Range, Space

SPACE = Space(
    name="balance",
    about="rule, rho, refresh and strength of the balance between groups",
    domains={
        # All rules that give groups weights by their losses or sizes; erm is the plain loss.
        "balance.rule": Choice(tuple(name for name, rule in RULES.items() if name != "erm" and not rule.weighs_items)),
        # Share of the way to the nearest zero of a predicted loss; at 1 the entropy is not defined (design: .3 to .9).
        "balance.rho": Range(0.3, 0.9),
        # Steps between weights. 1 costs a backward pass a group and step; at 50 they outlive an epoch of small data.
        "balance.refresh": Range(1, 50, log=True),
        # 0 is the plain loss; above .7 accuracy fell by tenths in every run so far.
        "balance.fairness_strength": Range(0.05, 0.7),
    },
    trials=24,
)
