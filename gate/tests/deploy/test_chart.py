"""The Helm chart: linted and rendered by Helm's own library, and held against Kubernetes' own schemas."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import yaml
from gate.tests.deploy.charts import CHART, EVERYTHING, TOOLS, VALUES, Helm, schema_errors
from gate.tests.deploy.proxies import DEPLOY, ROOT

from stacksona_gate.api.metrics import VERSION
from stacksona_gate.config import Settings, variable

pytestmark = pytest.mark.slow
OF_OPERATORS = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator: Kubernetes has no schema of them."""


@pytest.fixture(scope="module", params=["v3", "v4"])
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    made = Helm(tmp_path_factory.mktemp("helm"), request.param)
    yield made
    made.close()


def rendered(helm: Helm, values: dict[str, Any]) -> dict[str, Any]:
    """The resources by kind; the chart makes one of each."""
    found = [one for one in yaml.safe_load_all(helm.template(values)) if one]
    made = {one["kind"]: one for one in found}
    assert len(made) == len(found)
    return made


@pytest.mark.parametrize("values", [VALUES, EVERYTHING], ids=["least", "everything"])
def test_helm_lints_it_without_a_warning(helm: Helm, values: dict[str, Any]) -> None:
    said = helm.lint(values)
    assert said["passed"]
    assert [one for one in said["messages"] if one["severity"] != "INFO"] == []


@pytest.mark.parametrize("version", ["1.31.0", "1.37.0"])
@pytest.mark.parametrize("values", [VALUES, EVERYTHING], ids=["least", "everything"])
def test_every_resource_is_as_kubernetes_has_it(helm: Helm, values: dict[str, Any], version: str) -> None:
    resources = rendered(helm, values)
    assert [
        error for kind, one in resources.items() if kind not in OF_OPERATORS for error in schema_errors(one, version)
    ] == []


def test_a_field_that_kubernetes_does_not_know_is_found(helm: Helm) -> None:
    deployment = rendered(helm, VALUES)["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    assert schema_errors(deployment, "1.31.0")


def test_it_has_what_its_values_ask_for(helm: Helm) -> None:
    least = {
        "Deployment",
        "Service",
        "ServiceAccount",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
    }
    assert set(rendered(helm, VALUES)) == least
    assert set(rendered(helm, EVERYTHING)) == least | {"Ingress"} | OF_OPERATORS
    off = {name: {"enabled": False} for name in ("autoscaling", "podDisruptionBudget", "networkPolicy")}
    bare = rendered(helm, VALUES | off | {"serviceAccount": {"name": "own"}})
    assert set(bare) == {"Deployment", "Service"}
    assert bare["Deployment"]["spec"]["replicas"] == 2
    assert bare["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "own"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "/publicUrl"),
        (VALUES | {"publicUrl": "http://gate.example.com"}, "/publicUrl"),
        (VALUES | {"drainSeconds": 30}, r"terminationGracePeriodSeconds must be at least drainSeconds \+ 45"),
        (VALUES | {"replica": 3}, "replica"),
        (VALUES | {"image": {"tag": "latest"}}, "/image/tag"),
        (VALUES | {"logLevel": "loud"}, "/logLevel"),
    ],
)
def test_values_that_do_not_work_are_refused_by_name(helm: Helm, values: dict[str, Any], told: str) -> None:
    with pytest.raises(RuntimeError, match=told):
        helm.template(values)


def test_pods_have_no_rights_and_write_nowhere(helm: Helm) -> None:
    pod = rendered(helm, VALUES)["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_secrets_are_named_and_never_held(helm: Helm) -> None:
    resources = rendered(helm, EVERYTHING)
    (container,) = resources["Deployment"]["spec"]["template"]["spec"]["containers"]
    by_name = {one["name"]: one for one in container["env"]}
    assert "value" not in by_name["STACKSONA_DATABASE_URL"]
    assert "value" not in by_name["STACKSONA_LISTEN_URL"]
    assert "STACKSONA_SECRET_KEY" not in by_name
    assert "Secret" not in resources


def test_every_setting_of_the_pods_exists(helm: Helm) -> None:
    (container,) = rendered(helm, EVERYTHING)["Deployment"]["spec"]["template"]["spec"]["containers"]
    given = {one["name"] for one in container["env"]}
    known = {variable(one.name) for one in fields(Settings)} | {"STACKSONA_DRAIN_SECONDS"}
    assert given <= known


def test_probes_look_at_what_the_gate_answers(helm: Helm) -> None:
    (container,) = rendered(helm, VALUES)["Deployment"]["spec"]["template"]["spec"]["containers"]
    looked = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert looked == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_an_update_takes_no_node_away_before_another_is_ready(helm: Helm) -> None:
    spec = rendered(helm, VALUES)["Deployment"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= 5 + 45
    assert "replicas" not in spec  # the autoscaler's


def test_an_empty_list_of_callers_lets_nobody_in(helm: Helm) -> None:
    policy = rendered(helm, VALUES | {"networkPolicy": {"from": []}})["NetworkPolicy"]["spec"]
    assert (policy["ingress"], policy["policyTypes"]) == ([], ["Ingress", "Egress"])


def test_its_rules_are_those_of_the_repository(helm: Helm) -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    assert rendered(helm, EVERYTHING)["PrometheusRule"]["spec"] == rules
    assert (CHART / "rules.yml").read_text() == (DEPLOY / "prometheus/rules.yml").read_text()


def test_its_version_is_the_gates() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == VERSION


def test_yaml_files_are_tidy() -> None:
    if not TOOLS.exists():
        pytest.skip("yamllint is not installed: scripts/deploy-tools does it")
    files = [str(one) for one in DEPLOY.rglob("*.y*ml") if "templates" not in one.parts]
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-c", str(DEPLOY / "yamllint.yml"), *files],
        env={**os.environ, "PYTHONPATH": str(TOOLS)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
