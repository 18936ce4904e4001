"""The Helm chart is right, as far as that can be said without a cluster."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import REPOSITORY
from pydantic import AliasChoices
from ruamel.yaml import YAML
from shipping.chart import (
    CASES,
    CHART,
    NAMESPACE,
    RELEASE,
    Refused,
    complaints,
    containers,
    helm,
    notes,
    objects,
    of_kind,
    pods,
    selects,
    variables,
)

from agentic_flywheel.access.file import new_token
from agentic_flywheel.access.grant import Scope
from agentic_flywheel.access.tokens import Tokens
from agentic_flywheel.settings import Settings
from http_gateway.__main__ import _parser as gateway_parser
from http_gateway.app import build_app
from http_gateway.gateway import Gateway
from workers.__main__ import _parser as worker_parser
from workers.readiness import Readiness

DEFAULTS = YAML(typ="safe").load(CHART / "values.yaml")
#: Workers that KEDA scales.
SCALED = {
    "workerDefaults.autoscaling.enabled": True,
    "monitoring.enabled": True,
    "monitoring.prometheusUrl": "http://prometheus",
}
TRIAL, PRODUCTION, WORKERS = (CHART / "ci" / f"{name}-values.yaml" for name in ("trial", "production", "workers"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
#: Settings that the chart has values of its own for, or that would be wrong in a pod.
OF_THE_CHART = {
    *("REDIS_URL", "FLYWHEEL_KEY_PREFIX", "FLOWISE_BASE_URL", "FLOWISE_API_KEY"),
    *("LANGFUSE_BASE_URL", "LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"),
    *("FLYWHEEL_REGISTRY", "FLYWHEEL_PROFILES", "FLYWHEEL_GRACE"),
    *("FLYWHEEL_METRICS_HOST", "FLYWHEEL_METRICS_PORT", "FLYWHEEL_MCP_TOKENS", "FLYWHEEL_TOKENS_FILE"),
    "FLOWER_BASIC_AUTH",
}
#: Files and folders in a pod, which goes: a log is what the container writes, state is in the broker.
NOT_IN_A_POD = {
    *("FLYWHEEL_HOME", "FLYWHEEL_LOG_FILE", "FLYWHEEL_LOG_BYTES", "FLYWHEEL_LOG_FILES"),
    "FLYWHEEL_MCP_TOKENS_FILE",
}
NOT_SETTINGS = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"}


def variable_of(name: str) -> str:
    """Return the variable that the chart uses for a setting: of two, the one without FLYWHEEL."""
    alias = Settings.model_fields[name].validation_alias
    if isinstance(alias, AliasChoices):
        found = [str(each) for each in alias.choices]
        return next((each for each in found if not each.startswith("FLYWHEEL_")), found[0])
    return str(alias) if alias else f"FLYWHEEL_{name.upper()}"


VARIABLES = {variable_of(name) for name in Settings.model_fields}
SECRETS = {variable_of(name) for name, each in Settings.model_fields.items() if "SecretStr" in str(each.annotation)}


@pytest.fixture(scope="module", params=CASES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> Path:
    found = request.param
    assert isinstance(found, Path)
    return found


@pytest.fixture(scope="module")
def made(case: Path) -> list[dict[str, Any]]:
    return objects(case)


def test_helm_finds_nothing_to_complain_of(case: Path) -> None:
    said = helm("lint", "--strict", CHART, "--values", case)

    assert said.returncode == 0, said.stdout
    assert "0 chart(s) failed" in said.stdout


def test_every_object_is_one_that_kubernetes_keda_and_prometheus_know_and_a_misspelt_field_none() -> None:
    misspelt = objects(PRODUCTION)
    of_kind(misspelt, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    of_kind(misspelt, "ScaledObject")[0]["spec"]["minReplicas"] = 2
    of_kind(misspelt, "ServiceMonitor")[0]["spec"]["endpoints"][0]["intervall"] = "15s"

    found = complaints({"misspelt": misspelt, **{case.stem: objects(case) for case in CASES}})

    assert sorted(found.pop("misspelt")) == [
        f"Deployment {RELEASE}-agentic-flywheel-flower: Additional properties are not allowed ('imagePulPolicy' was "
        "unexpected)",
        "ScaledObject: .spec.minReplicas is not known",
        "ServiceMonitor: .spec.endpoints[0].intervall is not known",
    ]
    assert found == {case.stem: [] for case in CASES}


def test_every_variable_of_a_pod_is_a_setting_and_the_other_way_round(made: list[dict[str, Any]]) -> None:
    told = {name for _, container in containers(made) for name in variables(container)}
    may_be_set = set(SCHEMA["properties"]["settings"]["propertyNames"]["enum"])

    assert told - NOT_SETTINGS <= VARIABLES
    assert may_be_set - NOT_SETTINGS | OF_THE_CHART | NOT_IN_A_POD == VARIABLES
    assert not may_be_set & (OF_THE_CHART | NOT_IN_A_POD | SECRETS)


def test_every_process_at_the_broker_is_told_the_prefix_of_its_keys() -> None:
    told = [variables(each) for _, each in containers(objects(PRODUCTION))]

    assert {each.get("FLYWHEEL_KEY_PREFIX") for each in told if "REDIS_URL" in each} == {"blue:"}


def test_a_secret_is_in_the_secret_alone() -> None:
    found = objects(
        TRIAL, values={"secret.FLOWISE_API_KEY": "flowise-key", "registry.content": "operational_flows: {}"}
    )
    (secret,) = of_kind(found, "Secret")
    others = json.dumps([each for each in found if each is not secret])

    assert set(secret["stringData"]) == {"REDIS_URL", "FLYWHEEL_MCP_TOKENS", "FLOWER_BASIC_AUTH", "FLOWISE_API_KEY"}
    assert "redis-password" in secret["stringData"]["REDIS_URL"]
    assert not [value for value in secret["stringData"].values() if value in others]
    for word in ("redis-password", "a-token-that", "flower-password", "flowise-key"):
        assert word not in others


def test_secret_variables_come_from_the_secret_by_their_own_names(made: list[dict[str, Any]], case: Path) -> None:
    secret = f"{RELEASE}-agentic-flywheel" if case == TRIAL else "flywheel"
    for name, container in containers(made):
        for variable, value in variables(container).items():
            if variable in SECRETS | {"REDIS_URL", "FLOWER_BASIC_AUTH"}:
                chosen = {key: each for key, each in value["secretKeyRef"].items() if key != "optional"}
                assert chosen == {"name": secret, "key": variable}, name
    assert bool(of_kind(made, "Secret")) is (case == TRIAL)


def test_the_pods_time_to_stop_is_the_workers_own(made: list[dict[str, Any]]) -> None:
    for name, template in pods(made).items():
        if name.startswith("worker-"):
            given = template["spec"]["terminationGracePeriodSeconds"]
            assert variables(template["spec"]["containers"][0])["FLYWHEEL_GRACE"] == f"{given}s"
    default = YAML(typ="safe").load(CHART / "values.yaml")["drainSeconds"]

    assert default == Settings.model_fields["grace"].default.total_seconds()


def test_the_health_of_a_worker_is_the_age_of_its_file_as_its_image_says(made: list[dict[str, Any]]) -> None:
    dockerfile = (REPOSITORY / "deploy" / "Dockerfile").read_text()
    for name, container in containers(made):
        if name.startswith("worker-"):
            asked = {tuple(container[probe]["exec"]["command"]) for probe in ("startupProbe", "readinessProbe")}
            assert asked == {tuple(container["livenessProbe"]["exec"]["command"])}
            shell, option, command = asked.pop()
            assert (shell, option) == ("sh", "-c")
            assert f"CMD {command}" in dockerfile
            assert f"-newermt '-{Readiness.FRESH} seconds'" in command
            assert f"--ready-file={command.split()[1]}" in container["args"]
        else:
            assert all(probe in container for probe in ("startupProbe", "readinessProbe", "livenessProbe")), name


def test_no_process_may_do_more_than_it_needs(made: list[dict[str, Any]]) -> None:
    for name, template in pods(made).items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert f"--uid {pod['securityContext']['runAsUser']} " in (REPOSITORY / "deploy" / "Dockerfile").read_text()
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert (rights["readOnlyRootFilesystem"], rights["allowPrivilegeEscalation"]) == (True, False), name
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"], name
            assert container["resources"]["requests"]["cpu"], name
            # What is written, is written into folders of the pod's own.
            own = {each["name"] for each in pod["volumes"] if "emptyDir" in each}
            assert {"/tmp", "/app/.flywheel"} <= {
                each["mountPath"] for each in container["volumeMounts"] if each["name"] in own
            }


def test_volumes_that_are_mounted_are_declared_and_the_other_way_round(made: list[dict[str, Any]]) -> None:
    maps = {each["metadata"]["name"] for each in of_kind(made, "ConfigMap")} | {"flow-registry", "domain-profiles"}
    for name, template in pods(made).items():
        declared = {each["name"]: each for each in template["spec"]["volumes"]}
        mounted = {each["name"] for one in template["spec"]["containers"] for each in one["volumeMounts"]}
        assert mounted == set(declared), name
        assert {each["configMap"]["name"] for each in declared.values() if "configMap" in each} <= maps


def test_whatever_selects_pods_finds_them_and_only_those_of_one_deployment(made: list[dict[str, Any]]) -> None:
    labels = {name: template["metadata"]["labels"] for name, template in pods(made).items()}
    for deployment in of_kind(made, "Deployment"):
        chosen = deployment["spec"]["selector"]["matchLabels"]
        assert [selects(chosen, each) for each in labels.values()].count(True) == 1
    for budget in of_kind(made, "PodDisruptionBudget"):
        chosen = budget["spec"]["selector"]["matchLabels"]
        assert [selects(chosen, each) for each in labels.values()].count(True) == 1
    for service in of_kind(made, "Service"):
        found = [name for name, each in labels.items() if selects(service["spec"]["selector"], each)]
        ports = {
            port["name"] for name in found for one in pods(made)[name]["spec"]["containers"] for port in one["ports"]
        }
        assert found
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports
    for policy in of_kind(made, "NetworkPolicy"):
        assert any(selects(policy["spec"]["podSelector"]["matchLabels"], each) for each in labels.values())
    for monitor in of_kind(made, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = [each for each in of_kind(made, "Service") if selects(wanted, each["metadata"]["labels"])]
        # The alert rules name the workers' job so.
        job = "flywheel-gateway" if "gateway" in monitor["metadata"]["name"] else "flywheel"
        assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == job
        ports = {each["name"] for each in service["spec"]["ports"]}
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= ports


def test_every_pod_is_behind_a_policy_unless_there_is_none(made: list[dict[str, Any]], case: Path) -> None:
    policies = [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(made, "NetworkPolicy")]
    for name, template in pods(made).items():
        behind = any(selects(each, template["metadata"]["labels"]) for each in policies)
        assert behind is (case != WORKERS), name


def test_addresses_name_services_of_the_release() -> None:
    found = objects(TRIAL)
    services = {each["metadata"]["name"]: each for each in of_kind(found, "Service")}
    for name, container in containers(found):
        if address := variables(container).get("FLOWISE_BASE_URL"):
            host, port = re.fullmatch(r"http://([\w.-]+):(\d+)", address).groups()  # type: ignore[union-attr]
            assert int(port) in {each["port"] for each in services[host]["spec"]["ports"]}, name


def test_workers_are_started_with_what_their_command_takes() -> None:
    found = dict(containers(objects(PRODUCTION)))
    given = {name: worker_parser().parse_args(each["args"][2:]) for name, each in found.items() if "worker-" in name}

    assert {each["args"][:2] == ["flywheel", "worker"] for name, each in found.items() if "worker-" in name} == {True}
    assert given["worker-creative"].domain == ["creative", "story-telling"]
    assert given["worker-creative"].concurrency == 200
    assert given["worker-routing"].queues == "classify,synthesis"
    assert (given["worker-default"].domain, given["worker-default"].queues) == (None, None)


def test_the_gateway_is_started_with_what_its_command_takes_and_asked_where_it_answers(tmp_path: Path) -> None:
    found = dict(containers(objects(PRODUCTION)))["gateway"]
    given = gateway_parser().parse_args(found["args"][4:])
    (port,) = found["ports"]
    app = build_app(Gateway(Settings(), Tokens(), host="127.0.0.1"))
    paths = set(app.openapi()["paths"])

    assert found["args"][:4] == ["python", "-P", "-m", "http_gateway"]
    assert (given.host, given.port) == ("0.0.0.0", port["containerPort"])
    assert {f"{RELEASE}-agentic-flywheel-gateway", "flywheel.example.com", "flywheel.internal"} < set(
        given.allowed_host
    )
    asked = {found[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    shown = set(re.findall(r"127\.0\.0\.1:8080(/[\w/]+)", notes(tmp_path, PRODUCTION)))
    assert shown == {"/v1/queries"}
    (scraped,) = (
        each
        for monitor in of_kind(objects(PRODUCTION), "ServiceMonitor")
        for each in monitor["spec"]["endpoints"]
        if each["port"] == "http"
    )
    assert asked | shown | {scraped["path"]} <= paths
    # The gateway lets nobody see its figures without one.
    assert scraped["authorization"] == {"credentials": {"name": "prometheus-token", "key": "token"}}


def test_whoever_reads_the_figures_reaches_the_gateway_too() -> None:
    def reaching(values: dict[str, Any]) -> list[Any]:
        (policy,) = (
            each
            for each in of_kind(objects(PRODUCTION, values=values), "NetworkPolicy")
            if each["metadata"]["name"].endswith("-gateway")
        )
        peers: list[Any] = policy["spec"]["ingress"][0]["from"]
        return [each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for each in peers]

    assert reaching({}) == ["ingress-nginx", "monitoring"]
    assert reaching({"monitoring.gatewayTokenSecret": ""}) == ["ingress-nginx"]


def test_tokens_come_from_a_secret_as_a_file_that_is_read_where_kubernetes_puts_it(tmp_path: Path) -> None:
    gateway = dict(containers(objects(PRODUCTION)))["gateway"]
    (volume,) = (each for each in pods(objects(PRODUCTION))["gateway"]["spec"]["volumes"] if "secret" in each)
    (mount,) = (each for each in gateway["volumeMounts"] if each["name"] == volume["name"])
    assert volume["secret"]["secretName"] == "flywheel-tokens"
    assert variables(gateway)["FLYWHEEL_TOKENS_FILE"] == f"{mount['mountPath']}/tokens.json"
    assert variables(gateway)["FLYWHEEL_MCP_TOKENS"]["secretKeyRef"]["optional"] is True

    # What a person has made elsewhere is linked into the folder, and read by its group alone.
    made = new_token(tmp_path / "tokens.json", "alice", (Scope.READ,))
    data, folder = tmp_path / "..2026", tmp_path / "mounted"
    data.mkdir()
    folder.mkdir()
    (tmp_path / "tokens.json").rename(data / "tokens.json")
    (data / "tokens.json").chmod(volume["secret"]["defaultMode"])
    (folder / "..data").symlink_to(data)
    (folder / "tokens.json").symlink_to(Path("..data", "tokens.json"))
    found = Tokens(folder / "tokens.json").find(made.text)

    assert found is not None
    assert found.owner == "alice"


def test_workers_are_scaled_by_figures_that_are_measured_of_their_own_queues() -> None:
    found = objects(PRODUCTION)
    source = (REPOSITORY / "agentic_flywheel" / "figures" / "metrics.py").read_text()
    deployments = {each["metadata"]["name"]: each for each in of_kind(found, "Deployment")}
    scaled = {each["spec"]["scaleTargetRef"]["name"]: each for each in of_kind(found, "ScaledObject")}
    services = {each["metadata"]["name"] for each in of_kind(found, "Service")}

    assert {each.rpartition("-")[2] for each in scaled} == {"default", "creative"}
    for name, each in scaled.items():
        # Two that set the number of pods would undo each other's work at every upgrade.
        assert "replicas" not in deployments[name]["spec"]
        for trigger in each["spec"]["triggers"]:
            query = trigger["metadata"]["query"]
            (figure,) = re.findall(r"flywheel_\w+", query)
            assert f'"{figure}"' in source
            of = dict(re.findall(r'(\w+)=~?"([^"]*)"', query))
            assert of["namespace"] == NAMESPACE
            assert of["service"] in services
            assert of.get("queue", "") == ("domain.creative|domain.story-telling" if "creative" in name else "")
    replicas = {name.rpartition("-")[2]: each["spec"].get("replicas") for name, each in deployments.items()}
    assert replicas == {"default": None, "creative": None, "routing": 1, "gateway": 2, "flower": 1}


def test_the_alert_rules_are_those_of_compose() -> None:
    (rules,) = of_kind(objects(PRODUCTION), "PrometheusRule")

    alerts = YAML(typ="safe").load(REPOSITORY / "deploy" / "monitoring" / "alerts.yml")
    assert rules["spec"] == alerts
    assert len(alerts["groups"][0]["rules"]) > 3


def test_a_group_that_is_taken_away_is_gone_and_a_registry_is_mounted_as_a_folder() -> None:
    found = objects(PRODUCTION, values={"workers.creative": None})
    (worker, *_) = (each for name, each in containers(found) if name == "worker-default")
    told = variables(worker)

    assert [each for each in pods(found) if each.startswith("worker-")] == ["worker-default", "worker-routing"]
    for variable, name in (("FLYWHEEL_REGISTRY", "registry"), ("FLYWHEEL_PROFILES", "profiles")):
        (mount,) = (each for each in worker["volumeMounts"] if each["name"] == name)
        assert told[variable].startswith(mount["mountPath"])
        assert "subPath" not in mount  # Kubernetes never changes those


def test_chart_and_project_have_one_version() -> None:
    chart = YAML(typ="safe").load(CHART / "Chart.yaml")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert chart["version"] == chart["appVersion"] == project["version"]


def test_commands_that_a_person_is_shown_name_objects_that_exist(
    case: Path, made: list[dict[str, Any]], tmp_path: Path
) -> None:
    said = notes(tmp_path, case)
    there = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in made}
    named = set(re.findall(r"\b((?:deployment|service)/[\w.-]+)", said))

    assert named
    assert named <= there
    assert said.count(f"-n {NAMESPACE} ") == said.count("kubectl")


def sections(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the values' own objects, by their paths; the groups of workers are named by people."""
    yield path, values
    for name, value in values.items():
        if isinstance(value, dict) and name not in ("workers", "requests", "limits"):
            yield from sections(value, f"{path}.{name}" if path else name)


