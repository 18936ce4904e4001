"""The Helm chart as Helm makes objects of it, and as Kubernetes, KEDA and the Prometheus operator would read these."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from client_rooms import environment, python_of
from processes import REPOSITORY
from ruamel.yaml import YAML

CHART = REPOSITORY / "deploy" / "chart"
CASES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "fw", "prod"

#: The oldest Kubernetes that the chart allows, and the newest that the room's package has.
KUBERNETES = ("1.27", "1.37")

#: Runs in the room. Prints what is wrong with the releases of stdin. An object that a model gives back without a field
#: has a field that the model does not know.
CHECK = """
import functools, json, sys
import kubernetes_validate.utils
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

MODELS = {each.__name__: each for each in (ScaledObject, PrometheusRule, ServiceMonitor)}
# It would read megabytes again for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)

def lost(given, kept, path):
    if isinstance(given, dict):
        if not isinstance(kept, dict):
            return [path]
        return [each for name in given for each in lost(given[name], kept.get(name), f"{path}.{name}")]
    if isinstance(given, list):
        kept = kept if isinstance(kept, list) else []
        kept = kept + [None] * len(given)
        return [each for n, one in enumerate(given) for each in lost(one, kept[n], f"{path}[{n}]")]
    return [path] if kept is None else []

def checked(item):
    if item["kind"] in MODELS:
        model = MODELS[item["kind"]].model_validate(item)
        yield from lost(item, model.model_dump(mode="json", by_alias=True, exclude_none=True), "")
    else:
        for version in sys.argv[1:]:
            kubernetes_validate.validate(item, version, strict=True)

wrong = {}
for release, items in json.load(sys.stdin).items():
    wrong[release] = []
    for item in items:
        try:
            wrong[release] += (f"{item['kind']}: {path} is not known" for path in checked(item))
        except Exception as refused:
            said = str(getattr(refused, "message", refused))[:500]
            wrong[release].append(f"{item['kind']} {item['metadata']['name']}: {said}")
print(json.dumps(wrong))
"""


class Refused(Exception):
    """Helm makes nothing of these values."""


def helm(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Helm. It reaches no cluster: it has no configuration of one."""
    program = python_of("helm").parent / "helm"
    return subprocess.run(
        [str(program), *map(str, arguments)],
        env=environment() | {"KUBECONFIG": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def objects(
    *files: Path, chart: Path = CHART, values: Mapping[str, object] | None = None, release: str = RELEASE
) -> list[dict[str, Any]]:
    """Return the objects of a release. ``values``, by their paths, go before the files' ones. Raises Refused."""
    given = [part for file in files for part in ("--values", file)]
    given += [part for name, value in (values or {}).items() for part in ("--set-json", f"{name}={json.dumps(value)}")]
    made = helm("template", release, chart, "--namespace", NAMESPACE, *given)
    if made.returncode:
        raise Refused(made.stderr)
    return [each for each in YAML(typ="safe", pure=True).load_all(made.stdout) if each]


def notes(tmp_path: Path, *files: Path) -> str:
    """Return what a person reads after the installation: Helm shows it only when there is a cluster."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text()
    wrapped = f'{{{{- define "notes" }}}}{text}{{{{ end }}}}kind: Notes\ntext: {{{{ include "notes" . | quote }}}}\n'
    (chart / "templates" / "notes.yaml").write_text(wrapped)
    (found,) = of_kind(objects(*files, chart=chart), "Notes")
    return str(found["text"])


def complaints(releases: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """Return what Kubernetes and the makers of the custom resources would refuse, by release."""
    done = subprocess.run(
        [str(python_of("helm")), "-c", CHECK, *KUBERNETES],
        input=json.dumps(releases),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def of_kind(found: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [each for each in found if each["kind"] in kinds]


def pods(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the pod template of each deployment, by its component or, of workers, by the group too."""
    return {
        each["metadata"]["name"].removeprefix(f"{RELEASE}-agentic-flywheel-"): each["spec"]["template"]
        for each in of_kind(found, "Deployment")
    }


def containers(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, template in pods(found).items():
        for container in template["spec"]["containers"]:
            yield name, container


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def variables(container: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of a container: their values, or the keys of Secrets that have them."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}
