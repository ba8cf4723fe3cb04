"""The receivers of the guide to webhooks, run as they stand."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gate.tests.cli.processes import COMMAND, Running, ask, call, command, made, running, until
from gate.tests.docs.pages import ROOT, blocks, page
from gate.tests.ports import free_port

from stacksona_gate.delivery.signatures import signed_headers
from stacksona_gate.service.webhooks import decision_fields

PAGE = "docs/how-to/webhooks.md"
OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_" + base64.b64encode(bytes(range(32))).decode()
STRANGE = "whsec_" + base64.b64encode(bytes(32)).decode()
BODY = '{"event":"decision.approved","thread_id":"THR-1","message":"40 €"}'.encode()


@dataclass(frozen=True, slots=True)
class Receiver:
    process: Running
    port: int

    def deliver(self, body: bytes = BODY, *secrets: str, late: int = 0, **changed: str) -> int | None:
        """The status; None when the receiver hung up."""
        at = time.time_ns() // 1000 - late * 1_000_000
        headers = signed_headers(secrets or (OLD,), "whd_1", at, BODY) | {
            name.replace("_", "-"): value for name, value in changed.items()
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/hooks/gate", body, {name: value for name, value in headers.items() if value})
            return connection.getresponse().status
        except http.client.RemoteDisconnected:
            return None
        finally:
            connection.close()

    def is_open(self) -> bool | None:
        try:
            self.deliver(b"")
        except ConnectionError:
            return None
        return True


def plain_python(folder: Path) -> tuple[str, ...]:
    (folder / "receiver.py").write_text(blocks(page(PAGE), "python")[0])
    return sys.executable, str(folder / "receiver.py")


def python_with_the_library(folder: Path) -> tuple[str, ...]:
    """The second block takes the place of the first one's function, as the page says."""
    first, second = blocks(page(PAGE), "python")
    program, _, start = first.partition("if __name__")
    (folder / "receiver.py").write_text(f"{program}\n{second}\n\nif __name__{start}")
    return sys.executable, str(folder / "receiver.py")


def node(folder: Path) -> tuple[str, ...]:
    found = shutil.which("node")
    assert found, "these tests need node"
    (folder / "receiver.mjs").write_text(blocks(page(PAGE), "js")[0])
    return found, str(folder / "receiver.mjs")


@pytest.fixture(scope="module", params=[plain_python, python_with_the_library, node], ids=lambda made: made.__name__)
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    program: Callable[[Path], tuple[str, ...]] = request.param
    port = free_port()
    arguments = program(tmp_path_factory.mktemp("receiver"))
    with running(*arguments, str(port), STACKSONA_WEBHOOK_SECRET=f"{NEW} {OLD}") as process:
        made = Receiver(process, port)
        until(made.is_open)
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("secrets", [(OLD,), (NEW,), (OLD, NEW), (STRANGE, OLD)])
def test_a_good_delivery_wakes_the_receiver(receiver: Receiver, secrets: tuple[str, ...]) -> None:
    assert receiver.deliver(BODY, *secrets) == 204
    assert receiver.process.line("read the decision on") == "read the decision on THR-1"


REFUSED: dict[str, dict[str, Any]] = {
    "another body": {"body": BODY + b" "},
    "an empty body": {"body": b""},
    "too late": {"late": 310},
    "too early": {"late": -310},
    "another id": {"webhook_id": "whd_2"},
    "another second": {"webhook_timestamp": str(int(time.time()) - 5)},
    "no id": {"webhook_id": ""},
    "no timestamp": {"webhook_timestamp": ""},
    "no signature": {"webhook_signature": ""},
    "a timestamp that is none": {"webhook_timestamp": "soon"},
    "no base 64": {"webhook_signature": "v1,???"},
    "no comma": {"webhook_signature": "nonsense"},
    "a short signature": {"webhook_signature": "v1,AAAA"},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_bad_delivery_is_refused_and_the_receiver_goes_on(receiver: Receiver, case: dict[str, Any]) -> None:
    assert receiver.deliver(**case) == 401
    assert receiver.deliver() == 204


@pytest.mark.slow
def test_a_stranger_is_refused(receiver: Receiver) -> None:
    assert receiver.deliver(BODY, STRANGE) == 401


def test_every_block_of_code_on_the_page_is_one_of_those_run() -> None:
    assert (len(blocks(page(PAGE), "python")), len(blocks(page(PAGE), "js"))) == (2, 1)


def test_the_page_names_every_field_that_is_sent() -> None:
    told = page(PAGE)
    fields = set(decision_fields.__code__.co_consts[-1])
    assert "thread_id" in fields
    assert [name for name in fields if f"`{name}`" not in told] == []


@pytest.mark.parametrize("name", ["accepted", "refused"])
def test_the_plain_check_agrees_with_the_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKSONA_WEBHOOK_SECRET", OLD)
    space: dict[str, Any] = {"__name__": "receiver"}
    exec(blocks(page(PAGE), "python")[0], space)  # noqa: S102 - the page's own code
    for case in json.loads((ROOT / f"conformance/webhooks/{name}.json").read_text()):
        space["SECRETS"] = case["secrets"]
        monkeypatch.setattr(time, "time", lambda now=case["now"]: now)
        headers = {key.lower(): value for key, value in case["headers"].items()}
        assert space["is_genuine"](headers, case["body"].encode()) is (name == "accepted"), case["name"]


@pytest.mark.slow
def test_the_listener_prints_what_a_gate_sends(tmp_path: Path) -> None:
    """Step 3 of the guide, from the question to the wake-up."""
    at, port, listened = ("--database", f"sqlite:///{tmp_path}/gate.db"), free_port(), free_port()
    made_agent = made("agent", "create", "refund-agent", "--webhook", f"http://127.0.0.1:{listened}/hook", *at)
    person = ("user", "create", "you@example.com", "--role", "admin", "--password-stdin", *at)
    assert command(*person, given="a long enough password\n").returncode == 0
    token = made("token", "create", "you@example.com", *at)["token"]
    secret, local = {"STACKSONA_WEBHOOK_SECRET": made_agent["webhook_secret"]}, "127.0.0.0/8"
    listen = running(COMMAND, "webhooks", "listen", "--port", str(listened), **secret)
    serve = running(COMMAND, "serve", "--port", str(port), *at, STACKSONA_ALLOWED_NETWORKS=local)
    with listen as listener, serve as gate:
        listener.line("Listening on")
        gate.line("Stacksona Gate on")
        thread_id = ask(port, made_agent["key"])["thread_id"]
        path = f"/api/review/threads/{thread_id}/reviews"
        assert call(port, "POST", path, token, {"verdict": "approve", "revision": 1})[0] == 200
        listener.line("POST /hook")
        listener.line("signature good")
        listener.line('"event": "decision.approved"')
        listener.line(f'"thread_id": "{thread_id}"')
