"""The step of a phase in numbers, from the settings of a run and the sizes of its data."""

from __future__ import annotations

from bifair_dist.bilevel.weights.registry import RULES
from bifair_dist.cost.work import Sizes, Work
from bifair_dist.training.methods.registry import method_of
from bifair_dist.training.phases import Phase
from bifair_dist.training.settings import TrainSettings


def work_of(settings: TrainSettings, sizes: Sizes, phase: Phase, workers: int) -> Work:
    """The step of `phase` under these settings."""
    model, bilevel, balance = settings.model, settings.bilevel, settings.balance
    ids, linear = settings.training.id_embeddings, model.projector == "linear"
    hidden = model.embedding_dim if linear else model.hidden
    # Where Z stands still and pooling comes first, the trainer pools once and not in every step.
    fixed = ids or model.users == "frozen" or (not phase.train_z and hidden > sizes.width)
    method = method_of(settings)
    layers = method.layers(settings)
    return Work(
        workers=workers,
        n_items=sizes.items,
        n_users=sizes.users,
        n_pairs=sizes.pairs,
        d=model.embedding_dim if ids else sizes.width,
        h=model.hidden,
        k=model.embedding_dim,
        batch=settings.training.batch_size,
        negatives=min(model.num_negatives, sizes.items),
        n_groups=sizes.groups if phase.fair else 0,
        layers=layers,
        linear=linear,
        shared=model.negative_sampling == "shared",
        follow=not fixed,
        masked=model.exclude_known,
        # ips weights positives by counts that stand still: nothing is recomputed.
        balanced=phase.fair and balance.fairness_strength > 0 and not RULES[balance.rule].weighs_items,
        gram=RULES[balance.rule].needs_gram,
        across=RULES[balance.rule].across,
        refresh=balance.refresh,
        exact=bilevel.hypergradient == "exact",
        penalty=bilevel.hypergradient == "penalty",
        xi=bilevel.xi,
        inner_steps=bilevel.inner_steps if phase.train_theta else 1,
        train_theta=phase.train_theta,
        train_z=phase.train_z,
        offload=settings.deepspeed.offload_z_adam,
        average=settings.training.average > 0,
        element=8 if model.dtype == "float64" else 4,
        ids=ids,
        own_rows=getattr(method, "l2", 0) > 0 and layers > 0,  # MF's own rows are its outputs
        interval=phase.interval if model.propagation == "cached" else 0,
        history=settings.cached.history if phase.train_z and not fixed else 0,
        next_outer=phase.fair and settings.outer_data != "same",
        weighs_outer=balance.losses == "outer",
        z_at=model.z_device,
    )
