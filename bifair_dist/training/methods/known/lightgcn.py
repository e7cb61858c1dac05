"""LightGCN: id embeddings propagated over the graph of users and items."""

from typing import ClassVar

from bifair_dist.training.methods.on_ids import OnIds


class LightGcnMethod(OnIds):
    """As many layers as `model.num_layers`."""

    name: ClassVar[str] = "lightgcn"
    about: ClassVar[str] = "the same with propagation"
    source: ClassVar[str] = "He et al., SIGIR 2020"
