"""Item texts in, item vectors out: one language model over a whole catalogue, sharded over replicas.

    python jobs/embed.py --dataset DATASET --output VECTORS                       MiniLM on vLLM, one replica
    python jobs/embed.py --dataset DATASET --output VECTORS --model Qwen3-Embedding-0.6B --replicas 4 \\
        --template "{title} by {authors}. {description}"
    python jobs/embed.py --engine sentence-transformers --dataset DATASET --output VECTORS     without vLLM
    python jobs/embed.py plan --model SFR-Embedding-Mistral --dataset DATASET     tokens, GPU hours, disk; runs nothing
    python jobs/embed.py verify --output VECTORS                                  read everything again, embed a sample
    python jobs/embed.py import --vectors V.npy --ids IDS.txt --dataset DATASET --output VECTORS
    python jobs/embed.py probe --dataset DATASET --representations VECTORS,OTHERS           prior unfairness, by group
    ray job submit --working-dir . -- python jobs/embed.py --dataset /shared/dataset --output /shared/vectors

Without a subcommand it is `run`. Stopped anywhere, the same command goes on. --help after a subcommand (run, plan,
verify, import, probe) lists its settings. Hardware: GPUs for models of billions of parameters; MiniLM embeds some
hundred titles a second on a core.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs where the package is not installed

from bifair_dist.command_line import parse
from bifair_dist.embedding.settings import EmbedSettings, ImportSettings, ProbeSettings, VerifySettings
from bifair_dist.errors import UserError, known_names, run_job

COMMANDS = ("run", "plan", "verify", "import", "probe")


def command_of(words: list[str]) -> tuple[str, list[str]]:
    """The subcommand and its words; one that is given as a flag, as in earlier versions, is taken with a note.

    Raises `UserError` for an unknown subcommand, and for two.
    """
    flags = [command for command in COMMANDS[1:] if f"--{command}" in words]
    named = [words[0]] if words and not words[0].startswith("-") else []
    if len(flags) + len(named) > 1:
        raise UserError(f"command line: {' and '.join([*named, *flags])} are two subcommands; give one")
    if flags:
        print(f"note: --{flags[0]} is now a subcommand: jobs/embed.py {flags[0]} ...", file=sys.stderr)
        return flags[0], [word for word in words if word != f"--{flags[0]}"]
    if named and named[0] not in COMMANDS:
        raise UserError(f"command line: {named[0]!r} is no subcommand; {known_names(named[0], COMMANDS)}")
    return (named[0], words[1:]) if named else ("run", words)


def main() -> None:
    """Find the subcommand, read its settings, run it."""
    mode, rest = command_of(sys.argv[1:])
    about = __doc__ or ""
    if mode == "plan":
        from bifair_dist.embedding.plan import PlanSettings, plan

        print(plan(parse(PlanSettings(), rest, about)))
    elif mode == "verify":
        from bifair_dist.embedding.again import embed_again
        from bifair_dist.embedding.verify import verify

        print("\n".join(verify(parse(VerifySettings(), rest, about), embed_again)))
    elif mode == "import":
        from bifair_dist.embedding.importing import import_vectors

        import_vectors(parse(ImportSettings(), rest, about))
    elif mode == "probe":
        from bifair_dist.embedding.probe import probe_and_print

        probe_and_print(parse(ProbeSettings(), rest, about))
    else:
        from bifair_dist.embedding.on_ray import embed_catalogue

        embed_catalogue(parse(EmbedSettings(), rest, about))


if __name__ == "__main__":
    run_job(main)
