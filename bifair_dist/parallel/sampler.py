"""Counter-based sampling: the batch of (seed, epoch, step) is a pure function of these.

Every worker derives it alone: no worker sends indices, the batches do not depend on the worker
count, and a run can go on from any step. A batch costs what it holds: neither an epoch's order nor a pool of negatives
is made by permuting all pairs or all items (keyed.py).
"""

from __future__ import annotations

import hashlib
import itertools

import torch
from torch import Tensor

from bifair_dist.csr import Csr
from bifair_dist.model.batch import Batch
from bifair_dist.parallel.keyed import key_of, permuted


def counter_generator(*key: int | str) -> torch.Generator:
    """A CPU generator keyed by `key`: the same on every machine and worker."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def slices_of(size: int, workers: int) -> tuple[tuple[int, int], ...]:
    """Contiguous (start, stop) of `size` examples per worker, as even as possible; may be empty for small batches."""
    bounds = [size * r // workers for r in range(workers + 1)]
    return tuple(itertools.pairwise(bounds))


class BatchSampler:
    """Batches of the pairs (user, item), int64 or int32, in a fresh order each epoch, with uniform negatives.

    `shared`: one pool of `negatives` distinct items for the whole batch; otherwise that many draws for each example.
    `known` (the items of each user in training, or None) masks the negatives among them; `users_of_items` is the same
    by item, made here where it is not given. `stream` keeps two samplers of one run apart.
    """

    def __init__(
        self,
        user: Tensor,
        item: Tensor,
        n_items: int,
        *,
        batch_size: int,
        negatives: int,
        shared: bool,
        known: Csr | None,
        users_of_items: Csr | None = None,
        seed: int,
        stream: str = "train",
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        self.user, self.item, self.n_items = user, item, n_items
        self.batch_size, self.negatives, self.shared = batch_size, negatives, shared
        self.known_pairs, self.users_of_items = known, users_of_items
        self.known, self._slot = known, torch.empty(0, dtype=torch.int64)
        if shared and known is not None:
            # A pool is looked up by item: 256 items have far fewer pairs than the users of 4,096 examples.
            self.known = users_of_items if users_of_items is not None else known.transposed(n_items)
            self._slot = torch.full((known.indptr.numel() - 1,), -1)  # of a user: an example of its, -1 between calls
        self.key = (seed, stream)
        self.rank, self.workers = rank, workers

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last may be short."""
        return -(-self.user.numel() // self.batch_size)

    def batch(self, epoch: int, step: int) -> Batch:
        """Batch `step` (counted on past the end of the epoch, into the next ones) of `epoch`."""
        epoch, step = epoch + step // self.steps_per_epoch, step % self.steps_per_epoch
        n_pairs = self.user.numel()
        places = torch.arange(step * self.batch_size, min((step + 1) * self.batch_size, n_pairs))
        chosen = permuted(places, n_pairs, key_of(*self.key, "order", epoch))
        users, positives = self.user[chosen].long(), self.item[chosen].long()
        key = key_of(*self.key, "negatives", epoch, step)
        if self.shared:
            negatives = permuted(torch.arange(min(self.negatives, self.n_items)), self.n_items, key)
        else:
            rng = counter_generator(*self.key, "negatives", epoch, step)
            negatives = torch.randint(self.n_items, (users.numel(), self.negatives), generator=rng)
        slices = slices_of(users.numel(), self.workers)
        start, stop = slices[self.rank]
        masked = self._mask(users[start:stop], negatives if self.shared else negatives[start:stop])
        return Batch(users, positives, negatives, masked, slices, self.rank, key)

    def _mask(self, users: Tensor, negatives: Tensor) -> Tensor | None:
        if self.known is None:
            return None
        if self.shared:
            return self._mask_of_pool(self.known, users, negatives)
        row, item = self.known.expand(users)
        # (example, item) as one ascending key, so that membership is a binary search.
        keys = row * self.n_items + item
        wanted = torch.arange(users.numel()).unsqueeze(1) * self.n_items + negatives
        if keys.numel() == 0:
            return torch.zeros_like(wanted, dtype=torch.bool)
        at = torch.searchsorted(keys, wanted).clamp(max=keys.numel() - 1)
        return keys[at] == wanted

    def _mask_of_pool(self, users_of_item: Csr, users: Tensor, pool: Tensor) -> Tensor:
        """bool [B, K]: whether users[b] is among the users of pool[k]."""
        slot = self._slot
        slot[users] = torch.arange(users.numel())
        first = slot[users]  # the same example for all examples of a user
        column, user = users_of_item.expand(pool)
        row = slot[user]
        slot[users] = -1
        here = (row >= 0).nonzero().squeeze(1)
        table = torch.zeros(users.numel(), pool.numel(), dtype=torch.bool)
        table[row[here], column[here]] = True
        return table.index_select(0, first)
