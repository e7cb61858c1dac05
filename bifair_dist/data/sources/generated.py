"""The built-in catalogue: books with readable titles, readers with tastes, and unfairness planted in known genres.

Utility of reader u for item i, sampled without replacement by Gumbel top-n (Plackett-Luce; Kool et al., ICML 2019):

    log p(u, i) = log taste(u, genres of i) + log topic taste(u, topic of i) + log popularity(i) + log exposure(i)

Popularity falls with the rank inside the genre as rank^-0.8. Planted in ``PLANTED_GENRES``:
- prior unfairness: vague titles ("Volume 12") that tell neither genre nor topic, so an encoder has nothing to go on;
- training unfairness: exposure ``PLANTED_EXPOSURE`` instead of 1, so far fewer interactions for a taste as strong.
The readers of those genres are as many, and choose among topics as sharply, as the readers of any other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bifair_dist.data.raw import Pairs, RawData
from bifair_dist.data.words import ADJECTIVES, PATTERNS, PUBLISHERS, TOPICS, VAGUE

GENRES = tuple(TOPICS)
PLANTED_GENRES = ("Poetry", "Philosophy")
PLANTED_EXPOSURE = 0.25
_TOPICS_PER_GENRE = 6
_SECOND_GENRE = 0.2  # share of items with a second genre
_MIN_LENGTH, _MEAN_LENGTH = 15, 42  # interactions per user: shortest, and about the mean
_TOPIC_SHARPNESS = 12.0  # weight of a reader's two favourite topics in a genre, against 1 for the others

Floats = npt.NDArray[np.float64]


def generate_raw(seed: int = 0, n_items: int = 3000, n_users: int = 2000) -> RawData:
    """The catalogue and its interactions, about 40 per user; the three random streams are independent."""
    catalogue, tastes, choices = np.random.default_rng([seed, 20250704]).spawn(3)
    items, membership, topic, weight = _catalogue(catalogue, n_items)
    genre_taste, topic_taste, favourite = _tastes(tastes, n_users)
    score = np.log(genre_taste @ membership.T + 1e-12) + np.log(topic_taste[:, topic]) + np.log(weight)
    score += choices.gumbel(size=score.shape)
    length = _MIN_LENGTH + choices.exponential(_MEAN_LENGTH - _MIN_LENGTH, n_users).astype(np.int64)
    length = np.minimum(length, n_items // 4)
    order = np.argsort(-score, axis=1, kind="stable")
    chosen = np.arange(n_items) < length[:, None]
    user, item = np.nonzero(chosen)[0], order[chosen]
    width = len(str(n_users))
    user_ids = pa.array([f"u{u:0{width}d}" for u in range(n_users)])
    users = pa.table({"user_id": user_ids, "favourite_genre": [GENRES[g] for g in favourite]})
    planted = {
        "genres": list(PLANTED_GENRES),
        "exposure": PLANTED_EXPOSURE,
        "titles": "vague in these genres, telling of genre and topic elsewhere",
        "readers": {genre: int((favourite == g).sum()) for g, genre in enumerate(GENRES)},
        "taste": "equally strong for all genres",
    }
    pairs = Pairs(user.astype(np.int32), item.astype(np.int32))
    return RawData(pairs, user_ids, items["item_id"].combine_chunks(), items, users, planted=planted)


def _catalogue(rng: np.random.Generator, n: int) -> tuple[pa.Table, Floats, npt.NDArray[np.int64], Floats]:
    """Items table, genre membership [n, 8] (rows sum to 1), topic of the first genre [n], popularity x exposure [n]."""
    genre = rng.integers(len(GENRES), size=n)
    topic = rng.integers(_TOPICS_PER_GENRE, size=n)
    second = (genre + rng.integers(1, len(GENRES), size=n)) % len(GENRES)
    planted = np.isin(np.array(GENRES), PLANTED_GENRES)
    # A planted item stays in its one genre and no other item takes one, or the planted truth would blur.
    has_second = (rng.random(n) < _SECOND_GENRE) & ~planted[genre] & ~planted[second]
    membership = np.zeros((n, len(GENRES)))
    membership[np.arange(n), genre] = 1.0
    membership[has_second, genre[has_second]] = 0.5
    membership[has_second, second[has_second]] = 0.5
    rank = np.empty(n)
    for g in range(len(GENRES)):
        rows = np.flatnonzero(genre == g)
        rank[rng.permutation(rows)] = np.arange(1, len(rows) + 1)
    weight = rank**-0.8 * np.where(planted[genre], PLANTED_EXPOSURE, 1.0)
    share = 1.0 / np.arange(1, len(PUBLISHERS) + 1)
    publisher = rng.choice(len(PUBLISHERS), size=n, p=share / share.sum())
    width = len(str(n))
    genres = [
        f"{GENRES[g]}|{GENRES[s]}" if two else GENRES[g] for g, s, two in zip(genre, second, has_second, strict=True)
    ]
    items = pa.table(
        {
            "item_id": [f"b{i:0{width}d}" for i in range(n)],
            "title": [_title(rng, GENRES[g], int(t)) for g, t in zip(genre, topic, strict=True)],
            "genres": genres,
            "publisher": [PUBLISHERS[p] for p in publisher],
        }
    )
    return items, membership, genre * _TOPICS_PER_GENRE + topic, weight


def _title(rng: np.random.Generator, genre: str, topic: int) -> str:
    if genre in PLANTED_GENRES:
        return VAGUE[rng.integers(len(VAGUE))].format(n=rng.integers(1, 100))
    one, two = rng.choice(TOPICS[genre][topic].split(), 2, replace=False)
    adjective, adjective2 = rng.choice(ADJECTIVES, 2, replace=False)
    pattern = PATTERNS[rng.integers(len(PATTERNS))]
    return pattern.format(one=one, two=two, adjective=adjective, adjective2=adjective2).replace("-", " ")


def _tastes(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
    """Taste for genres [n, 8], taste for topics [n, 48], favourite genre [n] (users shared evenly over the genres)."""
    favourite = rng.permutation(np.arange(n) % len(GENRES))
    genre_taste = rng.dirichlet(np.full(len(GENRES), 0.4), n) * 0.5
    genre_taste[np.arange(n), favourite] += 0.5
    topic_taste = np.ones((n, len(GENRES), _TOPICS_PER_GENRE))
    liked = np.argsort(rng.random(topic_taste.shape), axis=2)[:, :, :2]
    np.put_along_axis(topic_taste, liked, _TOPIC_SHARPNESS, axis=2)
    return genre_taste, topic_taste.reshape(n, -1), favourite
