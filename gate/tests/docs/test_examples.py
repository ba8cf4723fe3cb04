"""The examples do what the pages say, on a gate that is really served."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gate.tests.cli.processes import (
    Json,
    Running,
    call,
    command,
    made,
    send,
    serving,
    until,
)
from gate.tests.docs.pages import blocks, page
from gate.tests.docs.shells import shell
from gate.tests.ports import free_port

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class House:
    """A served gate with the README's policy, an agent and a reviewer's token."""

    folder: Path
    database: str
    port: int
    key: str
    token: str

    @property
    def environment(self) -> dict[str, str]:
        return {"STACKSONA_GATE_URL": f"http://127.0.0.1:{self.port}", "STACKSONA_API_KEY": self.key}

    def refund(self, amount: str) -> Running:
        (self.folder / "refund.py").write_text(blocks(page("README.md"), "python")[0])
        return Running(sys.executable, str(self.folder / "refund.py"), amount, **self.environment)

    def waiting(self) -> Json:
        threads = call(self.port, "GET", "/api/review/threads?folder=new", self.token)[1]["threads"]
        return dict(threads[0])

    def review(self, verdict: str, **more: object) -> None:
        path = f"/api/review/threads/{self.waiting()['thread_id']}/reviews"
        status, answer = call(self.port, "POST", path, self.token, {"verdict": verdict, "revision": 1, **more})
        assert status == 200, answer

    def outcomes(self) -> list[str]:
        entries = call(self.port, "GET", "/api/admin/audit?limit=100", self.token)[1]["entries"]
        events = [entry for entry in entries if entry["leaf"]["event"] == "outcome.reported"]
        assert all("flag" not in entry["private"] for entry in events)
        return [entry["private"]["outcome"]["value"] for entry in events]

    def shell(self, text: str, **environment: str) -> str:
        return shell(text, self.folder, self.environment | environment)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A folder with a database, to copy: commands take their time. And the key and the token in it."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "policy.yaml").write_text(blocks(page("README.md"), "yaml")[0])
    at = ("--database", f"sqlite:///{folder}/gate.db")
    assert command("policy", "apply", str(folder / "policy.yaml"), *at).returncode == 0
    key = made("agent", "create", "refund-agent", *at)["key"]
    person = ("user", "create", "you@example.com", "--role", "admin", "--password-stdin", *at)
    assert command(*person, given="a long enough password\n").returncode == 0
    token = made("token", "create", "you@example.com", *at)["token"]
    return folder, key, token


@pytest.fixture
def house(tmp_path: Path, prepared: tuple[Path, str, str]) -> Iterator[House]:
    folder, key, token = prepared
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    database, port = f"sqlite:///{tmp_path}/gate.db", free_port()
    with serving(database, port):
        yield House(tmp_path, database, port, key, token)


def test_the_readmes_program_refunds_at_once_what_a_rule_allows(house: House) -> None:
    refund = house.refund("40")
    assert refund.end(0) == 0
    assert refund.line("refunded") == "refunded 40 usd to cus_99"
    assert house.outcomes() == ["executed"]


def test_the_readmes_program_stops_at_what_a_rule_rejects(house: House) -> None:
    refund = house.refund("9000")
    assert refund.end(0) == 1
    assert "".join(refund.errors) == "not refunded: reject, amount 9000 is over 5000\n"
    assert house.outcomes() == []


def test_the_readmes_program_waits_and_runs_what_people_approved(house: House) -> None:
    refund = house.refund("500")
    refund.line("waiting for a reviewer", "/inbox/THR-")
    house.review("approve", payload={"amount": 120, "currency": "usd", "customer_id": "cus_99"})
    assert refund.line("refunded") == "refunded 120 usd to cus_99"
    assert refund.end(0) == 0
    assert house.outcomes() == ["executed"]


def test_the_readmes_program_runs_nothing_that_people_rejected(house: House) -> None:
    refund = house.refund("500")
    refund.line("waiting for a reviewer")
    house.review("reject", message="not this one")
    assert refund.end(0) == 1
    assert "".join(refund.errors) == "not refunded: rejected, not this one\n"
    assert house.outcomes() == []


def test_the_readmes_program_runs_nothing_with_a_bad_key(house: House) -> None:
    made("agent", "rotate", "refund-agent", "--database", house.database)
    refund = house.refund("40")
    assert refund.end(0) == 1
    assert not [line for line in refund.lines if "refunded" in line]


def test_the_readmes_call_is_pending(house: House) -> None:
    answer = json.loads(house.shell(next(text for text in blocks(page("README.md"), "sh") if "curl" in text)))
    assert answer["status"] == "pending_review"
    assert house.waiting()["thread_id"] == answer["thread_id"]


def test_the_dify_guides_calls_ask_redeem_and_hand_on_the_payload(house: House) -> None:
    curl = next(text for text in blocks(page("docs/how-to/dify-upgrade.md"), "sh") if "urlencode" in text)
    head, _, _ = house.shell(curl).replace("\r", "").partition("\n\n")
    read = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.splitlines())}
    assert read["x-gate-decision"] == "allow"
    named = {"task_id": "task-id", "signature": "approval-token", "payload_digest": "payload-digest"}
    form = {"tool_name": "issue_refund", **{field: read[f"x-gate-{header}"] for field, header in named.items()}}
    headers = {
        "Authorization": f"Bearer {house.key}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/vnd.stacksona.payload+json",
    }
    sent = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    status, payload = send(house.port, "POST", "/api/agent/approvals/validate", headers, sent)
    assert (status, payload) == (200, {"amount": 40, "currency": "usd", "customer_id": "cus_99"})


def test_the_tools_guide_redeems_with_a_verifiers_key(house: House) -> None:
    at = ("--database", house.database)
    verifier = made("verifier", "create", "refunds-service", "--tool", "issue_refund", *at)["key"]
    payload = {"amount": 40, "currency": "usd", "customer_id": "cus_99"}
    body = {"tool_name": "issue_refund", "subject": "Refund", "payload": payload}
    decision = call(house.port, "POST", "/api/agent/tasks/refund-8822/requests", house.key, body)[1]
    curl = next(text for text in blocks(page("docs/how-to/verify-in-the-tool.md"), "sh") if "curl" in text)
    filled = curl.replace("<approval_token>", decision["approval_token"])
    assert json.loads(house.shell(filled, STACKSONA_VERIFIER_KEY=verifier))["valid"] is True
    assert json.loads(house.shell(filled, STACKSONA_VERIFIER_KEY=verifier))["reason"] == "already_used"


def test_the_tools_guide_says_how_to_check_a_signature(house: House) -> None:
    payload = {"currency": "usd", "amount": 40}
    body = {"tool_name": "issue_refund", "subject": "Refund", "payload": payload}
    token = call(house.port, "POST", "/api/agent/tasks/t/requests", house.key, body)[1]["approval_token"]
    head, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    header, said = json.loads(head), json.loads(claims)
    assert (header.pop("alg"), header.pop("typ")) == ("Ed25519", "gate-approval+jwt")
    keys = call(house.port, "GET", "/.well-known/jwks.json")[1]["keys"]
    public = next(base64.urlsafe_b64decode(key["x"] + "==") for key in keys if key["kid"] == header["kid"])
    Ed25519PublicKey.from_public_bytes(public).verify(signature, token.rpartition(".")[0].encode())
    assert said["aud"] == "issue_refund"
    assert said["payload_digest"] == "sha-256:" + hashlib.sha256(b'{"amount":40,"currency":"usd"}').hexdigest()


def test_the_tutorial_goes_from_nothing_to_a_decision(tmp_path: Path) -> None:
    """Its commands as they stand, but for what a person types: passwords, the key that was printed, the token."""
    told = page("docs/tutorial.md")
    settings, policy, people, _, _, look = blocks(told, "sh")
    (tmp_path / "tutorial").mkdir()
    for name, text in zip(("policy", "cases"), blocks(told, "yaml"), strict=True):
        (tmp_path / f"tutorial/{name}.yaml").write_text(text)
    exported = next(line for line in settings.splitlines() if line.startswith("export STACKSONA_DATABASE_URL"))
    database, port = f"sqlite:///{tmp_path}/tutorial/gate.db", free_port()
    house = House(tmp_path, database, port, "", "")
    assert "3 of 3 cases as expected" in house.shell(f"{exported}\n{policy}")
    piped = re.sub("^(.* user create .*)$", r"echo long enough words | \1 --password-stdin", people, flags=re.MULTILINE)
    said = house.shell(f"{exported}\n{piped}")
    key = next(line.split()[1] for line in said.splitlines() if line.startswith("key"))
    token = made("token", "create", "you@example.com", "--database", database)["token"]
    house = House(tmp_path, database, port, key, token)
    with serving(database, port):
        refund = house.refund("120")
        refund.line("waiting for a reviewer")
        house.review("approve")
        assert refund.line("refunded") == "refunded 120 usd to cus_99"
        assert refund.end(0) == 0
        asked = look.splitlines()[-1].replace("sp_…", token).replace("8420", str(port))
        assert "approval.redeemed" in house.shell(asked)


def test_a_backup_starts_a_gate_as_the_guide_says(house: House) -> None:
    take, _, try_it = blocks(page("docs/how-to/backup.md"), "sh")[:3]
    house.shell(f"export STACKSONA_DATABASE_URL={house.database}\n{take}")
    assert "refund-agent" in house.shell(try_it)


def test_the_key_guides_commands_work(house: House) -> None:
    for text in blocks(page("docs/how-to/rotate-keys.md"), "sh"):
        house.shell(f"export STACKSONA_DATABASE_URL={house.database}\n{text}")
    assert call(house.port, "GET", "/api/agent/threads", house.key)[0] == 200

    def published() -> bool | None:
        return len(call(house.port, "GET", "/.well-known/jwks.json")[1]["keys"]) == 2 or None

    assert until(published)


def test_pausing_rejects_what_waits_as_the_guide_says(house: House) -> None:
    refund = house.refund("500")
    refund.line("waiting for a reviewer")
    pause, resume = blocks(page("docs/how-to/pause.md"), "sh")
    house.shell(f"export STACKSONA_DATABASE_URL={house.database}\n{pause}")
    assert refund.end(0) == 1
    assert "not refunded: rejected" in "".join(refund.errors)
    house.shell(f"export STACKSONA_DATABASE_URL={house.database}\n{resume}")
    again = house.refund("40")
    assert again.end(0) == 0


def test_the_call_of_the_guide_to_logs_gets_its_name_back(house: House) -> None:
    curl = next(text for text in blocks(page("docs/how-to/logs.md"), "sh") if "curl" in text)
    head, _, body = house.shell(curl.replace("curl -sS", "curl -sSi")).replace("\r", "").partition("\n\n")
    assert "x-request-id: run-7" in head.lower()
    assert json.loads(body)["status"] in ("allow", "pending_review")