@pytest.mark.parametrize(("path", "values"), list(sections(DEFAULTS)), ids=lambda each: each if each else "")
def test_a_value_that_is_taken_away_is_missed_by_its_name(path: str, values: dict[str, Any]) -> None:
    # Helm's way to take a value away is to set it to null.
    nothing = {f"{path}.{name}" if path else name: None for name in values if name not in ("requests", "limits")}
    if not nothing:
        return
    with pytest.raises(Refused) as refused:
        objects(TRIAL, values=nothing)

    assert set(re.findall(r"- (?:\(root\)|([\w.]+)): (\w+) is required", str(refused.value))) == {
        (path, name.rpartition(".")[2]) for name in nothing
    }


def names(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of values that are names of objects."""
    for name, each in schema.get("properties", {}).items():
        if each.get("$ref") == "#/definitions/name":
            yield f"{path}{name}"
        yield from names(each, f"{path}{name}.")


def test_a_name_that_yaml_reads_as_something_else_stays_a_name() -> None:
    words = ("true", "null", "1e3", "123", "no")
    groups: dict[str, Any] = {f"workers.{word}": {"domains": [word], "queues": [word]} for word in words}
    releases = {}
    for word in words:
        values: dict[str, Any] = dict.fromkeys(names(SCHEMA), word) | {
            "image.pullSecrets": [word],
            "gateway.hosts": [word],
        }
        values |= {"podLabels": {"team": word}, "podAnnotations": {"team": word}, "monitoring.labels": {"team": word}}
        settings = dict.fromkeys(SCHEMA["properties"]["settings"]["propertyNames"]["enum"], word)
        release = word if word.isalpha() else RELEASE
        releases[word] = objects(PRODUCTION, values={**groups, **values, "settings": settings}, release=release)

    assert len(list(names(SCHEMA))) > 8
    assert complaints(releases) == {word: [] for word in words}
    for found in releases.values():
        arguments = [each for _, one in containers(found) for each in one["args"]]
        assert {type(each) for each in arguments} == {str}
        assert {f"--domain={word}" for word in words} <= set(arguments)


def test_a_text_is_no_place_for_another_variable() -> None:
    odd = "$(REDIS_URL) $$(REDIS_URL) $ $$ {{ .Values.secret }} \"'\\ # a: b"
    address = "https://langfuse.example/$(REDIS_URL)"
    settings = dict.fromkeys(SCHEMA["properties"]["settings"]["propertyNames"]["enum"], odd)
    found = objects(PRODUCTION, values={"settings": settings, "langfuse.url": address, "flowise.url": address})
    (worker,) = (each for name, each in containers(found) if name == "worker-default")
    # Kubernetes: of two dollars one stays, and behind them stands no variable.
    told = {name: re.sub(r"\$\$", "$", each) for name, each in variables(worker).items() if isinstance(each, str)}
    expanded = {name for name, each in variables(worker).items() if re.search(r"(?<!\$)(\$\$)*\$\(", str(each))}

    assert {name: told[name] for name in settings} == settings
    assert (told["LANGFUSE_BASE_URL"], told["FLOWISE_BASE_URL"]) == (address, address)
    assert expanded == set()


def test_no_name_is_longer_than_kubernetes_allows_and_releases_that_begin_alike_have_names_of_their_own() -> None:
    group, longest = "g" * 20, 53
    both = [
        {(each["kind"], each["metadata"]["name"]) for each in objects(PRODUCTION, values=values, release=release)}
        for release in ("r" * longest, "r" * (longest - 1) + "s")
        for values in [{f"workers.{group}": {"domains": ["creative"], "autoscaling": {"enabled": True}}}]
    ]

    assert max(len(name) for _, name in both[0]) == 63
    assert not both[0] & both[1]


@pytest.mark.parametrize("release", ["123", "a.b", "1st"])
def test_a_release_whose_name_no_service_may_have_is_refused(release: str) -> None:
    with pytest.raises(Refused, match="the beginning of its Services' names"):
        objects(TRIAL, release=release)


def test_certificates_are_files_in_every_pod_of_ours_and_in_no_other() -> None:
    found = objects(PRODUCTION, values={"certificatesSecret": "certificates"})

    for name, template in pods(found).items():
        mounts = {
            each["name"]: each["mountPath"]
            for one in template["spec"]["containers"]
            for each in one["volumeMounts"]
            if each["name"] == "certificates"
        }
        assert mounts == {"certificates": "/etc/flywheel/certificates"}, name
        (volume,) = (each for each in template["spec"]["volumes"] if each["name"] == "certificates")
        assert volume["secret"] == {"secretName": "certificates", "defaultMode": 0o440}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"secret": {}}, "REDIS_URL is missing"),
        ({"existingSecret": "one", "secret": {"REDIS_URL": "redis://x"}}, "existingSecret and secret are both set"),
        ({"secret.REDIS_PASSWORD": "x"}, "Additional property REDIS_PASSWORD is not allowed"),
        ({"keyPrefix": "blue"}, "keyPrefix"),
        ({"sandbox.enabled": False}, "flowise.url"),
        ({"flowise.url": "https://other"}, "one of them answers"),
        ({"flowise.url": "https://user:pw@flowise"}, "Does not match pattern"),
        ({"langfuse.url": "https://langfuse"}, "LANGFUSE_PUBLIC_KEY is missing"),
        ({"settings": {"FLYWHEEL_QUEUE_LIMITS": "1"}}, "FLYWHEEL_QUEUE_LIMITS"),
        ({"settings": {"REDIS_URL": "redis://:pw@x"}}, "REDIS_URL"),
        ({"settings": {"FLYWHEEL_MCP_TOKENS": "a=b"}}, "FLYWHEEL_MCP_TOKENS"),
        ({"settings": {"FLYWHEEL_QUEUE_LIMIT": 1_000_000}}, "Expected: string, given: integer"),
        ({"workers": {"default": None}}, "no group of workers routes questions"),
        ({"workers": {"default": {"domains": ["creative"]}}}, "no group of workers routes questions"),
        ({"workers": {"default": {"queues": ["classify"]}}}, "no group of workers routes questions"),
        ({"workers.other": {"domains": ["a:"]}}, "workers.other.domains.0"),
        ({"workers": {"default": {"replica": 2}}}, "replica"),
        ({"workers": {"Upper": {}}}, "Upper"),
        ({"drainSeconds": 5}, "drainSeconds"),
        ({"drainSeconds": "130s"}, "drainSeconds"),
        ({"image.digest": "latest"}, "digest"),
        ({"image.repository": "registry:5000/flywheel:1.0"}, "image.repository"),
        ({"image.pullSecrets": [""]}, "image.pullSecrets.0"),
        ({"existingSecret": "Upper", "secret": {}}, "existingSecret"),
        ({"gateway.ingress": {"enabled": True, "host": "https://flywheel.example.com"}}, "gateway.ingress.host"),
        ({"gateway.ingress": {"enabled": True, "host": "*.example.com"}}, "gateway.ingress.host"),
        ({"podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels: app.kubernetes.io/name is the chart's own"),
        ({"podLabels": {"team": "the queue's"}}, "podLabels.team"),
        ({"podAnnotations": {"checksum/secret": "x"}}, "podAnnotations: checksum/secret is the chart's own"),
        (
            {"monitoring.enabled": True, "monitoring.labels": {"helm.sh/chart": "x"}},
            "monitoring.labels: helm.sh/chart is the chart's own",
        ),
        ({"workerDefaults.resources": {"limits": {"memory": "much"}}}, "workerDefaults.resources.limits.memory"),
        ({"gateway.ingress": {"enabled": True, "host": ""}}, "host"),
        ({"networkpolicy": {}}, "networkpolicy"),
        ({"workerDefaults.autoscaling.enabled": True}, "monitoring.prometheusUrl is missing"),
        ({**SCALED, "monitoring.enabled": False}, "monitoring.enabled is false"),
        ({**SCALED, "workerDefaults.autoscaling.minReplicas": 11}, "minReplicas is more than maxReplicas"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_values_that_cannot_work_are_refused_with_what_is_wrong(values: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        objects(TRIAL, values=values)
