"""The guide for Python does what it says, on a gate that is really served."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import httpx2
import pytest
from gate.tests.cli.processes import Running, call, command, made, running, serving
from gate.tests.docs.pages import ROOT, blocks, links, page
from gate.tests.ports import free_port
from standardwebhooks import Webhook

pytestmark = pytest.mark.slow

GUIDE = page("docs/how-to/python.md")
PROGRAMS = dict(zip(("refund", "later", "loop", "agent", "tool", "receiver"), blocks(GUIDE, "python"), strict=True))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass(frozen=True)
class House:
    """A served gate with the README's policy, and the guide's programs in a folder."""

    folder: Path
    database: str
    port: int
    key: str
    token: str

    @property
    def environment(self) -> dict[str, str]:
        return {"STACKSONA_GATE_URL": f"http://127.0.0.1:{self.port}", "STACKSONA_API_KEY": self.key}

    def run(self, *arguments: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            input=given,
            timeout=60,
            check=False,
            cwd=self.folder,
            env={**os.environ, **self.environment, **more},
        )

    def said(self, *arguments: str, given: str = "", **more: str) -> str:
        done = self.run(*arguments, given=given, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, program: str, *arguments: str, **more: str) -> Running:
        return Running(sys.executable, "-u", str(self.folder / program), *arguments, **self.environment, **more)

    def review(self, thread_id: str | None, **more: object) -> None:
        """Of the thread, or of the first that waits."""
        while thread_id is None:
            threads = call(self.port, "GET", "/api/review/threads?folder=new", self.token)[1]["threads"]
            thread_id = threads[0]["thread_id"] if threads else None
        said = {"verdict": "approve", "revision": 1, **more}
        status, answer = call(self.port, "POST", f"/api/review/threads/{thread_id}/reviews", self.token, said)
        assert status == 200, answer


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("how-to")
    for name, text in PROGRAMS.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "policy.yaml").write_text(blocks(page("README.md"), "yaml")[0])
    database, port = f"sqlite:///{folder}/gate.db", free_port()
    at = ("--database", database)
    assert command("policy", "apply", str(folder / "policy.yaml"), *at).returncode == 0
    key = made("agent", "create", "refund-agent", *at)["key"]
    person = ("user", "create", "you@example.com", "--role", "admin", "--password-stdin", *at)
    assert command(*person, given="a long enough password\n").returncode == 0
    token = made("token", "create", "you@example.com", *at)["token"]
    with serving(database, port):
        yield House(folder, database, port, key, token)


def test_the_client_is_installed_as_the_guide_says(tmp_path: Path) -> None:
    """Into a folder of its own, from a copy, and without its dependencies: those are not fetched here."""
    shutil.copytree(ROOT / "sdk/python", tmp_path / "sdk/python", ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_TARGET": str(tmp_path / "there"),
        "PIP_QUIET": "1",
    }
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **settings, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    install = blocks(GUIDE, "sh")[0]
    subprocess.run(
        ["bash", "-euc", install], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120
    )
    assert {"__init__.py", "py.typed"} <= {path.name for path in (tmp_path / "there/stacksona").iterdir()}


def test_the_guides_commands_are_those_that_are_tested() -> None:
    assert [text.strip() for text in blocks(GUIDE, "sh")[1:]] == ["python3 refund.py 40", "python3 later.py"]
    assert set(re.findall(r"`python3 (\w+)\.py", GUIDE)) <= PROGRAMS.keys()


def test_the_readme_of_the_client_runs_and_leads_somewhere(house: House) -> None:
    told = page("sdk/python/README.md")
    program = blocks(told, "python")[0].rstrip()
    head, _, last = program.rpartition("\n")
    (house.folder / "readme.py").write_text(f"{head}\nprint({last})\n")
    assert house.said("readme.py") == "refunded 40 usd to cus_99"
    assert all((ROOT / "sdk/python" / link).exists() for link in links(told))


def test_what_a_rule_allows_is_refunded(house: House) -> None:
    assert house.said("refund.py", "40") == "refunded 40 usd to cus_99"


def test_what_a_rule_rejects_is_not(house: House) -> None:
    done = house.run("refund.py", "9000")
    assert (done.returncode, done.stdout) == (1, "")
    assert "not refunded: reject (rule): amount 9000 is over 5000" in done.stderr


def test_a_guard_waits_and_runs_what_the_reviewer_made_of_it(house: House) -> None:
    refund = house.start("refund.py", "500")
    house.review(None, payload={"amount": 120, "currency": "usd", "customer_id": "cus_99"})
    assert refund.line("refunded") == "refunded 120 usd to cus_99"
    assert refund.end(0) == 0


def test_a_program_comes_back_once(house: House) -> None:
    thread_id = house.said("later.py")
    assert house.said("later.py", thread_id) == thread_id
    house.review(thread_id)
    assert house.said("later.py", thread_id) == "refunded 500 usd to cus_99"
    assert "RedemptionRefused" in house.run("later.py", thread_id).stderr


def test_the_client_of_an_event_loop_does_the_same(house: House) -> None:
    assert house.said("loop.py").splitlines() == ["refunded 30 usd", "allow True 45"]


def test_the_tool_redeems_what_the_agent_hands_over_once(house: House) -> None:
    key = made("verifier", "create", "refunds", "--tool", "issue_refund", "--database", house.database)["key"]
    handed = house.said("agent.py")
    assert house.said("tool.py", given=handed, STACKSONA_VERIFIER_KEY=key) == "refunded 40 approved by 0"
    assert "already_used" not in handed
    assert "was redeemed before" in house.run("tool.py", given=handed, STACKSONA_VERIFIER_KEY=key).stderr
    other = handed.replace('"amount": 40', '"amount": 4000')
    assert "another payload" in house.run("tool.py", given=other, STACKSONA_VERIFIER_KEY=key).stderr


def test_a_signed_webhook_wakes_the_receiver_up(house: House) -> None:
    thread_id, port = house.said("later.py"), free_port()
    house.review(thread_id)
    body = f'{{"event": "decision.approved", "thread_id": "{thread_id}"}}'
    at = datetime.now(timezone.utc)
    headers = {
        "webhook-id": "whd_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("whd_1", at, body),
    }
    settings = {**house.environment, "STACKSONA_WEBHOOK_SECRET": SECRET, "PYTHONPATH": str(house.folder)}
    with running(sys.executable, "-u", str(house.folder / "receiver.py"), str(port), **settings) as receiver:
        assert posted(port, body + " ", headers) == 400
        assert posted(port, body, headers) == 204
        assert receiver.line("refunded") == "refunded 500 usd to cus_99"
        assert posted(port, body, headers) == 204
        receiver.line("not run:")


def posted(port: int, body: str, headers: dict[str, str]) -> int:
    """Sent again until somebody listens."""
    transport = httpx2.HTTPTransport(retries=8)
    with httpx2.Client(transport=transport, trust_env=False, timeout=30) as http:
        return http.post(f"http://127.0.0.1:{port}/", content=body, headers=headers).status_code
