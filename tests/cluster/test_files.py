"""Container file, virtual machines, Slurm, and every command that the files and pages name: it exists and parses."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from benchmarks.settings import BenchmarkSettings
from bifair_dist.command_line import parse, subcommand
from bifair_dist.errors import UserError
from bifair_dist.experiments.settings import StudySettings, TuneSettings
from bifair_dist.planning.settings import TrainPlanSettings
from bifair_dist.planning.text import named as named_profile
from bifair_dist.report.evaluate_settings import EvaluateSettings
from bifair_dist.rerank.settings import RerankSettings
from bifair_dist.serving.service_settings import ServeSettings
from bifair_dist.serving.settings import RecommendSettings
from bifair_dist.settings import Settings
from bifair_dist.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
PAGES = [*sorted(CLUSTER.glob("*")), ROOT / "docs" / "cluster.md", ROOT / "README.md"]

SETTINGS: dict[str, Settings] = {
    "jobs/train.py": TrainSettings(),
    "jobs/tune.py": TuneSettings(),
    "jobs/evaluate.py": EvaluateSettings(),
    "jobs/recommend.py": RecommendSettings(),
    "jobs/rerank.py": RerankSettings(),
    "jobs/serve.py": ServeSettings(),
    "jobs/benchmark.py": BenchmarkSettings(),
    "jobs/study.py": StudySettings(),
}


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every `python .../jobs/X.py arguments` of a text, over continued lines, shell variables filled in."""
    text = re.sub(r"^[ \t]*#[ \t]?", "", text, flags=re.MULTILINE)
    text = re.sub(r"\s*\\\n\s*", " ", text)
    text = re.sub(r">-\n(\s+.+\n)+", lambda folded: " ".join(folded[0].split()) + "\n", text)  # folded YAML
    for found in re.finditer(
        r"(?:python|python3\.11|torchrun[^\n]*?) (?:/opt/bifair/)?(jobs/\w+\.py)([^\n`|&]*)", text
    ):
        words = re.sub(r'"\$@"', "", found[2])
        words = re.sub(r"\$\(\([^)]*\)\)|\$\w+", "2", words)
        words = re.split(r"\s\.\.\.|\b\s{2,}", words)[0]  # two blanks: what follows explains
        yield found[1], shlex.split(words)


def named() -> list[tuple[str, str, list[str]]]:
    return [(p.name, *command) for p in PAGES if p.is_file() for command in commands(p.read_text())]


def check(job: str, arguments: list[str]) -> None:
    """Raise `UserError` where the entry point would refuse these arguments."""
    assert (ROOT / job).is_file(), job
    if "--help" in arguments:
        return
    words = [word for word in arguments if word != "my.yaml" and word != "--config"]
    mode, rest = subcommand(words, ("run", "plan"), job) if job == "jobs/train.py" else ("run", words)
    if mode == "plan":
        parse(TrainPlanSettings(), named_profile(rest))
    elif job in SETTINGS:
        named_first = job == "jobs/serve.py"  # the run may stand before the settings
        parse(SETTINGS[job], words[1:] if named_first and not words[0].startswith("-") else words)
    elif job == "jobs/prepare.py":
        runpy.run_path(str(ROOT / job))["_parser"]().parse_args(arguments)


@pytest.mark.parametrize(("page", "job", "arguments"), named(), ids=lambda v: v if isinstance(v, str) else "")
def test_a_named_command_exists_and_parses(page: str, job: str, arguments: list[str]) -> None:
    check(job, arguments)


def test_the_commands_were_found() -> None:
    trains = [page for page, job, _ in named() if job == "jobs/train.py"]
    for page in ("Dockerfile", "kuberay-cluster.yaml", "kuberay-job.yaml", "vms.yaml", "slurm.sh", "cluster.md"):
        assert page in trains
    with pytest.raises(UserError, match="unknown setting"):
        check("jobs/train.py", ["--training.runname", "x"])


@pytest.mark.parametrize(
    "file", [f for f in sorted(CLUSTER.glob("*")) if f.suffix not in (".dockerignore", ".json")], ids=str
)
def test_head_tells_the_command(file: Path) -> None:
    head = "\n".join(line for line in file.read_text().splitlines()[:25] if line.startswith("#"))
    assert re.search(r"(docker build|kubectl apply|ray up|sbatch) .*" + re.escape(f"cluster/{file.name}"), head)


