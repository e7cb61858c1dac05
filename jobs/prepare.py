"""Raw interactions in, dataset folder out.

    python jobs/prepare.py --source movielens --input ml-latest-small --out datasets/ml-small --split temporal
    python jobs/prepare.py --source generic --input steam --out datasets/steam --k-core 5 --require genres \
        --groups popularity:quintiles genre:8+rest provider:publisher:10+rest user:activity

Hardware: any machine, one core is enough. Time: seconds for 1 million interactions, about two minutes for 25 million
(below 8 GiB of memory). Bad input ends with one line that names the file and the row; nothing half-written is left.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.catalog import groups
from bifair_dist.catalog.prepare import DEFAULT_MIN_RATING, SPLIT_KINDS, PrepareOptions, Progress, prepare
from bifair_dist.catalog.sources import SOURCES
from bifair_dist.catalog.summary import summary
from bifair_dist.errors import UserError, run_job

GROUPS = ["popularity:quintiles"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def _parser() -> argparse.ArgumentParser:
    sources = "\n".join(f"  {name:<12} {(read.__doc__ or '').splitlines()[0]}" for name, read in SOURCES.items())
    grammar = (groups.__doc__ or "").split("\n", 2)[2]
    parser = _Parser(
        description=(__doc__ or "").split("\n", 1)[0],
        epilog=f"sources:\n{sources}\n\ngroups:\n{grammar}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--source", required=True, metavar="NAME", help=f"one of: {', '.join(SOURCES)}")
    add("--input", type=Path, metavar="FOLDER", help="folder that holds the files of the source")
    add("--out", type=Path, required=True, metavar="FOLDER", help="dataset folder to write; must not exist")
    rating = f"keep ratings >= R (default {DEFAULT_MIN_RATING:g}; without ratings every pair stays)"
    add("--min-rating", type=float, metavar="R", help=rating)
    add("--k-core", type=int, default=10, metavar="K", help="least pairs per user and item (default 10; 1 keeps all)")
    add("--require", nargs="+", default=[], metavar="COLUMN", help="keep only items with something in these columns")
    add("--missing-title", default="error", metavar="error|drop", help="items without a title (default error)")
    add(
        "--split",
        default="random",
        metavar="KIND",
        help=f"{', '.join(SPLIT_KINDS)} (default random: 70/10/20 per user)",
    )
    add("--seed", type=int, default=0, metavar="S", help="seed of the random split (default 0)")
    add("--groups", nargs="*", default=GROUPS, metavar="SPEC", help=f"group tables, see below (default {GROUPS[0]})")
    return parser


def main() -> None:
    """Prepare one dataset."""
    args = _parser().parse_args()
    options = PrepareOptions(
        min_rating=args.min_rating,
        k_core=args.k_core,
        split=args.split,
        seed=args.seed,
        groups=tuple(args.groups),
        require=tuple(args.require),
        missing_title=args.missing_title,
    )
    progress = Progress(say=lambda line: print(line, file=sys.stderr, flush=True))
    if args.input is None:
        raise UserError("--input is missing: the folder that holds the files of the source")
    manifest = prepare(args.source, args.input, args.out, options, progress)
    print(summary(manifest, progress.seconds))
    print(f"written to {args.out}")


if __name__ == "__main__":
    run_job(main)
