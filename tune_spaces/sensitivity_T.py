"""How much the number of Frank-Wolfe steps T matters: a grid, three seeds for each point.

    python jobs/tune.py --tune.space sensitivity_T --tune.scheduler none --data.dataset DATASET

Hardware: 2 cores, two trials at a time. Minutes: about 60 on steam for 5 points and 3 seeds.
"""

from bifair_dist.experiments.space import Choice, Space

SPACE = Space(
    name="sensitivity_T",
    about="Frank-Wolfe steps T",
    # At T = 1 the plain 2/(t+2) rule would return a vertex; with the line search it is one exact step.
    domains={"balance.frank_wolfe_steps": Choice((1, 2, 5, 20, 100))},
    # At floor 0 the weights are the solver's alone; at the default .5 half of them are uniform and T shows less.
    fixed={"balance.rule": "entropy", "balance.entropy_floor": 0.0},
    search="grid",
    seeds=(0, 1, 2),
)