# ---------------------------------------------------------------- container


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (CLUSTER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_container_does_not_run_as_root() -> None:
    names = [name for name, _ in instructions()]
    user = [rest for name, rest in instructions() if name == "USER"][-1]
    assert int(user.split(":")[0]) > 0  # a number, so that Kubernetes' runAsNonRoot can be sure
    after = names[len(names) - names[::-1].index("USER") :]
    assert set(after) <= {"CMD"}


def test_what_is_copied_exists_and_is_all_that_is_needed() -> None:
    copied = [
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    for source in copied:
        assert (ROOT / source).exists(), source
    kept = (CLUSTER / "Dockerfile.dockerignore").read_text().split()
    assert set(copied) == {line[1:] for line in kept if line.startswith("!")}
    assert "*" in kept
    wanted = {"bifair_dist", "jobs"} | ({"tune_spaces"} if any((ROOT / "tune_spaces").glob("*")) else set())
    assert wanted <= set(copied)


def test_images_have_no_registry_host() -> None:
    defaults = dict(rest.split("=", 1) for name, rest in instructions() if name == "ARG" and "=" in rest)
    stages = [re.sub(r"\$\{(\w+)\}", lambda m: defaults[m[1]], rest) for name, rest in instructions() if name == "FROM"]
    assert stages[-1].startswith("nvidia/cuda:")
    images = [stage.split()[0] for stage in stages]
    for file in CLUSTER.glob("*.yaml"):
        images += re.findall(r"^\s*(?:- )?image: (\S+)", file.read_text(), flags=re.MULTILINE)
    assert len(images) == 9
    for image in images:
        first, *rest = image.split("/")
        assert not rest or not re.search(r"[.:]|^localhost$", first), image


# ------------------------------------------------------- virtual machines


def test_the_launcher_takes_the_file() -> None:
    config = prepare_config(yaml.safe_load((CLUSTER / "vms.yaml").read_text()))
    validate_config(config)
    node = config["available_node_types"][config["head_node_type"]]
    assert node["min_workers"] == node["max_workers"] == len(config["provider"]["worker_ips"])
    (head,) = [command for command in config["head_start_ray_commands"] if "--head" in command]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]


def test_a_wrong_field_is_refused() -> None:
    config = yaml.safe_load((CLUSTER / "vms.yaml").read_text())
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config({**config, "max_worker": 2}))


# ------------------------------------------------------------------- Slurm


def slurm(folder: Path, *arguments: str, exit_code: int = 0) -> tuple[int, list[str], str]:
    """Run the script on a Slurm of stand-ins: exit code, the words that `srun` was given, what it wrote to stderr."""
    stubs = folder / ".venv" / "bin"  # the script looks for the environment below the folder it was submitted from
    stubs.mkdir(parents=True)
    words = folder / "words"
    for name, body in (
        ("srun", f'printf "%s\\n" "$@" > {words}; exit {exit_code}'),
        ("ray", "[ $1 = get-auth-token ]"),
        ("hostname", "echo 192.0.2.10 198.51.100.7"),
    ):
        (stubs / name).write_text(f"#!/bin/sh\n{body}\n")
        (stubs / name).chmod(0o755)
    given = {
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_ON_NODE": "4",
    }
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **given}
    script = ["bash", str(CLUSTER / "slurm.sh"), *arguments]
    done = subprocess.run(script, env=environment, cwd=folder, capture_output=True, text=True)
    return done.returncode, words.read_text().splitlines() if words.exists() else [], done.stderr


def test_slurm_script_is_bash() -> None:
    done = subprocess.run(["bash", "-n", str(CLUSTER / "slurm.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_slurm_script_starts_the_run_on_all_gpus(tmp_path: Path) -> None:
    code, words, error = slurm(tmp_path, "/data/my set", "first", "--bilevel.eta", "1e-3")
    assert (code, error) == (0, "")
    start, entrypoint = words[: words.index("--")], words[words.index("--") + 1 :]
    assert start[start.index("--address") + 1] == "192.0.2.10:23456"
    assert start[start.index("--min-nodes") + 1] == "2"
    assert entrypoint[:2] == ["python", "jobs/train.py"]
    settings = parse(TrainSettings(), entrypoint[2:])
    assert (settings.cluster.workers, settings.cluster.gpus_per_worker, settings.bilevel.eta) == (8, 1, 1e-3)
    assert (settings.data.dataset, settings.training.run_name) == ("/data/my set", "first")


def test_slurm_script_carries_the_exit_code(tmp_path: Path) -> None:
    assert slurm(tmp_path, "/data/set", "first", exit_code=2)[0] == 2


def test_slurm_script_wants_its_arguments(tmp_path: Path) -> None:
    code, words, error = slurm(tmp_path, "/data/set")
    assert (code, words) == (2, [])
    assert error.startswith("usage: sbatch cluster/slurm.sh")
