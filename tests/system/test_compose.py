"""docker-compose.yml, the Dockerfile and the mounted files agree; checked without a container engine."""

import re
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement

pytestmark = pytest.mark.system

REPOSITORY: Final = Path(__file__).parents[2]
COMPOSE_TEXT: Final = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE: Final = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")


def with_defaults(text: str) -> str:
    """Replace variables by their defaults, as Compose does for variables that are not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


COMPOSE: Final[dict[str, Any]] = yaml.safe_load(with_defaults(COMPOSE_TEXT))
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]


def mounts(service: str) -> dict[str, str]:
    """Return the sources that a service mounts, by the path in its container."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[service].get("volumes", ())}


def document(path: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / path).read_text(encoding="utf-8"))
    return loaded


def port_of(service: str) -> int:
    """Return the port that a service publishes, which must be the same in its container and on the loopback."""
    [published] = SERVICES[service]["ports"]
    host, outside, inside = published.split(":")
    assert (host, outside) == ("127.0.0.1", inside)
    return int(inside)


def test_every_variable_has_a_default() -> None:
    assert "$" not in with_defaults(COMPOSE_TEXT)
    assert set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT)) == {"POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}


@pytest.mark.parametrize("service", SERVICES)
def test_everything_mounted_exists(service: str) -> None:
    for source in mounts(service).values():
        if source.startswith("./"):
            assert (REPOSITORY / source).exists(), source
        else:
            assert source in COMPOSE["volumes"], source


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_built_here_or_pinned(service: str) -> None:
    if "build" in SERVICES[service]:
        assert (REPOSITORY / SERVICES[service]["build"] / "Dockerfile").is_file()
    else:
        assert re.fullmatch(r"(\w+/)?\w+:v?\d+(\.\d+){0,2}", SERVICES[service]["image"])


def test_the_service_uses_the_database_of_the_compose_file() -> None:
    database = SERVICES["postgres"]["environment"]
    url = urlsplit(SERVICES["service"]["environment"]["TOKEN_LEDGER_DATABASE_URL"])
    assert url.scheme == "postgresql"
    assert (url.hostname, url.port) == ("postgres", 5432)
    assert url.username == database["POSTGRES_USER"]
    assert url.password == database["POSTGRES_PASSWORD"]
    assert url.path == f"/{database['POSTGRES_DB']}"
    assert SERVICES["service"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert SERVICES["postgres"]["healthcheck"]["test"][1] == "pg_isready"


def test_the_database_is_kept_in_a_volume() -> None:
    assert SERVICES["postgres"]["image"] == "postgres:18"
    # Version 18 keeps its data in another directory; a volume at the older path would stay empty.
    assert mounts("postgres") == {"/var/lib/postgresql": "postgres"}


def test_the_service_listens_on_the_port_that_is_scraped() -> None:
    shell, flag, script = SERVICES["service"]["command"]
    assert (shell, flag) == ("sh", "-c")
    assert script == "token-ledger migrate && exec token-ledger serve --host 0.0.0.0 --port 8080"
    assert port_of("service") == 8080
    assert "EXPOSE 8080" in DOCKERFILE
    assert '"--port", "8080"' in DOCKERFILE
    assert "http://127.0.0.1:8080/readyz" in SERVICES["service"]["healthcheck"]["test"][-1]
    [job] = document("dashboards/prometheus.yml")["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": ["service:8081"]}]
    assert SERVICES["service"]["environment"]["TOKEN_LEDGER_METRICS_HOST"] == "0.0.0.0"


def test_prometheus_finds_its_configuration_and_rules() -> None:
    inside = mounts("prometheus")
    assert inside["/etc/prometheus/prometheus.yml"] == "./dashboards/prometheus.yml"
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    assert "--storage.tsdb.path=/prometheus" in SERVICES["prometheus"]["command"]
    assert inside["/prometheus"] == "prometheus"
    for rules in document("dashboards/prometheus.yml")["rule_files"]:
        assert inside[f"/etc/prometheus/{rules}"] == f"./dashboards/{rules}"


def test_grafana_finds_its_data_source_and_dashboard() -> None:
    [source] = document("dashboards/provisioning/datasources/prometheus.yml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert source["url"] == f"http://prometheus:{port_of('prometheus')}"
    interval = document("dashboards/prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval

    inside = mounts("grafana")
    assert inside["/etc/grafana/provisioning"] == "./dashboards/provisioning"
    [provider] = document("dashboards/provisioning/dashboards/token-ledger.yml")["providers"]
    folder = provider["options"]["path"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/token-ledger.json"
    assert (REPOSITORY / inside[folder] / "token-ledger.json").is_file()
    assert port_of("grafana") == 3000


def test_the_image_has_pinned_packages_and_does_not_run_as_root() -> None:
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim"] * 2
    installs = re.findall(r"pip install (.*)", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in install or "--no-index" in install for install in installs)
    assert "--require-hashes --no-deps -r requirements/service.txt" in installs[0]
    last_stage = DOCKERFILE.rsplit("FROM", 1)[1]
    [user] = re.findall(r"^USER (\d+)$", last_stage, re.MULTILINE)
    assert int(user) > 0
    assert f"--uid {user}" in last_stage
    for path in re.findall(r"requirements/[\w.]+txt", DOCKERFILE):
        assert (REPOSITORY / path).is_file()


def test_the_image_is_built_with_the_build_backends_of_both_projects() -> None:
    built = [REPOSITORY / name for name in ("pyproject.toml", "sdk/pyproject.toml")]
    projects = [tomllib.loads(path.read_text(encoding="utf-8")) for path in built]
    [selection] = re.findall(r"keep = /\^\(([^)]+)\)==/", DOCKERFILE)
    selected = set(selection.split("|"))
    development = (REPOSITORY / "requirements" / "dev.txt").read_text(encoding="utf-8")
    assert selected <= set(re.findall(r"^([\w-]+)==", development, re.MULTILINE))

    needed = {Requirement(text).name for project in projects for text in project["build-system"]["requires"]}
    needed = {name.replace("_", "-") for name in needed}
    for package in sorted(needed):
        requirements = [Requirement(text) for text in metadata.requires(package) or ()]
        needed |= {found.name for found in requirements if found.marker is None or found.marker.evaluate()}
    assert selected == needed


def test_the_build_context_has_what_is_needed_and_no_secrets() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    ignored = [line for line in lines if line and not line.startswith("#")]

    def is_ignored(path: str) -> bool:
        return any(fnmatch(path, pattern) for pattern in ignored)

    for needed in ("pyproject.toml", "README.md", "requirements", "token_ledger", "alembic", "sdk/pyproject.toml"):
        assert (REPOSITORY / needed).exists()
        assert not is_ignored(needed)
    for kept_out in (".git", ".venv", ".env", ".env.local"):
        assert is_ignored(kept_out)


def test_deployment_files_name_no_local_path_and_only_their_own_hosts() -> None:
    files = [path for path in (REPOSITORY / "dashboards").rglob("*") if path.suffix in {".yml", ".json", ".py"}]
    files += [REPOSITORY / name for name in ("docker-compose.yml", "Dockerfile", ".dockerignore")]
    assert len(files) > 8
    hosts = {"127.0.0.1", "localhost"} | set(SERVICES)
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert str(REPOSITORY) not in text
        assert not re.search(r"/(home|root|Users)/", text), path
        assert set(re.findall(r"https?://([\w.]+)", text)) <= hosts, path
