"""From a source to a dataset folder: the stages, in order, and what each of them dropped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bifair_dist.data.dataset import SPLITS, Index, Interactions
from bifair_dist.data.dedupe import drop_duplicates
from bifair_dist.data.groups import build_group, parse_groups, require_column
from bifair_dist.data.kcore import k_core
from bifair_dist.data.plausible import tell_groups, tell_splits, tell_titles, tell_values
from bifair_dist.data.raw import Pairs, RawData
from bifair_dist.data.reading.files import parts_of
from bifair_dist.data.sources import check_source, read_source
from bifair_dist.data.splits import Part, leave_last_out, random_split, temporal_split, valid_from_train
from bifair_dist.data.writer import check_target, write_dataset
from bifair_dist.errors import UserError, known_names

SPLIT_KINDS = ("random", "temporal", "leave-last-out", "given")
DEFAULT_MIN_RATING = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """Every choice of a preparation.

    ``min_rating`` None: 4 where the source has ratings, else all pairs. ``split`` None: the one that the source brings,
    else random.
    """

    min_rating: float | None = None
    k_core: int = 10
    split: str | None = None
    seed: int = 0
    groups: Sequence[str] = ("popularity:quintiles",)
    require: Sequence[str] = ()
    missing_title: str = "error"


@dataclass(slots=True)
class Progress:
    """Seconds and drops per stage; ``say`` is called after each."""

    say: Callable[[str], None] = lambda _line: None
    seconds: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
        lost = ", ".join(f"{count:,} {what} dropped" for what, count in self.dropped.get(name, {}).items() if count)
        self.say(f"{name:<18}{self.seconds[name]:8.2f} s   {lost}".rstrip())


def check_options(source: str | None, out: Path, options: PrepareOptions) -> None:
    """Raise ``UserError`` for whatever can be seen to be wrong before anything is read."""
    if source is not None:
        check_source(source)
    if options.split not in (None, *SPLIT_KINDS):
        raise UserError(f"--split {options.split}: unknown split; {known_names(str(options.split), SPLIT_KINDS)}")
    if options.missing_title not in ("error", "drop"):
        raise UserError(f"--missing-title {options.missing_title}: must be 'error' or 'drop'")
    if options.k_core < 1:
        raise UserError(f"--k-core {options.k_core}: must be at least 1 (1 keeps every pair)")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: must not be negative")
    parse_groups(options.groups)
    check_target(out)


def prepare(
    source: str, path: Path, out: Path, options: PrepareOptions, progress: Progress | None = None
) -> dict[str, Any]:
    """Read ``path`` as ``source``, prepare it, write the dataset folder ``out`` and return its manifest.

    Raises ``UserError`` for bad input; then no folder is left behind.
    """
    progress = progress or Progress()
    check_options(source, out, options)
    with progress.stage("read"):
        raw = read_source(source, path)
    return prepare_raw(raw, source, out, options, progress)


def prepare_raw(
    raw: RawData, source: str, out: Path, options: PrepareOptions, progress: Progress | None = None
) -> dict[str, Any]:
    """The stages after reading; ``raw`` is consumed. Returns the manifest written."""
    progress = progress or Progress()
    check_options(None, out, options)
    specs = parse_groups(options.groups)
    split = options.split or ("random" if raw.pairs.part is None else "given")
    if raw.pairs.part is not None and options.split is None:
        raw.notes.say("the split that the source brings is kept; --split random would make another")
    read_pairs = len(raw.pairs)
    with progress.stage("duplicates"):
        raw.pairs, dropped = drop_duplicates(raw.pairs, len(raw.item_ids))
        progress.dropped["duplicates"] = {"pairs": dropped}
    with progress.stage("rating threshold"):
        min_rating = _threshold(raw, options.min_rating)
        tell_values(raw, min_rating, asked=options.min_rating is not None)
        if min_rating is not None and raw.pairs.rating is not None:
            good = raw.pairs.rating >= min_rating
            high = raw.pairs.rating.max()
            none = f"no pair is rated {min_rating:g} or more, {high:g} is the highest; lower --min-rating"
            _keep(raw, good, progress, "rating threshold", none)
    for column in options.require:
        with progress.stage(stage := f"require {column}"):
            filled = _filled(require_column(raw.items, column, "item"))
            _keep(raw, filled[raw.pairs.item], progress, stage, f"no item has anything in column '{column}'")
    if options.missing_title == "drop":
        with progress.stage("missing titles"):
            titled = _filled(raw.items["title"])
            _keep(raw, titled[raw.pairs.item], progress, "missing titles", "no item has a title")
    with progress.stage("k-core"):
        core = k_core(raw.pairs.user, raw.pairs.item, options.k_core)
        _keep(raw, core, progress, "k-core", f"--k-core {options.k_core} leaves nothing; choose a smaller one")
    with progress.stage("split"):
        part = split_pairs(raw.pairs, split, options.seed)
        if raw.pairs.part is not None and split == "given":
            part = _drop_untrained(raw, part, progress)
        users, items = _compact(raw)
        _check_titles(items, raw.items_source)
        tell_titles(items, raw.notes)
        rows = [np.flatnonzero(part == p) for p in range(3)]
        del part
        splits = {name: _interactions(raw.pairs, rows[p]) for p, name in enumerate(SPLITS)}
        stamp = raw.pairs.timestamp
        timestamps = None if stamp is None else {name: stamp[rows[p]] for p, name in enumerate(SPLITS)}
        tell_splits({name: len(pairs) for name, pairs in splits.items()}, split, raw.notes)
        raw.pairs = raw.pairs.take(np.empty(0, np.int64))
    with progress.stage("groups"):
        item_counts = np.bincount(splits["train"].item, minlength=items.num_rows).astype(np.int64)
        user_counts = np.bincount(splits["train"].user, minlength=users.num_rows).astype(np.int64)
        tables = [build_group(spec, items, users, item_counts, user_counts, raw.notes) for spec in specs]
        tell_groups(tables, raw.notes)
    manifest = {
        "source": {"name": source, "files": {file.name: _size(file) for file in raw.files}},
        "options": {**asdict(options), "min_rating": min_rating, "split": split, "groups": list(options.groups)},
        "seed": options.seed,
        "read": {"pairs": read_pairs, **raw.notes.counts, "as": raw.notes.said},
        "warnings": raw.notes.warnings,
        "dropped": progress.dropped,
        **({} if raw.planted is None else {"planted": raw.planted}),
    }
    with progress.stage("write"):
        return write_dataset(
            out, items=items, users=users, splits=splits, groups=tables, manifest=manifest, timestamps=timestamps
        )


def split_pairs(pairs: Pairs, kind: str, seed: int) -> Part:
    """Part of every pair: 0 train, 1 valid, 2 test. Raises ``UserError`` where the source lacks what it needs."""
    if kind == "random":
        return random_split(pairs.user, seed)
    if kind == "given":
        if pairs.part is None:
            raise UserError("--split given: this source brings no split; choose random, temporal or leave-last-out")
        return pairs.part if (pairs.part == 1).any() else valid_from_train(pairs.user, pairs.part, seed)
    if pairs.timestamp is None:
        raise UserError(f"--split {kind}: the interactions have no timestamp; choose --split random")
    by_time = temporal_split if kind == "temporal" else leave_last_out
    return by_time(pairs.user, pairs.timestamp)


def _threshold(raw: RawData, asked: float | None) -> float | None:
    if raw.pairs.rating is not None:
        return DEFAULT_MIN_RATING if asked is None else asked
    if asked is not None:
        raise UserError(f"--min-rating {asked:g}: the interactions have no rating; leave it out to keep all pairs")
    return None


def _keep(raw: RawData, mask: Any, progress: Progress, stage: str, nothing: str) -> None:
    """Keep the pairs of a mask and count what went: pairs, and the users and items that have none left."""
    users, items = _present(raw)
    total = len(raw.pairs)
    if not mask.any():
        raise UserError(f"{nothing} (of {total:,} pairs before this step)")
    if not mask.all():
        raw.pairs = raw.pairs.take(mask)
    users_left, items_left = _present(raw)
    progress.dropped[stage] = {
        "pairs": total - len(raw.pairs),
        "users": int(users.sum() - users_left.sum()),
        "items": int(items.sum() - items_left.sum()),
    }


def _present(raw: RawData) -> tuple[Any, Any]:
    pairs = raw.pairs
    return (
        np.bincount(pairs.user, minlength=len(raw.user_ids)) > 0,
        np.bincount(pairs.item, minlength=len(raw.item_ids)) > 0,
    )


def _filled(column: pa.ChunkedArray) -> Any:
    """True where a cell holds anything: text that is not blank, a list that is not empty, a value that is not null."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        filled = pc.not_equal(pc.utf8_trim_whitespace(column), "")
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        filled = pc.greater(pc.list_value_length(column), 0)
    else:
        filled = pc.is_valid(column)
    return pc.fill_null(filled, False).to_numpy()


