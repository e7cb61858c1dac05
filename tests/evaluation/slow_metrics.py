"""The metrics once more, user by user in plain Python, sharing nothing with the library."""

from __future__ import annotations

import math


def slow_ranking(scores, known, k):
    """Lists by descending score, ties by item index, for each row of scores; known[u] is a set."""
    lists = []
    for u, row in enumerate(scores):
        candidates = [i for i in range(len(row)) if i not in known[u]]
        lists.append(sorted(candidates, key=lambda i, row=row: (-row[i], i))[:k])
    return lists


def dcg(places):
    return sum(1 / math.log2(p + 2) for p in places)


def slow_metrics(lists, tests, groups, n_items, k, taken):
    """`lists` and `tests` by user; groups: {name: (entity, labels, {entity: set of labels})}; `taken`: by item."""
    users = [u for u in lists if tests.get(u)]
    recall, ndcg, hit = {}, {}, {}
    for u in users:
        places = [p for p, i in enumerate(lists[u][:k]) if i in tests[u]]
        recall[u] = len(places) / len(tests[u])
        ndcg[u] = dcg(places) / dcg(range(min(k, len(tests[u]))))
        hit[u] = 1.0 if places else 0.0
    out = {
        f"recall@{k}": mean(recall.values()), f"ndcg@{k}": mean(ndcg.values()), f"hit_ratio@{k}": mean(hit.values()),
        "users": len(users), "groups": {},
    }  # fmt: skip
    shown = [0] * n_items
    for ranked in lists.values():
        for i in ranked[:k]:
            shown[i] += 1
    for name, (entity, labels, members) in groups.items():
        utility, ndcg_utility, exposure = {}, {}, {}
        for label in labels:
            values, ndcg_values = [], []
            for u in users:
                if entity == "user":
                    if label in members.get(u, ()):
                        values.append(recall[u])
                        ndcg_values.append(ndcg[u])
                    continue
                wanted = {i for i in tests[u] if label in members.get(i, ())}
                if wanted:
                    places = [p for p, i in enumerate(lists[u][:k]) if i in wanted]
                    values.append(len(places) / len(wanted))
                    ndcg_values.append(dcg(places) / dcg(range(min(k, len(wanted)))))
            utility[label], ndcg_utility[label] = mean(values), mean(ndcg_values)
            exposure[label] = ratio(sum(shown[i] for i in range(n_items) if label in members.get(i, ())), sum(shown))
        entry = {
            "cv": cv(utility.values()), "min": lowest(utility.values()), "utility": utility,
            "ndcg_cv": cv(ndcg_utility.values()), "ndcg_min": lowest(ndcg_utility.values()),
            "ndcg_utility": ndcg_utility, "empty": [label for label in labels if utility[label] is None],
        }  # fmt: skip
        if entity == "item":
            entry["exposure"] = exposure
            sizes = {label: sum(label in m for m in members.values()) for label in labels}
            fair = [exposure[x] / (sizes[x] / n_items) for x in labels if sizes[x] and exposure[x] is not None]
            entry["mmf"] = min(fair) if fair else None
            pairs = {x: sum(n for i, n in enumerate(taken) if x in members.get(i, ())) for x in labels}
            entry["exposure_ratio"] = {
                x: None if exposure[x] is None or not pairs[x] else exposure[x] / (pairs[x] / sum(taken))
                for x in labels
            }
        out["groups"][name] = entry
    total = sum(shown)
    pairs = sum(abs(a - b) for a in shown for b in shown)
    out["gini"] = ratio(pairs, 2 * n_items * total)  # mean absolute difference over twice the mean
    out["coverage"] = sum(x > 0 for x in shown) / n_items
    places = [taken[i] for ranked in lists.values() for i in ranked[:k]]
    out["average_popularity"] = mean(places)
    tail, held = [], 0
    for i in sorted(range(n_items), key=lambda i: (-taken[i], i)):
        if held >= 0.8 * sum(taken):
            tail.append(i)
        held += taken[i]
    out["tail_coverage"] = ratio(sum(shown[i] > 0 for i in tail), len(tail))
    return out


def ratio(a, b):
    return a / b if b else None


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def cv(values):
    values = [v for v in values if v is not None]
    if not values or sum(values) == 0:
        return None
    centre = mean(values)
    return math.sqrt(mean([(v - centre) ** 2 for v in values])) / centre


def lowest(values):
    values = sorted(v for v in values if v is not None)
    return mean(values[: max(1, len(values) // 4)])
