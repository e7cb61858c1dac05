"""What docs/security.md promises: no code from files, no path or command from data, nothing listens to the network."""

from __future__ import annotations

import ast
import csv
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from small_runs import Small, run

from bifair_dist.data.dataset import read_dataset
from bifair_dist.data.representations import write_representations

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("bifair_dist", "jobs") for path in (ROOT / room).rglob("*.py"))
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}


# ------------------------------------------------- code that runs what it reads


def dangers(code: str) -> Iterator[str]:
    """Calls and imports by which a file or a string becomes code, or a string a shell command."""
    tree = ast.parse(code)
    safe = {"yaml.SafeLoader", "yaml.CSafeLoader"}
    safe |= {c.name for c in ast.walk(tree) if isinstance(c, ast.ClassDef) and {ast.unparse(b) for b in c.bases} & safe}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in PICKLING)
        if not isinstance(node, ast.Call):
            continue
        called, named = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        second = ast.unparse(node.args[1]) if len(node.args) > 1 else named.get("Loader", "")
        if (
            (called == "torch.load" and named.get("weights_only") != "True")
            or (called in ("np.load", "numpy.load") and named.get("allow_pickle", "False") != "False")
            or called.endswith(("read_pickle", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"))
            or (called == "yaml.load" and second not in safe)
            or (called.startswith("subprocess.") and named.get("shell", "False") != "False")
            or called in ("eval", "exec", "__import__", "compile")
            or named.get("trust_remote_code") == "True"
        ):
            yield f"line {node.lineno}: {ast.unparse(node)[:80]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_becomes_code(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "pd.read_pickle(f)",
        "yaml.load(t, yaml.Loader)",
        "yaml.load(t)",
        "class L(yaml.Loader): pass\nyaml.load(t, L)",
        "os.system(f'ls {name}')",
        "subprocess.run(line, shell=True)",
        "eval(text)",
        "AutoModel.from_pretrained(m, trust_remote_code=True)",
    ],
)
def test_the_search_finds(code: str) -> None:
    assert list(dangers(code))


@pytest.mark.parametrize(
    "code", ["torch.load(f, weights_only=True)", "np.load(f)", "class L(yaml.SafeLoader): pass\nyaml.load(t, L)"]
)
def test_the_search_leaves_alone(code: str) -> None:
    assert not list(dangers(code))


# ------------------------------------------------------- names that come from data

HOSTILE = [
    "../../up",
    "/tmp/abs",
    "..",
    "a/b",
    "; touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "-rf",
    "x\ty",
    "{title}",
]


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture()
def hostile(tmp_path: Path) -> Path:
    """A catalogue in which ids, titles, groups and names of columns are paths and commands."""
    folder = tmp_path / "raw"
    folder.mkdir()
    users = [f"{name}{n}" for n in range(2) for name in HOSTILE]
    write_csv(folder / "interactions.csv", ["user_id", "item_id"], [[u, i] for u in users for i in HOSTILE])
    items = [[name, name, f"{name}|../../evil", name] for name in HOSTILE]
    write_csv(folder / "items.csv", ["item_id", "title", "genres", "../../provider"], items)
    write_csv(folder / "users.csv", ["user_id", "../../country"], [[u, "../../evil"] for u in users])
    return folder


def prepare(folder: Path, out: Path, *groups: str) -> subprocess.CompletedProcess[str]:
    options = ["--source", "generic", "--input", str(folder), "--out", str(out), "--k-core", "1", "--groups", *groups]
    command = [sys.executable, str(ROOT / "jobs" / "prepare.py"), *options]
    return subprocess.run(
        command, cwd=folder.parent, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_hostile_ids_and_groups_stay_in_their_folders(hostile: Path, tmp_path: Path) -> None:
    top = tmp_path
    given = files_below(top)
    out = top / "a" / "b" / "dataset"
    done = prepare(
        hostile, out, "genre:8+rest", "provider:../../provider:3", "user:../../country", "popularity:quintiles"
    )
    assert done.returncode == 0, done.stderr
    dataset = read_dataset(out)
    assert set(dataset.groups) == {"genre", "provider", "user_.._.._country", "popularity"}
    assert set(dataset.item_ids) == set(HOSTILE)
    small = Small(out, top / "a" / "b" / "vectors")
    vectors = np.random.default_rng(0).standard_normal((dataset.n_items, 8)).astype(np.float32)
    write_representations(small.representations, dataset.item_ids, vectors, {"model": "random"})
    folder = run(small, top / "a" / "b" / "runs", {"training.run_name": "hostile", "training.batch_size": 64})
    assert (folder / "recommendations.parquet").is_file()
    new = files_below(top) - given
    expected = ("a/b/dataset/", "a/b/vectors/", "a/b/runs/")
    assert not [name for name in new if not name.startswith(expected)]
    assert not [name for name in files_below(top) if "pwned" in name or "evil" in name]
    assert {name for name in new if "/groups/" in name} == {f"a/b/dataset/groups/{g}.parquet" for g in dataset.groups}


@pytest.mark.parametrize("name", ["../../up", "/tmp/abs", "..", "a/b"])
def test_a_group_table_is_not_named_after_a_path(hostile: Path, tmp_path: Path, name: str) -> None:
    before = files_below(tmp_path)
    done = prepare(hostile, tmp_path / "dataset", f"{name}=popularity:quintiles")
    assert done.returncode == 2
    assert f"the name '{name}' must be made of" in done.stderr
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", ["../up", "/tmp/abs", "..", "a/b"])
def test_a_run_is_not_named_after_a_path(tmp_path: Path, name: str) -> None:
    from bifair_dist.errors import UserError
    from bifair_dist.settings import override
    from bifair_dist.training.run_folder import open_run_folder
    from bifair_dist.training.settings import TrainSettings

    with pytest.raises(UserError, match="plain folder name"):
        open_run_folder(override(TrainSettings(), {"training.output": str(tmp_path), "training.run_name": name}))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- who may connect


def test_ray_and_mlflow_listen_on_loopback_unless_told() -> None:
    import mlflow.cli
    import ray

    assert inspect.signature(ray.init).parameters["dashboard_host"].default == "127.0.0.1"
    (host,) = [o for o in mlflow.cli.server.params if isinstance(o, click.Option) and "--host" in o.opts]
    assert host.default == "127.0.0.1"
    for path in SOURCES:
        code = path.read_text(encoding="utf-8")
        assert "0.0.0.0" not in code and "dashboard_host" not in code, path


@pytest.mark.parametrize("name", ["../outside.parquet", "/etc/outside.parquet", "groups/../../outside.parquet", 7])
def test_a_forged_manifest_leads_nowhere(name: object, tmp_path: Path) -> None:
    from bifair_dist.data.representations import read_manifest, write_representations
    from bifair_dist.errors import UserError

    folder = write_representations(tmp_path / "z", ["a"], np.ones((1, 2), np.float32), {})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["file"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="leads out of the folder"):
        read_manifest(folder)


@pytest.mark.parametrize("key", ["checksums", "groups"])
def test_a_forged_dataset_manifest_leads_nowhere(key: str, tmp_path: Path) -> None:
    from bifair_dist.data.dataset import read_dataset
    from bifair_dist.data.generated import generate_dataset
    from bifair_dist.errors import UserError

    generate_dataset(tmp_path / "d")
    path = tmp_path / "d" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest[key]["../../outside"] = {}
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="leads out of the folder"):
        read_dataset(tmp_path / "d")