def _drop_untrained(raw: RawData, part: Part, progress: Progress) -> Part:
    """A given split may hold users without a train pair: they cannot be represented, so they go."""
    trained = np.bincount(raw.pairs.user[part == 0], minlength=len(raw.user_ids)) > 0
    mask = trained[raw.pairs.user]
    _keep(raw, mask, progress, "split", "no user has a pair in train")
    return part[mask]


def _compact(raw: RawData) -> tuple[pa.Table, pa.Table]:
    """Renumber users and items to those that have pairs; return their tables (users, items) in index order."""
    user_kept, item_kept = _present(raw)
    raw.pairs.user = (np.cumsum(user_kept, dtype=np.int32) - 1)[raw.pairs.user]
    raw.pairs.item = (np.cumsum(item_kept, dtype=np.int32) - 1)[raw.pairs.item]
    users = raw.users if raw.users is not None else pa.table({"user_id": raw.user_ids})
    return users.filter(pa.array(user_kept)), raw.items.filter(pa.array(item_kept))


def _check_titles(items: pa.Table, source: str) -> None:
    missing = items["item_id"].filter(pc.invert(pa.array(_filled(items["title"]))))
    if len(missing):
        raise UserError(
            f"{source}: no title for item '{missing[0]}' and {len(missing) - 1:,} more of {items.num_rows:,} items "
            "with interactions; add titles or pass --missing-title drop"
        )


def _size(path: Path) -> int:
    return sum(part.stat().st_size for part, _ in parts_of(path))


def _interactions(pairs: Pairs, rows: Index) -> Interactions:
    return Interactions(pairs.user[rows].astype(np.int64), pairs.item[rows].astype(np.int64))
