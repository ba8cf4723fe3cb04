"""The proxies of deploy/proxy, as they are, on ports of their own in front of two gates."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from gate.tests.cli.processes import COMMAND, PATIENCE, Running, command, made, running
from gate.tests.delivery.receivers import Authority
from gate.tests.ports import free_port
from gate.tests.watchman import mark

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
MAIL, PASSWORD = "ada@example.com", "correct horse battery staple"


def tool(name: str) -> str:
    """A program's path; the test is skipped without it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed: scripts/deploy-tools does it")
    return found


@dataclass(slots=True)
class Site:
    """What a caller sees of it."""

    url: str
    trust: ssl.SSLContext
    key: str
    token: str
    nodes: list[Running]

    def client(self, key: str | None = None, **more: Any) -> httpx2.Client:
        headers = {"authorization": f"Bearer {key or self.key}"} if key != "" else {}
        return httpx2.Client(base_url=self.url, verify=self.trust, headers=headers, timeout=PATIENCE, **more)


@contextmanager
def site(proxy: str, folder: Path) -> Iterator[Site]:
    """Two gates on one database, and the proxy in front of them."""
    program = tool(proxy)
    plain, secure, *ports = [free_port() for _ in range(4)]
    url, database = f"https://localhost:{secure}", f"sqlite:///{folder}/gate.db"
    key = made("agent", "create", "bot", "--database", database)["key"]
    command("user", "create", MAIL, "--role", "admin", "--password-stdin", "--database", database, given=PASSWORD)
    token = made("token", "create", MAIL, "--database", database)["token"]
    authority = Authority(folder)
    authority.serving("localhost")
    start = {"caddy": caddy, "nginx": nginx}[proxy]
    with _nodes(database, url, ports) as nodes, start(program, folder, plain, secure, ports):
        found = Site(url, authority.trusting(), key, token, nodes)
        _await(found)
        yield found


@contextmanager
def _nodes(database: str, url: str, ports: list[int]) -> Iterator[list[Running]]:
    settings = {"STACKSONA_DATABASE_URL": database, "STACKSONA_PUBLIC_URL": url}
    with (
        running(COMMAND, "serve", "--port", str(ports[0]), **settings) as one,
        running(COMMAND, "serve", "--port", str(ports[1]), **settings) as other,
    ):
        for node, port in ((one, ports[0]), (other, ports[1])):
            node.line("Stacksona Gate on", str(port))
        yield [one, other]


def _await(found: Site) -> None:
    """Until the proxy answers with a node's answer."""
    deadline, last = time.monotonic() + PATIENCE, ""
    with found.client("") as client:
        while time.monotonic() < deadline:
            try:
                answer = client.get("/readyz")
                if answer.status_code == 200:
                    return
                last = answer.text
            except httpx2.TransportError as error:
                last = str(error)
            time.sleep(0.05)
    raise AssertionError(f"the proxy did not answer in time: {last}")


@contextmanager
def _program(*arguments: str, folder: Path, **environment: str) -> Iterator[None]:
    with (folder / "proxy.log").open("w") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, **mark(), **environment})
        try:
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


@contextmanager
def caddy(program: str, folder: Path, plain: int, secure: int, ports: list[int]) -> Iterator[None]:
    certificate = folder / "1.pem"
    environment = {
        "GATE_HTTP_PORT": str(plain),
        "GATE_SITE": f"https://localhost:{secure}",
        "GATE_TLS": f"tls {certificate} {certificate}",
        "GATE_NODES": " ".join(f"127.0.0.1:{port}" for port in ports),
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    file = str(DEPLOY / "proxy/Caddyfile")
    with _program(program, "run", "--adapter", "caddyfile", "--config", file, folder=folder, **environment):
        yield


@contextmanager
def nginx(program: str, folder: Path, plain: int, secure: int, ports: list[int]) -> Iterator[None]:
    text = (DEPLOY / "proxy/nginx.conf").read_text()
    for given, here in (
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl", f"listen 127.0.0.1:{secure} ssl"),
        ("/etc/ssl/gate.example.com.pem", f"{folder}/1.pem"),
        ("/etc/ssl/gate.example.com.key", f"{folder}/1.pem"),
        ("/var/log/nginx/stacksona-gate.log", f"{folder}/access.log"),
        ("server_name gate.example.com", "server_name localhost"),
        ("127.0.0.1:8420", f"127.0.0.1:{ports[0]}"),
        ("127.0.0.1:8421", f"127.0.0.1:{ports[1]}"),
    ):
        assert given in text, given
        text = text.replace(given, here)
    user = "user root;" if os.getuid() == 0 else ""
    paths = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = f"{user} daemon off; pid {folder}/nginx.pid; error_log stderr warn; worker_processes 2;"
    (folder / "nginx.conf").write_text(f"{main} events {{}} http {{ {paths}\n{text}\n}}\n")
    with _program(program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr", folder=folder):
        yield
