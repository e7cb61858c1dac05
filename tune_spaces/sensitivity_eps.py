"""How much the finite-difference scalar eps matters: a grid, three seeds for each point.

    python jobs/tune.py --tune.space sensitivity_eps --tune.scheduler none --data.dataset DATASET

Hardware: 2 cores, two trials at a time. Minutes: about 60 on steam for 5 points and 3 seeds.
"""

from bifair_dist.experiments.space import Choice, Space

SPACE = Space(
    name="sensitivity_eps",
    about="length eps of the finite-difference perturbation",
    # From where float32 rounding shows to where the third order does.
    domains={"bilevel.eps": Choice((1e-4, 1e-3, 1e-2, 1e-1, 1.0))},
    search="grid",
    seeds=(0, 1, 2),
)
