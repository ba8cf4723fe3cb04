"""The image's definition, Compose and systemd: read by their own programs where they run without a machine of theirs,
and run as far as that goes. No image is built here: there is no engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from gate.tests.cli.processes import COMMAND, running
from gate.tests.deploy.proxies import DEPLOY, ROOT, tool
from gate.tests.ports import free_port

from stacksona_gate.api.server import GRACE_SECONDS
from stacksona_gate.config import Settings
from stacksona_gate.delivery.worker import DRAIN_SECONDS

CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
UNIT = DEPLOY / "systemd/stacksona-gate@.service"
AFTER_NOTICE = 45
"""Seconds that whatever starts a node waits beyond its notice: answers, webhooks, and some for leases and the store."""


def instructions() -> list[tuple[str, str]]:
    """As the builder reads them: continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", CONTAINERFILE, flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(name, re.sub(r"\s+", " ", rest)) for name, _, rest in (line.partition(" ") for line in lines)]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        elif found:
            found[-1].append((name, rest))
    return found


def last(stage: list[tuple[str, str]], name: str) -> str:
    return [rest for given, rest in stage if given == name][-1]


def test_the_image_is_made_in_two_stages_of_one_pinnable_base() -> None:
    assert [rest for name, rest in instructions() if name == "FROM"] == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    (base,) = [rest for name, rest in instructions() if name == "ARG"]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.12-slim-\w+", base)


def test_it_runs_as_nobody_in_particular_and_says_how_it_is() -> None:
    final = stages()[-1]
    assert last(final, "USER") == "10001:10001"
    assert "10001" in last(final, "RUN")
    assert json.loads(last(final, "ENTRYPOINT")) == ["stacksona-gate"]
    assert last(final, "STOPSIGNAL") == "SIGTERM"
    assert "/healthz" in last(final, "HEALTHCHECK")


def test_it_fetches_nothing_unpinned_and_holds_no_secret() -> None:
    assert {name for name, _ in instructions()}.isdisjoint({"ADD", "SHELL", "MAINTAINER"})
    for name, rest in instructions():
        for command in rest.split("&&") if name == "RUN" else ():
            assert "apt-get" not in command
            assert "pip install" not in command or "--require-hashes" in command or "--no-deps" in command
        assert name not in ("ENV", "ARG") or not re.search(r"SECRET|PASSWORD|TOKEN|DATABASE_URL", rest)


def test_only_what_the_image_is_made_of_is_sent_to_the_builder() -> None:
    kept = {line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


@pytest.mark.slow
def test_the_build_stages_commands_make_a_gate_that_serves_and_passes_its_health_check(tmp_path: Path) -> None:
    """The first stage, run in a folder instead of a container; /opt is in that folder too."""
    for name, rest in stages()[0]:
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                place = tmp_path / (f"{target}{Path(source).name}" if target.endswith("/") else target)
                place.parent.mkdir(parents=True, exist_ok=True)
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, place)
        elif name == "RUN":
            _shell(rest.replace("/opt/", f"{tmp_path}/opt/"), tmp_path)
    assert not (tmp_path / "opt/gate/bin/hatchling").exists()
    program = str(tmp_path / "opt/gate/bin/stacksona-gate")
    port = free_port()
    command = json.loads(last(stages()[-1], "CMD"))
    served = [part.replace("8420", str(port)).replace("0.0.0.0", "127.0.0.1") for part in command]  # noqa: S104
    with running(program, *served, STACKSONA_DATABASE_URL=f"sqlite:///{tmp_path}/gate.db") as gate:
        gate.line("Stacksona Gate on")
        check = json.loads(last(stages()[-1], "HEALTHCHECK").partition("CMD ")[2])
        check = [part.replace("8420", str(port)) for part in check]
        assert subprocess.run([str(tmp_path / "opt/gate/bin/python"), *check[1:]], check=False).returncode == 0
        assert gate.end(signal.SIGTERM) == 0
    assert subprocess.run([str(tmp_path / "opt/gate/bin/python"), *check[1:]], check=False, stderr=-3).returncode == 1


def _shell(command: str, folder: Path) -> None:
    """With the tests' Python where the image has its own, and without building in the network's way twice."""
    command = command.replace("python -m venv", f"{shlex.quote(sys.executable)} -m venv")
    environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())


def test_compose_reads_its_file(tmp_path: Path) -> None:
    program = tool("docker-compose")
    folder = shutil.copytree(DEPLOY / "compose", tmp_path / "compose")
    environment = {**os.environ, "GATE_HOST": "gate.example.com", "POSTGRES_PASSWORD": "secret"}
    done = subprocess.run(
        [program, "-f", "compose.yaml", "config"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == {"gate-1", "gate-2", "postgres", "caddy"}


def test_compose_starts_nothing_without_a_password(tmp_path: Path) -> None:
    program = tool("docker-compose")
    folder = shutil.copytree(DEPLOY / "compose", tmp_path / "compose")
    clean = {name: value for name, value in os.environ.items() if name not in ("GATE_HOST", "POSTGRES_PASSWORD")}
    done = subprocess.run(
        [program, "-f", "compose.yaml", "config"], cwd=folder, env=clean, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "set it in .env" in done.stderr


def test_the_gates_of_compose_have_no_rights_and_get_time_to_drain() -> None:
    for name in ("gate-1", "gate-2"):
        gate = compose()["services"][name]
        assert (gate["read_only"], gate["cap_drop"]) == (True, ["ALL"])
        assert gate["security_opt"] == ["no-new-privileges:true"]
        told = int(gate["environment"]["STACKSONA_DRAIN_SECONDS"])
        assert int(gate["stop_grace_period"].removesuffix("s")) >= told + AFTER_NOTICE
        assert "ports" not in gate


def test_what_compose_mounts_and_builds_from_is_there() -> None:
    services = compose()["services"]
    folder = DEPLOY / "compose"
    assert (folder / services["gate-1"]["build"]["context"] / services["gate-1"]["build"]["dockerfile"]).exists()
    (mounted,) = [one.partition(":")[0] for one in services["caddy"]["volumes"] if one.startswith(".")]
    assert (folder / mounted).exists()
    used = set(re.findall(r"\$\{(\w+)", (folder / "compose.yaml").read_text()))
    assert used == set(re.findall(r"^(\w+)=", (folder / "example.env").read_text(), re.MULTILINE))


def _unit(folder: Path) -> str:
    """The unit, of a program that is here."""
    text = UNIT.read_text()
    assert "/opt/stacksona/bin/stacksona-gate serve" in text
    place = folder / "stacksona-gate@8420.service"
    place.write_text(text.replace("/opt/stacksona/bin/stacksona-gate", COMMAND))
    return str(place)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", _unit(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_finds_the_unit_well_closed(tmp_path: Path) -> None:
    done = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=yes", "--no-pager", "--threshold=15", _unit(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-300:]


def test_systemd_waits_for_a_node_to_drain() -> None:
    waits = int(re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)[0])
    assert waits >= Settings().drain_seconds + AFTER_NOTICE


def test_what_is_waited_for_is_more_than_a_node_takes_and_what_the_guides_say() -> None:
    assert AFTER_NOTICE > GRACE_SECONDS + DRAIN_SECONDS
    for guide in ("nodes.md", "deploy.md"):
        text = " ".join((ROOT / "docs/how-to" / guide).read_text().split())
        assert re.search(rf"`STACKSONA_DRAIN_SECONDS`( \(5\))? and {AFTER_NOTICE} seconds", text), guide
