"""Rules, alerts and the dashboard: they name metrics that exist, do what they say, and lead to a page that helps."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from gate.tests.deploy.proxies import DEPLOY, tool
from gate.tests.docs.pages import anchors, page

from stacksona_gate.api.metrics import HISTOGRAM, described

RULES = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
ALL = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]
RECORDED = {rule["record"] for rule in ALL if "record" in rule}
BOARD = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
OF_PROCESSES = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "up"}


def samples() -> set[str]:
    """Everything that can be asked for by name."""
    found = set(OF_PROCESSES) | RECORDED
    for name, about in described():
        found |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if about.kind == HISTOGRAM else {name}
    return found


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:stacksona_gate|process)[_:][a-z0-9_:]+", re.sub(r'"[^"]*"', '""', expression)))


def expressions(panel: Any) -> Iterator[str]:
    for target in panel.get("targets", ()):
        yield target["expr"]


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    done = _promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stderr


def test_the_rules_do_what_their_tests_say() -> None:
    done = _promtool("test", "rules", "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test_that_it_goes_off() -> None:
    told = (DEPLOY / "prometheus/rules_test.yml").read_text()
    cases = [case for group in yaml.safe_load(told)["tests"] for case in group["alert_rule_test"]]
    gone_off = {case["alertname"] for case in cases if case["exp_alerts"]}
    slow = {rule["alert"] for rule in ALERTS if rule["alert"].endswith("Slowly")} - {"GateDecisionsFailSlowly"}
    assert {rule["alert"] for rule in ALERTS} - gone_off == slow  # of one form with the one that has a test


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    folder = DEPLOY / "prometheus"
    return subprocess.run([tool("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_rules_name_nothing_that_does_not_exist() -> None:
    for rule in ALL:
        assert named(rule["expr"]) <= samples(), rule
        assert named(rule["expr"]) or "up" in rule["expr"]


def test_bounds_that_rules_name_are_bounds_of_their_histograms() -> None:
    from stacksona_gate.telemetry.measures import USUAL

    for bound in re.findall(r'le="([^"]+)"', (DEPLOY / "prometheus/rules.yml").read_text()):
        assert float(bound) in USUAL
        assert str(float(bound)) == bound


def test_every_alert_leads_to_what_to_do() -> None:
    for rule in ALERTS:
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (path, anchor) == ("docs/how-to/slo.md", rule["alert"].lower())
        assert anchor in anchors(page(path))
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_the_page_names_no_alert_or_metric_that_does_not_exist() -> None:
    told = page("docs/how-to/slo.md")
    assert set(re.findall(r"^### (\w+)$", told, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}
    assert named(told) <= samples() | {name for name, _ in described()}


def test_the_dashboard_names_nothing_that_does_not_exist_and_leaves_nothing_out() -> None:
    used = {name for panel in BOARD["panels"] for one in expressions(panel) for name in named(one)}
    used |= {name for one in BOARD["templating"]["list"] for name in named(str(one.get("definition", "")))}
    assert used <= samples()
    shown = {name.removesuffix("_bucket").removesuffix("_count") for name in used}
    assert {name for name, _ in described()} <= shown


def test_the_dashboards_questions_are_well_formed(tmp_path: Path) -> None:
    """As Prometheus reads them, with what Grafana would put in."""
    asked = {one for panel in BOARD["panels"] for one in expressions(panel)}
    plain = [one.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*") for one in asked]
    rules = {"groups": [{"name": "board", "rules": [{"record": "x:y", "expr": one} for one in sorted(plain)]}]}
    (tmp_path / "board.yml").write_text(json.dumps(rules))
    arguments = [tool("promtool"), "check", "rules", "--lint=none", "board.yml"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_numbers_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in BOARD["panels"])
