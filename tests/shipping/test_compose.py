"""compose.yaml is right, as far as that can be said without a container engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft201909Validator
from processes import REPOSITORY
from shipping.compose_file import COMPOSE, Missing, interpolated, load_compose, read_env

from agentic_flywheel.catalog import parse_duration
from agentic_flywheel.settings import Settings
from workers.readiness import Readiness

DEPLOY = REPOSITORY / "deploy"
SCHEMA = json.loads((Path(__file__).parent / "data" / "compose-spec.json").read_text())


def new_env(folder: Path, *options: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    target = folder / "env"
    subprocess.run([sys.executable, str(DEPLOY / "new_env.py"), str(target), *options], check=True, capture_output=True)
    return read_env(target.read_text())


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return new_env(tmp_path_factory.mktemp("env"))


@pytest.fixture(scope="module")
def compose(env: dict[str, str]) -> dict[str, Any]:
    return load_compose(env)


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def test_it_follows_the_compose_specification(compose: dict[str, Any]) -> None:
    complaints = [f"{error.json_path}: {error.message}" for error in Draft201909Validator(SCHEMA).iter_errors(compose)]

    assert complaints == []


def test_the_schema_would_notice_a_misspelt_key(compose: dict[str, Any]) -> None:
    compose = json.loads(json.dumps(compose))
    compose["services"]["valkey"]["heathcheck"] = compose["services"]["valkey"].pop("healthcheck")

    assert not Draft201909Validator(SCHEMA).is_valid(compose)


def test_every_service_is_probed_and_started_again(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped", name


def test_volumes_and_networks_that_are_used_are_declared_and_the_other_way_round(compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    mounted = {mount.split(":")[0] for service in services for mount in service.get("volumes", [])}
    joined = {network for service in services for network in service["networks"]}

    assert {name for name in mounted if not name.startswith(".")} == set(compose["volumes"])
    assert joined == set(compose["networks"])


def test_no_volume_is_shared_by_services_of_different_images(services: dict[str, dict[str, Any]]) -> None:
    owners: dict[str, set[str]] = {}
    for service in services.values():
        for mount in service.get("volumes", []):
            owners.setdefault(mount.split(":")[0], set()).add(service["image"])

    assert all(len(images) == 1 for images in owners.values())


def test_what_a_service_waits_for_exists_and_can_get_healthy(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[needed], f"{name} -> {needed}"


def test_the_order_of_starting_has_no_circle(services: dict[str, dict[str, Any]]) -> None:
    started: set[str] = set()
    while len(started) < len(services):
        ready = {name for name, each in services.items() if set(each.get("depends_on", {})) <= started}
        assert ready > started
        started = ready


def test_a_profile_has_everything_it_needs_and_nobody_outside_waits_for_it(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            of_needed = set(services[needed].get("profiles", []))
            assert not of_needed or of_needed == set(service.get("profiles", [])), f"{name} -> {needed}"


def test_every_address_names_a_service_on_a_common_network_and_a_port_it_serves(
    services: dict[str, dict[str, Any]],
) -> None:
    served = {
        "valkey": "6379",
        "sandbox": "3000",
        "flowise": "3000",
        "langfuse-web": "3000",
        "langfuse-postgres": "5432",
        "langfuse-clickhouse": "9000 8123",
        "langfuse-valkey": "6379",
        "langfuse-minio": "9000",
    }
    seen = set()
    for name, service in services.items():
        for variable, value in (service.get("environment") or {}).items():
            for host, port in re.findall(r"(?:://|@)(?:[^@/\s]*@)?([\w.-]+):(\d+)", str(value or "")):
                if host == "localhost":
                    continue
                assert port in served[host].split(), f"{name}: {variable}"
                assert set(services[host]["networks"]) & set(service["networks"]), f"{name} cannot reach {host}"
                seen.add(host)

    # Two only with their profiles, one by its name alone.
    assert seen == set(served) - {"flowise", "langfuse-web", "langfuse-valkey"}


def test_ports_are_bound_to_this_machine_and_do_not_collide(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    outside = [port.split(":")[1] for port in published]

    assert all(port.startswith("127.0.0.1:") for port in published)
    assert len(set(outside)) == len(outside)


def test_default_ports_are_those_of_the_example(env: dict[str, str]) -> None:
    secrets = {name: value for name, value in env.items() if not name.endswith("_PORT")}

    assert load_compose(secrets) == load_compose(env)


def test_there_is_no_secret_in_the_file_and_none_has_a_default() -> None:
    with pytest.raises(Missing):
        load_compose({})
    for name, how in re.findall(r"\$\{(\w+)(:[-?+][^{}]?)?", COMPOSE.read_text()):
        if re.search("PASSWORD|SECRET|SALT|_KEY$|TOKENS$", name):
            assert how[:2] == ":?" or how in ("", ":-"), name


def test_every_secret_that_is_required_is_generated_and_every_generated_one_is_used(env: dict[str, str]) -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))

    assert used == set(env) - {"COMPOSE_PROFILES"}  # Compose itself reads that one


def test_generated_secrets_differ_from_each_other_and_from_run_to_run(env: dict[str, str], tmp_path: Path) -> None:
    def secrets(found: dict[str, str]) -> list[str]:
        return [value for value in found.values() if len(value) > 20]

    both = secrets(env) + secrets(new_env(tmp_path))

    assert len(set(both)) == len(both) > 30
    assert "<hex>" not in "".join(both)


def test_a_file_of_secrets_is_private_and_never_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "env"
    first = new_env(tmp_path)
    again = subprocess.run(
        [sys.executable, str(DEPLOY / "new_env.py"), str(target)], capture_output=True, text=True, check=False
    )

    assert target.stat().st_mode & 0o777 == 0o600
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert read_env(target.read_text()) == first


def test_profiles_are_used_by_the_workers_where_they_run_and_a_sandbox_answers_without(tmp_path: Path) -> None:
    without = load_compose(new_env(tmp_path / "without"))["services"]["worker"]["environment"]
    values = new_env(tmp_path / "with", "--with", "flowise,langfuse,monitoring")
    with_them = load_compose(values)["services"]["worker"]["environment"]

    assert {without[f"LANGFUSE_{name}"] for name in ("BASE_URL", "PUBLIC_KEY", "SECRET_KEY")} == {""}
    assert without["FLOWISE_BASE_URL"] == "http://sandbox:3000"
    assert values["COMPOSE_PROFILES"] == "flowise,langfuse,monitoring"
    assert with_them["FLOWISE_BASE_URL"] == "http://flowise:3000"
    assert with_them["LANGFUSE_BASE_URL"] == "http://langfuse-web:3000"
    assert with_them["LANGFUSE_SECRET_KEY"] == values["LANGFUSE_SECRET_KEY"]


def test_every_profile_can_be_asked_for_and_no_other(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    told = subprocess.run(
        [sys.executable, str(DEPLOY / "new_env.py"), str(tmp_path / "env"), "--with", "kafka"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 2
    assert f"there is no 'kafka'; there are {', '.join(sorted(profiles))}\n" in told.stderr
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize(
    "odd", ["true", "null", "1e3", "a: b", "{x", "#x", "*x", "&x", "-", "it's", '"q', "[a]", "é", "${A}", "$A"]
)
def test_a_value_is_a_text_whatever_yaml_would_make_of_it(odd: str, env: dict[str, str]) -> None:
    texts = {name for name in env if not name.endswith("_PORT")} - {"FLYWHEEL_WORKERS"}
    compose = load_compose(env | dict.fromkeys(texts, odd))
    told = compose["services"]["worker"]["environment"]

    assert [each.message for each in Draft201909Validator(SCHEMA).iter_errors(compose)] == []
    assert {told[name] for name in ("REDIS_URL", "FLYWHEEL_KEY_PREFIX", "FLOWISE_API_KEY")} == {odd}
    assert told["LANGFUSE_SECRET_KEY"] == odd


def test_a_stopping_worker_knows_how_long_it_is_given(env: dict[str, str]) -> None:
    worker = load_compose({**env, "FLYWHEEL_GRACE": "77s"})["services"]["worker"]

    assert worker["stop_grace_period"] == worker["environment"]["FLYWHEEL_GRACE"] == "77s"
    assert parse_duration(env["FLYWHEEL_GRACE"]) == Settings.model_fields["grace"].default


def test_our_variables_are_settings(services: dict[str, dict[str, Any]], env: dict[str, str]) -> None:
    known = {f"FLYWHEEL_{name.upper()}" for name in Settings.model_fields}
    told = {name for service in services.values() for name in service.get("environment") or {}}
    of_compose = {"FLYWHEEL_WORKERS", "FLYWHEEL_WORKER_MEMORY", "FLYWHEEL_REGISTRY_FOLDER"}

    assert {name for name in told if name.startswith("FLYWHEEL_")} <= known
    assert {name for name in env if name.startswith("FLYWHEEL_")} <= known | of_compose


def test_every_setting_reaches_every_process_of_ours(services: dict[str, dict[str, Any]]) -> None:
    ours = {name: each for name, each in services.items() if each["image"] == "agentic-flywheel:local"}

    # The sandbox stands for somebody else's server. An image's own default is weaker than the file.
    assert {name for name, each in ours.items() if "env_file" not in each} == {"sandbox"}
    for name, each in ours.items():
        assert name == "sandbox" or each["env_file"] == [{"path": "deploy/flywheel.env", "required": False}]
    assert "FLYWHEEL_" not in (DEPLOY / "Dockerfile").read_text()


def test_every_folder_and_file_that_is_mounted_exists(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert not source.startswith(".") or (REPOSITORY / source).exists(), mount


def test_the_health_of_a_worker_is_asked_as_its_image_says(services: dict[str, dict[str, Any]]) -> None:
    asked = services["worker"]["healthcheck"]["test"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()

    assert f"CMD {asked[1]}" in dockerfile
    assert f"-newermt '-{Readiness.FRESH} seconds'" in asked[1]
    assert '"--ready-file", "/tmp/worker.ready"' in dockerfile
    assert "/tmp/worker.ready" in asked[1]


def test_what_is_measured_is_what_the_alerts_and_the_dashboard_ask_for() -> None:
    asked = (DEPLOY / "monitoring" / "alerts.yml").read_text() + (DEPLOY / "grafana-dashboard.json").read_text()
    source = (REPOSITORY / "agentic_flywheel" / "figures" / "metrics.py").read_text()
    named = {re.sub("_(total|bucket|sum|count)$", "", name) for name in re.findall(r"\bflywheel_\w+", asked)}

    assert "flywheel_audit_offenders" in named
    assert {name for name in named if f'"{name}"' not in source} == set()


def test_the_image_is_built_from_files_that_exist_and_runs_as_nobody_special(compose: dict[str, Any]) -> None:
    build = compose["services"]["worker"]["build"]
    dockerfile = (REPOSITORY / build["context"] / build["dockerfile"]).read_text()
    copied = [
        source for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE) for source in line.split()
    ]
    allowed = re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)

    assert sorted(copied) == sorted(allowed)
    assert all((REPOSITORY / source).exists() for source in copied)
    assert re.search(r"^USER (?!root)\w+$", dockerfile, re.MULTILINE)


def test_each_image_of_ours_is_built_once_and_pulled_by_nobody(services: dict[str, dict[str, Any]]) -> None:
    builders = [each["image"] for each in services.values() if "build" in each and "profiles" not in each]
    ours = [each for each in services.values() if each["image"] in builders]

    # Newer Composes build all services at once: the second export to a tag fails ("already exists").
    assert sum("build" in each for each in services.values()) == len(builders) == len(set(builders)) == 1
    assert all(each["pull_policy"] == "never" for each in ours)


def test_variables_are_put_in_as_compose_does() -> None:
    values = {"SET": "value", "EMPTY": ""}

    assert interpolated("${SET} ${EMPTY:-default} ${UNSET:-default} ${UNSET}", values) == "value default default "
    assert interpolated("${SET:+other ${SET}} ${EMPTY:+other}", values) == "other value "
    assert interpolated("$$SET and $${SET}", values) == "$SET and ${SET}"
    with pytest.raises(Missing, match="EMPTY"):
        interpolated("${EMPTY:?is needed}", values)
