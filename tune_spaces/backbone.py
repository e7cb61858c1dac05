"""The AlphaRec backbone itself, for accuracy: temperature, hidden width, layers, learning rate, negatives.

    python jobs/tune.py --tune.space backbone --data.dataset DATASET

Hardware: 2 cores. Minutes: about 90 on steam for 16 trials; each trains from nothing, on the plain loss.
"""

from bifair_dist.experiments.space import Choice, Range, Space

SPACE = Space(
    name="backbone",
    about="temperature, hidden width, layers, learning rate and negatives of AlphaRec",
    domains={
        "model.temperature": Range(0.1, 0.3),  # AlphaRec: .15 for books and films, .2 for games
        "model.hidden": Choice((64, 128, 256, 512)),  # AlphaRec chooses it for a parameter count
        "model.num_layers": Choice((1, 2, 3)),  # LightGCN: two or three; more smooths users into one another
        "training.theta_lr": Range(1e-4, 3e-3, log=True),  # AlphaRec: 5e-4
        "model.num_negatives": Choice((128, 256, 512)),  # of a pool that the batch shares
    },
    # Accuracy only: a trial on the plain loss, whose CV is what it is.
    fixed={"training.method": "alpharec"},
    trials=16,
    warm_start=False,
)
