"""The backbone. Methods add settings of their own to this section (training/methods/)."""

from __future__ import annotations

from typing import Literal

from bifair_dist.settings import Settings, setting


class ModelSettings(Settings):
    """Backbone: projector or id embeddings, propagation and loss."""

    projector: Literal["mlp", "linear"] = setting(
        "mlp", "map from item vectors to the model's space", why="AlphaRec's choice; linear is its ablation"
    )
    hidden: int = setting(256, "hidden width of the mlp projector", unit="columns", why="fits encoders 384 wide", ge=1)
    embedding_dim: int = setting(64, "width of the model's space", unit="columns", why="AlphaRec's", was="output", ge=1)
    num_layers: int = setting(
        2, "LightGCN layers over the user-item graph", unit="layers", why="AlphaRec's", was="layers", ge=0
    )
    propagation: Literal["full", "cached", "auto"] = setting(
        "full",
        "over the whole graph in every step; or every --cached.interval steps, with a fit between them; "
        "auto: cached where the plan estimates that its steps take a third of the time or less",
        why="full is exact, cached costs a step what its batch costs, whatever the catalogue",
    )
    temperature: float = setting(
        0.15,
        "temperature of InfoNCE",
        unit="cosine",
        why="AlphaRec's for books and films; it takes 0.2 for games",
        was="tau",
        gt=0,
    )
    num_negatives: int = setting(256, "negatives per positive", unit="items", why="AlphaRec's", was="negatives", ge=1)
    negative_sampling: Literal["shared", "per_example"] = setting(
        "shared",
        "one pool of negatives for a whole batch, or a draw for each positive",
        why="a shared pool turns scoring into one matrix product",
    )
    exclude_known: bool = setting(
        True, "mask negatives that the user has in training", why="a known positive is no negative"
    )
    users: Literal["follow", "frozen"] = setting(
        "follow",
        "a user's input is the mean of the item vectors as they are now, or as they were at the start",
        why="follow is the model as defined; frozen moves fewer bytes between workers",
    )
    z_device: Literal["device", "cpu", "disk"] = setting(
        "device",
        "where Z, its moments and its average are: where the worker computes, in host memory, or in files on local "
        "disk that are mapped into memory; other places than the first need --model.propagation cached",
        why="a cached step takes few of their rows; the others are for catalogues that do not fit",
    )
    z_folder: str = setting(
        "",
        "folder for z_device disk, on a disk of each worker's machine",
        unit="path",
        why="empty: the system's for temporary files",
    )
    dtype: Literal["float32", "float64"] = setting(
        "float32", "number format of everything trained", why="float64 is for checks"
    )
