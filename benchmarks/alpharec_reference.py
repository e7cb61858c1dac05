"""AlphaRec's published training step, written plainly: the yardstick of `gpu.py`.

What the released code of AlphaRec (Sheng et al., ICLR 2025, arXiv 2407.05441) does in every step, in words of our own:

1. a user's input is the mean of its training items' vectors, computed once before training, U x d;
2. the projector Linear(d, h) -> LeakyReLU(0.01) -> Linear(h, k) runs over all users and all items;
3. two LightGCN layers: the product of the symmetrically normalised (U+N) x (U+N) adjacency in COO form with all rows,
   then the mean of layers 0..2;
4. 256 negatives for each of the 4,096 positives, drawn uniformly; InfoNCE on cosines; Adam with 5e-4.

It does nothing that the published step does not: no masks, no bi-level update, no fairness. The loss is the same
function of theta as that of `bifair_dist.model.alpharec` (tests/benchmarks/test_reference.py, float64, 1e-10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bifair_dist.model.projector import Theta

PARAMETERS = 4_718_592


def published_hidden(d: int) -> int:
    """h of AlphaRec for an encoder of width d.

    Its multipliers are 8 for BERT (d = 768), 1/2 at d = 3072 and 9/32 at d = 4096. All three make h d = 4,718,592: that
    is the rule. Below d = 768 it would give a multiplier above 8 (32 at d = 384), which was never published; there the
    multiplier stays 8, which also makes the yardstick faster, not slower.
    """
    return min(8 * d, PARAMETERS // d)


@dataclass(frozen=True, slots=True)
class Draw:
    """A batch: users and positives int64 [B], negatives int64 [B, K]."""

    users: Tensor
    positives: Tensor
    negatives: Tensor


class Reference(nn.Module):
    """The step on the pairs (user[e], item[e]), int64 [E], with fixed item vectors `z` [N, d]."""

    def __init__(
        self,
        user: Tensor,
        item: Tensor,
        n_users: int,
        z: Tensor,
        theta: Theta,
        *,
        layers: int = 2,
        tau: float = 0.15,
        batch: int = 4096,
        negatives: int = 256,
        lr: float = 5e-4,
    ) -> None:
        super().__init__()
        self.user, self.item, self.n_users, self.n_items = user, item, n_users, len(z)
        self.layers, self.tau, self.batch, self.negatives = layers, tau, batch, negatives
        h, d = theta["w1"].shape
        k = theta["w2"].shape[0]
        like: dict[str, Any] = {"dtype": z.dtype, "device": z.device}
        self.projector = nn.Sequential(nn.Linear(d, h, **like), nn.LeakyReLU(0.01), nn.Linear(h, k, **like))
        names = {"0.weight": "w1", "0.bias": "b1", "2.weight": "w2", "2.bias": "b2"}
        self.projector.load_state_dict({name: theta[ours] for name, ours in names.items()})
        self.user_degree = torch.bincount(user, minlength=n_users)
        item_degree = torch.bincount(item, minlength=len(z))
        self.item_inputs = z
        of_users = torch.sparse_coo_tensor(
            torch.stack([user, item]), z.new_ones(len(user)), (n_users, len(z)), check_invariants=False
        )
        sums = of_users @ z
        self.user_inputs = sums / self.user_degree.clamp(min=1).unsqueeze(1)
        rows, columns = torch.cat([user, item + n_users]), torch.cat([item + n_users, user])
        degree = torch.cat([self.user_degree, item_degree]).to(z.dtype)
        values = (degree[rows] * degree[columns]).rsqrt()
        size = n_users + len(z)
        index = torch.stack([rows, columns])
        self.adjacency = torch.sparse_coo_tensor(index, values, (size, size), check_invariants=False).coalesce()
        self.optimizer = torch.optim.Adam(self.parameters(), lr)
        self.rng = torch.Generator(z.device).manual_seed(0)

    def nodes(self) -> Tensor:
        """Outputs of all nodes, users first: [U + N, k]."""
        x = torch.cat([self.projector(self.user_inputs), self.projector(self.item_inputs)])
        layers = [x]
        for _ in range(self.layers):
            x = torch.sparse.mm(self.adjacency, x)
            layers.append(x)
        return torch.stack(layers, dim=1).mean(dim=1)

    def loss(self, draw: Draw) -> Tensor:
        """Mean InfoNCE over the batch."""
        users, items = self.nodes().split([self.n_users, self.n_items])
        u = F.normalize(users[draw.users], dim=-1)
        plus = F.normalize(items[draw.positives], dim=-1)
        minus = F.normalize(items[draw.negatives], dim=-1)
        positive = torch.exp((u * plus).sum(-1) / self.tau)
        negative = torch.exp((minus @ u.unsqueeze(-1)).squeeze(-1) / self.tau).sum(-1)
        return -torch.log(positive / (positive + negative)).mean()

    def draw(self) -> Draw:
        """A batch of random pairs with uniform negatives."""
        chosen = torch.randint(self.user.numel(), (self.batch,), generator=self.rng, device=self.user.device)
        shape = (self.batch, self.negatives)
        negatives = torch.randint(self.n_items, shape, generator=self.rng, device=self.user.device)
        return Draw(self.user[chosen], self.item[chosen], negatives)

    def step(self, draw: Draw | None = None) -> float:
        """One optimiser step on `draw`, a fresh one unless given; returns its loss."""
        loss = self.loss(draw or self.draw())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())
