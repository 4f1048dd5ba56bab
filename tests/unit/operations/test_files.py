"""docker/ and k8s/: what can be said of them without an engine, a cluster or Prometheus. `make check` does the rest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from app.api.keys import looks_like_key
from app.api.service import Service
from app.api.service_metrics import QueueMetrics, ServiceMetrics
from app.jobs import keys
from app.main import create_app
from app.settings import PREFIX, Settings
from app.telemetry.metrics import METRICS

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
OPERATED = sorted(
    path
    for folder in ("docker", "k8s")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix in {".yaml", ".yml", ".env", ""} and "__pycache__" not in path.parts
)
MANIFESTS = [path for path in OPERATED if path.suffix in {".yaml", ".yml"}]


def documents(path: Path) -> list[Any]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def in_base() -> list[Any]:
    return [each for path in (ROOT / "k8s/base").glob("*.yaml") for each in documents(path)]


def test_every_manifest_is_yaml() -> None:
    assert len(MANIFESTS) > 25
    assert all(documents(path) for path in MANIFESTS)


@pytest.mark.parametrize("path", OPERATED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_setting_that_is_set_exists(path: Path) -> None:
    named = set(re.findall(r"\bCHETKO_[A-Z0-9_]+", path.read_text()))
    assert named <= SETTINGS


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_every_dependency_is_pinned_with_a_hash(target: str) -> None:
    text = (ROOT / f"docker/requirements-{target}.txt").read_text()
    assert "://" not in text
    entries = re.findall(
        r"^([a-z0-9-]+)(?:\[[^]]*\])?==\S+ \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.M
    )
    pinned = {name for name, _ in entries}
    assert len(re.findall(r"^[a-z]", text, re.M)) == len(entries)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"][target],
        *project["optional-dependencies"]["otel"],
    ]
    names = {re.match(r"[A-Za-z0-9-]+", each)[0].lower() for each in wanted}  # type: ignore[index]
    assert names <= pinned
    assert "torch" not in pinned


def test_docker_and_kubernetes_have_the_same_alerts_and_dashboard() -> None:
    (alerts,) = documents(ROOT / "docker/prometheus/alerts.yml")
    (rule,) = documents(ROOT / "k8s/components/monitoring/rules.yaml")
    assert rule["spec"] == alerts
    dashboard = (ROOT / "docker/grafana/chetko.json").read_bytes()
    assert (ROOT / "k8s/components/monitoring/dashboard.json").read_bytes() == dashboard


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    (alerts,) = documents(ROOT / "docker/prometheus/alerts.yml")
    asked = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    dashboard = json.loads((ROOT / "docker/grafana/chetko.json").read_text())
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(asked) > 30
    there = set(shown())
    for expression in asked:
        assert set(re.findall(r"\bchetko_[a-z_]+", expression)) <= there, expression


def shown() -> list[str]:
    """The names under which Prometheus sees what is counted and what is looked up."""
    service = Service(Settings())
    looked_up = [
        family.name for one in (ServiceMetrics(service), QueueMetrics(lambda: None)) for family in one.collect()
    ]
    service.close()
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    counted = [family.name + ending for family in METRICS.collect() for ending in endings[family.type]]
    return looked_up + counted


def test_the_ingress_leads_to_every_route_but_the_probes() -> None:
    (ingress,) = (each for each in in_base() if each["kind"] == "Ingress")
    paths = [(each["path"], each["pathType"]) for each in ingress["spec"]["rules"][0]["http"]["paths"]]

    def led(path: str) -> bool:
        return any(
            path == prefix or (kind == "Prefix" and path.startswith(prefix.rstrip("/") + "/")) for prefix, kind in paths
        )

    app = create_app(Settings(), load=lambda _: cast("Any", SimpleNamespace()))
    routes = set(app.openapi()["paths"]) | {
        "/",
        "/favicon.ico",
        "/static/main.js",
        "/openapi.json",
        "/docs",
    }
    assert len(routes) > 8
    assert {path for path in routes if not led(path)} == {"/livez", "/readyz"}


def test_pods_get_longer_than_the_service_takes_to_drain() -> None:
    config = dict(line.split("=", 1) for line in (ROOT / "k8s/base/settings.env").read_text().splitlines())
    drain = int(config["CHETKO_DRAIN_SECONDS"])
    for each in in_base():
        if each["kind"] == "Deployment":
            pod = each["spec"]["template"]["spec"]
            pause = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            assert pod["terminationGracePeriodSeconds"] >= drain + pause + 10
    (compose,) = documents(ROOT / "docker/compose.yaml")
    assert int(compose["x-process"]["stop_grace_period"].removesuffix("s")) >= Settings().drain_seconds + 10


@pytest.mark.parametrize("file", ["k8s/base/valkey.yaml", "docker/compose.yaml"])
def test_the_queue_never_forgets(file: str) -> None:
    text = (ROOT / file).read_text()
    words = " ".join(re.sub(r"[\[\],\"-]|#.*", " ", text).split())
    for setting in ("maxmemory policy noeviction", "appendonly yes", "appendfsync always"):
        assert setting in words


def test_the_secret_has_every_key_that_pods_ask_for_and_is_new_each_time() -> None:
    first, second = (
        json.loads(subprocess.run([sys.executable, ROOT / "k8s/make-secret"], check=True, capture_output=True).stdout)
        for _ in range(2)
    )
    asked = set(re.findall(r"name: chetko-secrets, key: ([a-z0-9-]+)", "".join(p.read_text() for p in MANIFESTS)))
    assert asked | {"bootstrap-key"} == set(first["stringData"])
    assert looks_like_key(first["stringData"]["bootstrap-key"])
    assert len(first["stringData"]["secret-key"]) >= 32
    assert not set(first["stringData"].values()) & set(second["stringData"].values())


def test_the_secret_takes_the_keys_of_an_own_bucket() -> None:
    id_, secret = f"{PREFIX}S3_ACCESS_KEY_ID", f"{PREFIX}S3_SECRET_ACCESS_KEY"

    def made(**given: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        command = [sys.executable, ROOT / "k8s/make-secret"]
        return subprocess.run(command, check=False, capture_output=True, text=True, env={**inherited, **given})

    own = json.loads(made(**{id_: "AKIA1", secret: "hush"}).stdout)["stringData"]
    assert (own["s3-access-key-id"], own["s3-secret-access-key"]) == ("AKIA1", "hush")
    role = json.loads(made(**{id_: "", secret: ""}).stdout)["stringData"]
    assert (role["s3-access-key-id"], role["s3-secret-access-key"]) == ("", "")
    half = made(**{id_: "AKIA1"})
    assert half.returncode == 1
    assert half.stdout == ""
    assert "belong together" in half.stderr


def test_compose_asks_only_for_what_its_secrets_bring() -> None:
    made = subprocess.run([sys.executable, ROOT / "docker/make-env"], check=True, capture_output=True, text=True).stdout
    names = {line.split("=")[0] for line in made.splitlines()}
    assert set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "docker/compose.yaml").read_text())) == names


def test_compose_has_the_whole_system_and_its_gpu_file_changes_what_computes() -> None:
    (compose,) = documents(ROOT / "docker/compose.yaml")
    services = compose["services"]
    assert set(services) == {"api", "worker", "valkey", "store", "prometheus", "grafana"}
    for name in ("api", "worker"):
        assert services[name]["user"] == "10001:10001"
        assert services[name]["read_only"]
        assert services[name]["environment"]["CHETKO_S3_ENDPOINT"] == "http://store:9000"
        assert services[name]["environment"]["CHETKO_REDIS_URL"].startswith("redis://valkey:6379/")
    # A tag that moves would make two starts of the same file two systems.
    assert all(re.search(r":[^/:]*\d", each["image"]) for each in services.values() if each["image"] != "chetko:cpu")
    (gpu,) = documents(ROOT / "docker/compose.gpu.yaml")
    assert set(gpu["services"]) == {"api", "worker"}
    for each in gpu["services"].values():
        assert (each["image"], each["environment"]) == ("chetko:gpu", {"CHETKO_PLATFORM": "gpu"})
        (device,) = each["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_keda_counts_the_tasks_of_the_queue() -> None:
    (_, scaled) = documents(ROOT / "k8s/components/keda/scaled-object.yaml")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["listName"] == keys.QUEUE
    assert scaled["spec"]["minReplicaCount"] == 0


def test_pods_are_watched_and_bounded() -> None:
    """What checkov and the schemas do not ask: who is asked what, and that nothing is without a bound."""
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in in_base()
        if each["kind"] in {"Deployment", "StatefulSet"}
    }
    assert set(pods) == {"chetko-api", "chetko-worker", "chetko-valkey", "chetko-store"}
    probes = {
        name: {
            probe: container[probe].get("httpGet", {}).get("path")
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
            if probe in container
        }
        for name, pod in pods.items()
        for container in pod["containers"]
    }
    assert probes["chetko-api"] == {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    assert set(probes["chetko-worker"].values()) == {"/metrics"}
    assert all("readinessProbe" in each and "livenessProbe" in each for each in probes.values())
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]["limits"]) >= {"cpu", "memory"} <= set(container["resources"]["requests"])
    kinds = [each["kind"] for each in in_base()]
    assert kinds.count("PodDisruptionBudget") == 2
    assert kinds.count("HorizontalPodAutoscaler") == 1
    (scaled,) = (each for each in in_base() if each["kind"] == "HorizontalPodAutoscaler")
    assert scaled["spec"]["scaleTargetRef"]["name"] == "chetko-api"


def test_both_images_are_labelled_with_this_release() -> None:
    text = (ROOT / "docker/Dockerfile").read_text()
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.findall(r'org\.opencontainers\.image\.version="([^"]+)"', text) == [release, release]
