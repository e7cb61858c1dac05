"""Does a sweep run here at all: four short trials on the built-in catalogue.

    python jobs/tune.py --tune.space smoke

Hardware: 2 cores. Minutes: 4.
"""

from bifair_dist.experiments.space import Range, Space

SPACE = Space(
    name="smoke",
    about="four short trials",
    domains={"bilevel.eta": Range(1e-4, 3e-3, log=True), "balance.fairness_strength": Range(0.1, 0.5)},
    fixed={"training.max_epochs": 20, "training.bilevel_epochs": 10, "training.eval_every": 2},
    trials=4,
    search="random",
)
