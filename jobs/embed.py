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

from bifair_dist.command_line import parse, subcommand
from bifair_dist.embedding.settings import EmbedSettings, ImportSettings, ProbeSettings, VerifySettings
from bifair_dist.errors import run_job


def main() -> None:
    """Find the subcommand, read its settings, run it."""
    mode, rest = subcommand(sys.argv[1:], ("run", "plan", "verify", "import", "probe"), "jobs/embed.py")
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
