"""AlphaRec with a step that costs what its batch costs: cached propagation with a fitted drift.

LightGCN is linear: out = P x, x = g_theta(inputs), P fixed by the graph. Between two full passes x drifts, and a batch
needs P x of its own nodes n alone: the old value, and P applied to the drift. The drift of all nodes is close to one
affine map of what they were and of how they moved before. The batch's nodes determine that map, and P of it is known:

    refresh (every R steps, no gradient, refresh.py)
        zbar = pool(Z)   [U, d],     X = g(zbar; Z)   [U + N, k],     Y = P X;     once: r = P 1,     p = diag P
        X', Y': those of the refresh before
    step
        inputs  items Z_i, users zbar_u + (mean over a few items j drawn of the user's history of Z_j - the same, fixed)
        F = [X_n, X_n - X'_n, 1],    S = (F'F + ridge diag(F'F))^-1 F'                        in float64, no gradient
        D = g(inputs_n) - X_n,    M = S D                                                     differentiable
        out_n = Y_n + [Y_n, Y_n - Y'_n, r_n] M + p_n (D - F M)

Exact where D = 0, and where the drift is an affine map of the features (up to the ridge). The last interval's drift is
a feature because this one's goes on in much the same way, and its P is at hand: it explains a third of what X alone
leaves (docs/scale.md). M carries a gradient also where D = 0: without it the gradient is that of historical embeddings
(GNNAutoScale, ICML 2021), which see only a node's own drift. The mean of the drawn items is zero in value and has the
expectation of the pooled inputs as its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from bifair_dist.errors import UserError
from bifair_dist.model.alpharec import AlphaRec
from bifair_dist.model.batch import Batch
from bifair_dist.model.graph import Graph
from bifair_dist.model.infonce import info_nce
from bifair_dist.model.projector import Theta, first, second
from bifair_dist.model.refresh import own_weight, projected, propagated, reach, user_inputs


class Nodes(Protocol):
    """The distinct nodes of a batch, as seen from where some of their rows are held."""

    @property
    def users(self) -> Tensor:
        """The batch's users held here, by row: int64 [a]."""
        ...

    @property
    def items(self) -> Tensor:
        """Its items held here, by row: int64 [b]."""
        ...

    @property
    def item_at(self) -> Tensor:
        """Where these items are among the rows of Z that the step takes: int64 [b]."""
        ...

    def history(self, z: Tensor) -> Tensor:
        """Zeros [a, d] whose gradient reaches the drawn items' rows of `z` [t, d], wherever they are held."""
        ...

    def total(self, tensor: Tensor, tag: str) -> Tensor:
        """Sum over the places, differentiable."""
        ...

    def examples(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the nodes held here [a + b, k] -> full rows of this place's slice: users, positives, negatives."""
        ...


class Touching(Protocol):
    """Finds the rows that batches touch. The answer for one and for several places: `bifair_dist.parallel.touched`."""

    def own(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Rows held here of matrices of all users and of all items."""
        ...

    def find(self, batches: Sequence[Batch]) -> tuple[Tensor, list[Nodes]]:
        """Rows of Z held here that a step on these batches takes, int64 [t] ascending, and each batch's nodes."""
        ...


@dataclass(frozen=True, slots=True)
class Pass:
    """Both sides' X and Y [., k], rows held here."""

    users: Tensor
    items: Tensor
    out_users: Tensor
    out_items: Tensor

    @classmethod
    def of(cls, full: AlphaRec, users: Tensor, items: Tensor, old: Pass | None = None) -> Pass:
        """From X; Y is written over that of `old`."""
        return cls(
            users, items, *propagated(full, users, items, None if old is None else (old.out_users, old.out_items))
        )

    def at(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """(X, Y) of some rows, users first."""
        sides = ((self.users, self.items), (self.out_users, self.out_items))
        x, out = (torch.cat([u.index_select(0, users), i.index_select(0, items)]) for u, i in sides)
        return x, out


@dataclass(slots=True)
class Cache:
    """What two refreshes leave, rows held here: users' inputs [m_users, d], and the outputs of this and the last."""

    inputs: Tensor
    now: Pass
    before: Pass


@dataclass(frozen=True, slots=True)
class Fit:
    """A batch's part of the cache and S as a Cholesky factor; what is fixed while its passes are made."""

    nodes: Nodes
    inputs: Tensor  # of its users [a, d]
    x: Tensor  # X_n [a + b, k]
    features: Tensor  # F [a + b, f], float64
    out: Tensor  # Y_n
    out_features: Tensor  # P F of the nodes, [a + b, f]
    gram: Tensor  # F'F over all places [f, f], float64
    factor: Tensor  # of F'F + ridge diag(F'F) [f, f], float64
    own: Tensor  # p_n [a + b, 1]


@dataclass(slots=True)
class CachedAlphaRec:
    """`Backbone` whose losses read the cache; its `z` are the rows that `select` named. Rankings propagate in full."""

    full: AlphaRec
    touching: Touching
    ridge: float = 1e-3
    cache: Cache | None = None
    explained: Tensor = field(default_factory=lambda: torch.ones(()))
    """R^2 of the last fit over all places: the share of the batch's drift, in squares, that the affine map explains."""
    _own: tuple[Tensor, Tensor] | None = None
    _fits: list[tuple[Batch, Fit]] = field(default_factory=list)

    @property
    def graph(self) -> Graph:
        """The training graph."""
        return self.full.graph

    @torch.no_grad()
    def refresh(self, theta: Theta, z: Tensor, *, pool: bool = True) -> None:
        """Fill the cache at (theta, Z [m, d]); without `pool` the users' inputs stay, which is right where Z did."""
        cache = self.cache
        # What the pass before the last had is no longer needed, and gives its memory to the new one.
        inputs, old = (None, None) if cache is None else (cache.inputs, cache.before)
        if cache is None or cache.before is cache.now or not len(cache.before.out_users):
            old = None
        if pool or inputs is None:
            inputs = user_inputs(self.full, z, inputs)
        x_users = projected(theta, inputs, None if old is None else old.users)
        x_items = projected(theta, z, None if old is None else old.items)
        now = Pass.of(self.full, x_users, x_items, old)
        self.cache = Cache(inputs, now, now if cache is None else cache.now)

    def use(self, full: AlphaRec, touching: Touching) -> None:
        """Another graph from now on; what is cached is of the one before until it is filled again."""
        self.full, self.touching, self._own = full, touching, None

    @torch.no_grad()
    def load(self, inputs: Tensor, now: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor]) -> None:
        """Fill the cache from users' inputs and X of both refreshes (users, items), rows held here."""
        fixed = self.full.user_inputs
        self.cache = Cache(inputs if fixed is None else fixed, Pass.of(self.full, *now), Pass.of(self.full, *before))

    @torch.no_grad()
    def select(self, *batches: Batch) -> Tensor:
        """Rows of Z held here that a step on these batches takes, int64 [t]; every pass of the step reads the same."""
        rows, nodes = self.touching.find(batches)
        self._fits = [(batch, self._fit(n)) for batch, n in zip(batches, nodes, strict=True)]
        return rows

    def example_losses(self, theta: Theta, z: Tensor, batch: Batch) -> Tensor:
        """InfoNCE of the examples in this worker's slice, [b]. `z` [t, d]: the rows that `select` named."""
        fit = next(f for known, f in self._fits if known is batch)
        inputs = fit.inputs
        if z.requires_grad and self.full.user_inputs is None:
            inputs = inputs + fit.nodes.history(z)
        nodes = torch.cat([inputs, z.index_select(0, fit.nodes.item_at)])
        outputs = self._outputs(fit, second(theta, first(theta, nodes)))
        u, plus, minus = fit.nodes.examples(outputs, batch)
        return info_nce(u, plus, minus, batch.masked, self.full.tau)

    def node_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs as the rows held here, propagated in full; `z` [m, d] are all rows held here."""
        return self.full.node_rows(theta, z)

    def ranking_rows(self, theta: Theta, z: Tensor) -> tuple[Tensor, Tensor]:
        """The same, each of length 1."""
        return self.full.ranking_rows(theta, z)

    def _outputs(self, fit: Fit, x: Tensor) -> Tensor:
        """out_n from x_n [a + b, k], at the head of this file."""
        drift = x - fit.x
        wide = drift.double()
        squares = wide.detach().square().sum(0, keepdim=True)
        sums = fit.nodes.total(torch.cat([fit.features.T @ wide, squares]), "fit")
        fitted = torch.cholesky_solve(sums[:-1], fit.factor)
        self.explained = _explained(fit.gram, sums.detach(), fitted.detach(), torch.finfo(drift.dtype).eps)
        rest = drift - (fit.features @ fitted).to(drift)
        return fit.out + fit.out_features @ fitted.to(drift) + fit.own * rest

    def _fit(self, nodes: Nodes) -> Fit:
        cache = self.cache
        if cache is None:
            raise RuntimeError("select before the first refresh")
        if self._own is None:
            weights = zip(own_weight(self.graph, self.full.layers), reach(self.graph, self.full.layers), strict=True)
            self._own = self.touching.own(*(torch.cat(side, dim=1) for side in weights))

        x, out = cache.now.at(nodes.users, nodes.items)
        x_before, out_before = cache.before.at(nodes.users, nodes.items)
        own = torch.cat([self._own[0].index_select(0, nodes.users), self._own[1].index_select(0, nodes.items)])
        features = torch.cat([x, x - x_before, x.new_ones(x.shape[0], 1)], dim=1).double()
        gram = nodes.total(features.T @ features, "fit")
        # Each feature is penalised by its own size. One that is zero (there is no drift yet) gets no share of the map.
        penalty = (self.ridge * gram.diagonal()).clamp(min=torch.finfo(gram.dtype).tiny ** 0.5)
        return Fit(
            nodes=nodes,
            inputs=cache.inputs.index_select(0, nodes.users),
            x=x,
            features=features,
            out=out,
            out_features=torch.cat([out, out - out_before, own[:, 1:]], dim=1),
            gram=gram,
            factor=_factor(gram + torch.diag(penalty), self.ridge),
            own=own[:, :1],
        )


def _factor(matrix: Tensor, ridge: float) -> Tensor:
    """Its Cholesky factor. Raises `UserError` where there is none, on all workers alike: they have the same sums."""
    try:
        return torch.linalg.cholesky(matrix)
    except torch.linalg.LinAlgError:
        if not bool(matrix.isfinite().all()):
            raise UserError(
                "cached propagation: the cached representations are no numbers any more; lower --training.theta_lr, "
                "--bilevel.theta_lr or --bilevel.eta"
            ) from None
        raise UserError(
            f"cached.ridge: with {ridge:g} the fit of a batch has no solution (its features depend on each other); "
            "take a larger one (1e-3 is the default)"
        ) from None


def _explained(gram: Tensor, sums: Tensor, fitted: Tensor, eps: float) -> Tensor:
    """1 - |D - F M|^2 / |D|^2 from F'F, (F'D, squares of D by column) and M; 1 where nothing drifted.

    Right after a refresh D is what rounding leaves of X - X (`eps`: that of X's number format), and a share of it says
    nothing and differs between machines; so a drift up to 32 eps |X| counts as none.
    """
    squares, product = sums[-1].sum(), sums[:-1]
    share = (2 * (fitted * product).sum() - (fitted * (gram @ fitted)).sum()) / squares
    size = gram.diagonal()[: product.shape[1]].sum()  # |X|^2: the first k features are X
    return torch.where(squares > (32 * eps) ** 2 * size, share, 1.0)
