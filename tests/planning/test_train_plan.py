"""`jobs/train.py plan`: what it says, what it reads, and that it touches nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from bifair_dist.command_line import parse
from bifair_dist.cost.operations import step_flops
from bifair_dist.cost.seconds import mean_step
from bifair_dist.cost.work import Sizes, Work
from bifair_dist.errors import UserError
from bifair_dist.hardware import PROFILES
from bifair_dist.planning.blocks import moments, sizes
from bifair_dist.planning.fit import fits, heaviest, need, savings
from bifair_dist.planning.memory import parts
from bifair_dist.planning.settings import PlanSettings, TrainPlanSettings
from bifair_dist.planning.sizes import find_sizes
from bifair_dist.planning.text import named, plan
from bifair_dist.settings import override
from bifair_dist.training.phases import phases_of
from bifair_dist.training.settings import TrainSettings
from bifair_dist.training.work import work_of

ROOT = Path(__file__).resolve().parents[2]
SIZES = Sizes(items=1_000_000, users=100_000, pairs=8_000_000, width=1024, groups=8)
GIVEN = {"plan.items": 1_000_000, "plan.users": 100_000, "plan.pairs": 8_000_000, "plan.width": 1024}
H100, CPU = PROFILES["h100-80gb"], PROFILES["cpu-2core"]


def work(workers: int = 2, sizes: Sizes = SIZES, **changed: object) -> Work:
    settings = override(TrainSettings(), {key.replace("__", "."): value for key, value in changed.items()})
    return work_of(settings, sizes, phases_of(settings)[-1], workers)


def memory(*args: object, **changed: object) -> dict[str, int]:
    return {part.name: part.n_bytes for part in parts(work(*args, **changed))}  # type: ignore[arg-type]


def test_settings_and_profiles_name_the_same() -> None:
    assert get_args(get_type_hints(PlanSettings)["hardware"]) == ("all", *PROFILES)


def test_unknown_profile_is_one_line_with_the_nearest() -> None:
    line = r"^command line: plan\.hardware must be 'all', 'cpu-2core', .*, not 'h100-8gb'; did you mean h100-80gb\?$"
    with pytest.raises(UserError, match=line):
        parse(TrainPlanSettings(), named(["h100-8gb"]))
    done = subprocess.run(
        [sys.executable, "jobs/train.py", "plan", "h100-8gb"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: command line: plan.hardware") and "did you mean h100" in done.stderr


def test_the_short_form() -> None:
    assert named([]) == []
    assert named(["--b", "2"]) == ["--b", "2"]
    assert named(["h100", "--b", "2"]) == ["--plan.hardware", "h100-80gb", "--b", "2"]
    assert named(["what"]) == ["--plan.hardware", "what"]


def test_nothing_is_allocated_or_loaded() -> None:
    """Resident memory of a fresh process grows by less than 4 MiB for 10^7 items, and no torch is imported.

    By the kernel's VmHWM: getrusage's ru_maxrss would start at the size of the process that runs the tests.
    """
    code = (
        "import sys\n"
        "from benchmarks.record import memory\n"
        "from bifair_dist.settings import override\n"
        "from bifair_dist.planning.settings import TrainPlanSettings\n"
        "from bifair_dist.planning.text import plan\n"
        "def planned(n): return plan(override(TrainPlanSettings(), {'plan.items': n, 'plan.users': n // 5,"
        " 'plan.pairs': 5 * n, 'cluster.workers': 8}))\n"
        "planned(1000); before = memory('VmHWM'); text = planned(10**7)\n"
        "print(memory('VmHWM') - before, '10,000,000 items' in text, [m for m in ('torch', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    grown, told, loaded = done.stdout.strip().split(" ", 2)
    assert int(grown) < 4 * 2**20 and (told, loaded) == ("True", "[]"), done.stderr


def test_linear_in_items() -> None:
    """With N, each part grows by the same for the same more items; what belongs to pairs does not grow."""
    found = [memory(sizes=replace(SIZES, items=n)) for n in (1_000_000, 2_000_000, 3_000_000)]
    assert found[0].keys() == found[1].keys() == found[2].keys()  # the same moment is the widest
    for name in found[0]:
        assert found[2][name] - found[1][name] == found[1][name] - found[0][name] >= 0, name
    assert found[1]["Z"] == 2 * found[0]["Z"] == 2 * 4 * 500_000 * 1024
    for same in ("pairs and known items", "projector"):
        assert found[0][same] == found[2][same]
    flops = [step_flops(work(sizes=replace(SIZES, items=n)), 1) for n in (1_000_000, 2_000_000, 3_000_000)]
    assert flops[2] - flops[1] == flops[1] - flops[0] > 0


def test_what_shrinks_with_workers_and_what_does_not() -> None:
    one, four = sizes(work(1)), sizes(work(4))
    for kind, n_bytes in one.items():
        if kind in ("projector", "pairs"):
            assert four[kind] == n_bytes
        elif kind in ("batch rows", "scores"):  # the shared negatives are on every worker
            assert n_bytes / 4 <= four[kind] < n_bytes / 3
        else:
            assert four[kind] == n_bytes / (16 if "cut" in kind else 4), kind
    whole, part = memory(1), memory(4)
    for name in ("Z", "Adam's two moments of Z", "gradient of Z", "hypergradient buffer"):
        assert part[name] == whole[name] / 4
    for name in ("graph", "pairs and known items", "projector"):
        assert part[name] == whole[name]
    assert sum(part.values()) < sum(whole.values()) / 3


def test_settings_that_take_parts_away() -> None:
    adam, buffer = "Adam's two moments of Z", "hypergradient buffer"
    assert {"gradient of Z", adam, buffer} <= set(memory())
    assert not {"gradient of Z", adam, buffer} & set(memory(training__method="alpharec"))
    assert buffer not in memory(bilevel__xi=0)
    exact = memory(bilevel__hypergradient="exact")
    assert exact["activations: hidden rows"] > memory()["activations: hidden rows"]
    frozen = memory(model__users="frozen")
    assert frozen["users' fixed inputs"] == 4 * 50_000 * 1024
    alive = moments(work(model__users="frozen")).values()
    assert not any("pool" in kind and n for counts in alive for kind, n in counts.items())
    uniform = moments(work(balance__rule="uniform"))
    assert "weights" not in uniform and "groups" not in uniform
    kept = {p.name for p in parts(work(training__strategy="deepspeed", deepspeed__offload_z_adam=True)) if p.host}
    assert adam in kept and "Z" not in kept


def test_id_embeddings() -> None:
    """E stands in Z's place: as many rows as items and users, as wide as the model, on a plan without a projector."""
    e = 4 * 1_100_000 * 64
    mf, gcn = (memory(training__method=name) for name in ("mf", "lightgcn"))
    for found in (mf, gcn):
        assert found["the id embeddings"] == e / 2 and found["Adam's two moments of the id embeddings"] == e
        assert not {"Z", "projector", "groups' gradients", "users' fixed inputs", "hypergradient buffer"} & set(found)
    # LightGCN: gradients of the outputs and of E's own rows, then scaled, a layer, a product; columns are 1 / W of E.
    assert gcn["activations: propagation"] == 5 * e / 2 > mf["activations: propagation"]
    assert memory(training__method="lightgcn", model__l2=0)["activations: propagation"] == 4 * e / 2
    one = work(1, training__method="lightgcn")
    assert one.theta == 0 and step_flops(one, 0) == 2 * (2 * 2 * 8_000_000 * 64) + 3 * 2 * 4096 * 256 * 64
    wide = replace(SIZES, width=4096, groups=30)
    assert memory(sizes=wide, training__method="mf") == mf  # d and G play no part
    assert mean_step(work(training__method="mf"), H100)["optimiser"] == mean_step(one, H100)["optimiser"] / 2


