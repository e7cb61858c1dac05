"""The files for Kubernetes: fields and types as published, a retry that resumes, one folder seen by all, no root."""

from __future__ import annotations

import copy
import importlib
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bifair_dist.command_line import parse
from bifair_dist.serving.service_settings import ServeSettings
from bifair_dist.settings import override
from bifair_dist.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "cluster").glob("kuberay-*.yaml"))
CLUSTERS = ("cluster", "job", "service")
SCHEMA = json.loads((Path(__file__).parent / "kuberay_schema.json").read_text())


def read(name: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((ROOT / "cluster" / f"kuberay-{name}.yaml").read_text())
    return dict(document)


def cluster_spec(name: str) -> dict[str, Any]:
    spec = read(name)["spec"]
    return dict(spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec)


def pods(name: str) -> list[dict[str, Any]]:
    spec = cluster_spec(name)
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def train_settings() -> TrainSettings:
    python, program, *arguments = shlex.split(read("job")["spec"]["entrypoint"])
    assert (python, program) == ("python", "/opt/bifair/jobs/train.py")
    return parse(TrainSettings(), arguments)


def test_there_are_four_files() -> None:
    assert [read(f.stem.removeprefix("kuberay-"))["kind"] for f in FILES] == [
        "RayCluster",
        "RayJob",
        "RayService",
        "PersistentVolumeClaim",
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_follows_the_published_definitions(file: Path) -> None:
    jsonschema.validate(yaml.safe_load(file.read_text()), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "backofLimit"), 3),
        (("spec", "backoffLimit"), "3"),
        (("spec", "submissionMode"), "Kubernetes"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replicas"), "4"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "resources", "limits"), 4),
        (("kind",), "RayCluster"),
    ],
    ids=lambda v: str(v[-1]) if isinstance(v, tuple) else "",
)
def test_a_wrong_field_is_refused(path: tuple[Any, ...], value: object) -> None:
    document = copy.deepcopy(read("job"))
    *parents, last = path
    target: Any = document
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_the_job_starts_the_same_cluster_as_the_cluster_file() -> None:
    assert cluster_spec("job") == cluster_spec("cluster")


def test_a_retry_goes_on_with_the_run_on_the_shared_volume() -> None:
    settings, spec = train_settings(), read("job")["spec"]
    assert spec["backoffLimit"] > 0
    assert settings.training.run_name  # the same one in every try
    for path in (settings.training.output, settings.data.dataset, settings.data.cache):
        assert Path(path).is_relative_to("/shared")
    assert getattr(settings.training, "resume", "auto") == "auto"


def test_every_pod_sees_the_shared_claim() -> None:
    claim = read("storage")
    assert "ReadWriteMany" in claim["spec"]["accessModes"]
    for name in CLUSTERS:
        for pod in pods(name):
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            (container,) = pod["containers"]
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert set(mounts.values()) <= set(volumes)
            assert volumes[mounts["/shared"]]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_workers_fit_the_gpu_group() -> None:
    cluster, (group,) = train_settings().cluster, cluster_spec("job")["workerGroupSpecs"]
    # The trainer counts what is there when it starts, so nothing may be left to be scaled up later.
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert cluster.workers * cluster.gpus_per_worker <= group["replicas"] * int(limits["nvidia.com/gpu"])
    assert cluster.gpus_per_worker >= 1  # else a cluster without its GPUs would train on CPUs and not say so
    assert cluster.workers * cluster.cpus_per_worker <= group["replicas"] * int(limits["cpu"])


def test_the_service_is_one_that_serve_takes_and_fits_its_pods() -> None:
    schema = pytest.importorskip("ray.serve.schema", exc_type=ImportError, reason="needs the extra serve")
    config = yaml.safe_load(read("service")["spec"]["serveConfigV2"])
    (application,) = config["applications"]
    for kind, fields in (
        (schema.ServeDeploySchema, config),
        (schema.HTTPOptionsSchema, config["http_options"]),
        (schema.LoggingConfig, config["logging_config"]),
        (schema.ServeApplicationSchema, application),
    ):
        kind.model_validate(fields)
        assert set(fields) <= set(kind.model_fields)  # Serve itself passes over a name that it does not know
    module, _, name = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    settings = override(ServeSettings(), application["args"])
    assert Path(settings.run).is_relative_to("/shared")
    (group,) = cluster_spec("service")["workerGroupSpecs"]
    pods_cpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert settings.serve.replicas * settings.serve.threads <= group["replicas"] * pods_cpus
    for pod in pods("service"):
        ports = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        assert ports["serve"] == config["http_options"]["port"]


def test_pods_are_not_root_and_clients_need_the_token() -> None:
    for name in CLUSTERS:
        assert cluster_spec(name)["authOptions"] == {"mode": "token"}
        assert cluster_spec(name)["headGroupSpec"]["serviceType"] == "ClusterIP"
        for pod in pods(name):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] > 0
            assert pod["automountServiceAccountToken"] is False
            for container in pod["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_ray_is_the_version_that_the_package_installs() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (pin,) = (re.sub(r"\.\*$", ".", name.split("==")[1]) for name in wanted if name.startswith("ray["))
    for name in CLUSTERS:
        assert cluster_spec(name)["rayVersion"].startswith(pin)
