"""Raw interactions in, dataset folder out.

    python jobs/prepare.py --source generated --out datasets/generated
    python jobs/prepare.py --source movielens --input ml-latest-small --out datasets/ml-small --split temporal
    python jobs/prepare.py --source generic --input steam --out datasets/steam --k-core 5 --require genres \\
        --groups popularity:quintiles genre:8+rest provider:publisher:10+rest user:activity

Hardware: any machine, one core is enough. Time: 2 seconds for 1 million interactions, under a minute for 25 million
(about 3.5 GiB of memory; benchmarks/results/prepare_25m.md). Bad input ends with one line that names the file and the
row; nothing half-written is left.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.data import generated, groups
from bifair_dist.data.prepare import (
    DEFAULT_MIN_RATING,
    SPLIT_KINDS,
    PrepareOptions,
    Progress,
    check_options,
    prepare,
    prepare_raw,
)
from bifair_dist.data.sources import BUILT_IN, check_source, sources
from bifair_dist.data.sources.generated import generate_raw
from bifair_dist.data.summary import summary
from bifair_dist.errors import UserError, run_job

DEFAULTS = PrepareOptions()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def _parser() -> argparse.ArgumentParser:
    known = sources()
    layouts = "\n".join(f"  {name:<12} {known[name].doc}" for name in sorted(known))
    grammar = (groups.__doc__ or "").split("\n", 2)[2]
    parser = _Parser(
        description=(__doc__ or "").split("\n", 1)[0],
        epilog=f"sources:\n{layouts}\n\ngroups:\n{grammar}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--source", required=True, metavar="NAME", help=f"one of: {', '.join((*sorted(known), BUILT_IN))}")
    add("--input", type=Path, metavar="FOLDER", help=f"folder that holds the files of the source; not for {BUILT_IN}")
    add("--out", type=Path, required=True, metavar="FOLDER", help="dataset folder to write; must not exist")
    rating = f"keep ratings >= R (default {DEFAULT_MIN_RATING:g}; without ratings every pair stays)"
    add("--min-rating", type=float, metavar="R", help=rating)
    core = f"least pairs per user and item (default {DEFAULTS.k_core}; {BUILT_IN}: {generated.K_CORE}; 1 keeps all)"
    add("--k-core", type=int, metavar="K", help=core)
    add("--require", nargs="+", default=[], metavar="COLUMN", help="keep only items with something in these columns")
    add("--missing-title", default="error", metavar="error|drop", help="items without a title (default error)")
    add(
        "--split",
        metavar="KIND",
        help=f"{', '.join(SPLIT_KINDS)} (default: given where the source brings one, else random: 70/10/20 per user)",
    )
    add("--seed", type=int, default=0, metavar="S", help=f"seed of the random split, and of {BUILT_IN} (default 0)")
    default = f"group tables, see below (default popularity; {BUILT_IN}: {' '.join(generated.GROUPS)})"
    add("--groups", nargs="*", metavar="SPEC", help=default)
    return parser


def main() -> None:
    """Prepare one dataset."""
    args = _parser().parse_args()
    built_in = args.source == BUILT_IN
    if built_in and args.input is not None:
        raise UserError(f"--input: the source {BUILT_IN} reads nothing; leave the option out")
    if not built_in and args.input is None:
        check_source(args.source)
        raise UserError("--input is missing: the folder that holds the files of the source")
    k_core, specs = (generated.K_CORE, generated.GROUPS) if built_in else (DEFAULTS.k_core, DEFAULTS.groups)
    options = PrepareOptions(
        min_rating=args.min_rating,
        k_core=k_core if args.k_core is None else args.k_core,
        split=args.split,
        seed=args.seed,
        groups=specs if args.groups is None else tuple(args.groups),
        require=tuple(args.require),
        missing_title=args.missing_title,
    )
    progress = Progress(say=lambda line: print(line, flush=True))  # stderr is for the one error line
    if built_in:
        check_options(args.source, args.out, options)
        manifest = prepare_raw(generate_raw(args.seed), args.source, args.out, options, progress)
    else:
        manifest = prepare(args.source, args.input, args.out, options, progress)
    print(summary(manifest, progress.seconds))
    print(f"written to {args.out}")


if __name__ == "__main__":
    run_job(main)