def test_text_of_id_embeddings(tmp_path: Path) -> None:
    given = {**GIVEN, "plan.hardware": "cpu-2core", "training.method": "mf", "data.cache": str(tmp_path)}
    text = plan(override(TrainPlanSettings(), {**given, "data.representations": str(tmp_path / "none")}))
    assert text.startswith(
        "plan for id embeddings of 64 columns for 1,000,000 items and 100,000 users, 8,000,000 pairs, on 2 workers\n"
    )
    for absent in ("pool", "groups", "weights", "theta", "projection"):
        assert absent not in text
    huge = plan(override(TrainPlanSettings(), {**given, "plan.items": 10**8}))
    assert "--model.embedding_dim 32" in huge and "frozen" not in huge and "hidden" not in huge
    for saving in savings(override(TrainSettings(), {"training.method": "mf"}), replace(SIZES, items=10**9), 2, H100):
        parse(override(TrainSettings(), {"training.method": "mf"}), saving.words.split())  # the training takes it


def test_nothing_is_recomputed_for_ips() -> None:
    for method in ("bifair", "theta_only"):
        plain, ips = (work(training__method=method, balance__rule=rule) for rule in ("erm", "ips"))
        assert plain.balanced and not ips.balanced
        assert step_flops(ips, 0) == step_flops(ips, 1) == step_flops(plain, 1) < step_flops(plain, 0)


def test_what_to_change_where_it_does_not_fit() -> None:
    huge = replace(SIZES, items=20_000_000)
    settings = override(TrainSettings(), {"cluster.workers": 4})
    assert not fits(need(heaviest(settings, huge, 4, H100)[1], H100), H100, 4)
    found = {saving.words: saving for saving in savings(settings, huge, 4, H100)}
    (more,) = [saving for words, saving in found.items() if words.startswith("--cluster.workers")]
    one_less = more.workers - 1
    assert more.fits and not fits(need(heaviest(settings, huge, one_less, H100)[1], H100), H100, one_less)
    offloaded = found["--training.strategy deepspeed --deepspeed.offload_z_adam true"]
    assert offloaded.need.host > need(heaviest(settings, huge, 4, H100)[1], H100).host
    assert "--training.batch_size 1024" not in found  # 5 % at least, or it is not worth a line
    for saving in found.values():
        said = parse(settings, saving.words.split())
        assert need(heaviest(said, huge, said.cluster.workers, H100)[1], H100) == saving.need
        assert saving.fits == fits(saving.need, H100, said.cluster.workers)
    assert {saving.fits for saving in found.values()} == {True, False}
    assert "deepspeed" not in "".join(c.words for c in savings(settings, huge, 4, CPU))  # the host is all there is


