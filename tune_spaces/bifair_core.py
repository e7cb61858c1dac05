"""The four numbers of the bi-level step: eta, xi, eps and T.

    python jobs/tune.py --tune.space bifair_core --data.dataset DATASET

Hardware: 2 cores, two trials at a time. Minutes: about 60 on steam (3,370 users, 2,142 items) for 24 trials.
"""

from bifair_dist.experiments.space import Range, Space

SPACE = Space(
    name="bifair_core",
    about="eta, xi, eps and T of the bi-level step",
    domains={
        # Adam's step on Z. Rows of unit length: 1e-2 moves an entry by its own size in a few steps, 1e-5 by nothing
        # within the epochs of a run. All trials above 2e-3 were the worst (docs/tuning.md).
        "bilevel.eta": Range(1e-5, 1e-3, log=True),
        # Unroll step. The second-order term is xi times a difference of gradients: at .01 it is four times the
        # first-order term on a trained AlphaRec, at 1e-3 a seventh of it (docs/archive/results-2026-11-24.md).
        "bilevel.xi": Range(1e-5, 1e-2, log=True),
        # Length of the perturbation e v of theta. Below 1e-4 float32 rounding shows in the difference, above 0.1 the
        # curvature of the third order (docs/hypergradient.md).
        "bilevel.eps": Range(1e-3, 1e-1, log=True),
        # Frank-Wolfe steps with a line search: the gap is below 1e-3 after some twenty.
        "balance.frank_wolfe_steps": Range(1, 50, log=True),
    },
    trials=24,
)