def test_glibc_keeps_small_blocks_and_returns_large_ones() -> None:
    """Of sizes up to 32 MiB every one counts with its most; larger ones with one moment's."""
    few = work(sizes=Sizes(items=20_000, users=10_000, pairs=200_000, width=256, groups=8))
    one, counts = sizes(few), moments(few)
    assert max(one.values()) <= 32 * 2**20
    kept = {p.name: p.n_bytes for p in parts(few, keeps=True)}["freed, kept by glibc"]
    alive = max(sum(n * one[kind] for kind, n in moment.items()) for moment in counts.values())
    assert kept > 0 and sum(p.n_bytes for p in parts(few)) == sum(p.n_bytes for p in parts(few, keeps=True)) - kept
    assert kept + alive >= max(sum(n * one[k] for k, n in moment.items()) for moment in counts.values())
    many = memory(1)
    assert sum(many.values()) < sum(p.n_bytes for p in parts(work(1), keeps=True)) < 1.05 * sum(many.values())


def test_text() -> None:
    text = plan(override(TrainPlanSettings(), {**GIVEN, "plan.hardware": "h100-80gb", "cluster.workers": 2}))
    for wanted in (
        "plan for 1,000,000 items of 1,024 columns, 100,000 users, 8,000,000 pairs, 8 groups, on 2 workers",
        "  Z                                            1.91 GiB",
        "phase base:", "phase bilevel:", "h100-80gb   fits:", "with new weights", "docs/bytes.md",
    ):  # fmt: skip
        assert wanted in text
    assert "a100" not in text and "does not fit" not in text
    small = plan(override(TrainPlanSettings(), {**GIVEN, "plan.width": 4096, "plan.items": 5e6, "cluster.workers": 1}))
    assert "a100-80gb   does not fit" in small and "sent to other workers: nothing" in small
    assert "      --cluster.workers" in small


def test_slower_network_and_float64_take_longer() -> None:
    fast, slow = (sum(mean_step(work(), H100, network).values()) for network in (0.0, 1e9))
    assert slow > 2 * fast
    assert mean_step(work(model__dtype="float64"), H100)["projection"] == 2 * mean_step(work(), H100)["projection"]


def test_sizes_come_from_the_manifests(tmp_path: Path) -> None:
    """No other file is there to be read."""
    about = {"genre": {"entity": "item", "labels": ["a", "b", "c"]}}
    counts = {"items": 70, "users": 60, "train": 500}
    dataset = {"format": "bifair-dataset", "format_version": 1, "counts": counts, "groups": about, "checksums": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(dataset))
    settings = override(TrainPlanSettings(), {"data.dataset": str(tmp_path)})
    assert find_sizes(settings) == Sizes(items=70, users=60, pairs=500, width=384, groups=3)
    more = override(settings, {"plan.items": 10**6, "plan.width": 48})
    assert find_sizes(more) == Sizes(items=10**6, users=60, pairs=500, width=48, groups=3)
    with pytest.raises(UserError, match="has no group table 'colour'; it has: genre"):
        find_sizes(override(settings, {"balance.group": "colour"}))
    vectors = tmp_path / "vectors"
    vectors.mkdir()
    shards = [{"file": "part-00000.parquet", "rows": 70, "sha256": ""}]
    about_vectors = {"format": "bifair-representations", "format_version": 2, "rows": 70, "dim": 1024,
                     "dtype": "float32", "shards": shards, "ordered": True}  # fmt: skip
    (vectors / "manifest.json").write_text(json.dumps(about_vectors))
    assert find_sizes(override(settings, {"data.representations": str(vectors)})).width == 1024


def test_errors(tmp_path: Path) -> None:
    nothing = override(TrainPlanSettings(), {"data.cache": str(tmp_path)})
    with pytest.raises(UserError, match=r"^plan: give --data\.dataset FOLDER, or --plan\.items"):
        plan(nothing)
    with pytest.raises(UserError, match="no dataset here"):
        plan(override(nothing, {"data.dataset": str(tmp_path)}))
    with pytest.raises(UserError, match=r"^plan\.pairs: 7 pairs are more than 2 users and 3 items can have"):
        plan(override(nothing, {"plan.items": 3, "plan.users": 2, "plan.pairs": 7}))
    with pytest.raises(UserError, match=r"^cluster\.workers: 65 workers"):
        plan(override(nothing, {**GIVEN, "cluster.workers": 65}))
