"""The trigger with the live gate: subscribing, deliveries as the gate sends them, forgeries, unsubscribing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
from gate.tests.cli.processes import PATIENCE, until
from gate.tests.ports import free_port
from integrations.dify.plugin_tests.faulty import way
from integrations.dify.plugin_tests.live import Site
from integrations.dify.plugin_tests.local import LocalPlugin, PluginFault

Json = dict[str, Any]
SECRET: Final = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY: Final = json.dumps(
    {"event": "decision.approved", "thread_id": "THR-1", "task_id": "t", "request_id": "r", "decision": "approved"}
).encode()


class Dify(ThreadingHTTPServer):
    """The address that Dify gives a subscription: hands each delivery to the plugin, answers with what it says."""

    daemon_threads = True

    def __init__(self, plugin: LocalPlugin) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.plugin = plugin
        self.subscription: Json = {}
        self.taken: list[Json] = []
        self.raw: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/triggers/plugin/abc"


class Receiver(BaseHTTPRequestHandler):
    server: Dify

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        raw = b"\r\n".join(
            [self.requestline.encode(), *(f"{n}: {v}".encode() for n, v in self.headers.items()), b"", body]
        )
        found = dispatch(self.server.plugin, self.server.subscription, raw)
        self.server.raw.append(raw)
        self.server.taken.append(found)
        self.send_response(found["status"])
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def dispatch(plugin: LocalPlugin, subscription: Json, raw: bytes) -> Json:
    """What the plugin makes of a delivery."""
    (found,) = plugin.call(
        invocation("dispatch_trigger_event", {}, subscription=subscription, raw_http_request=raw.hex())
    )
    head = bytes.fromhex(found["response"]).split(b"\r\n", 1)[0]
    return found | {"status": int(head.split()[1])}


def invocation(action: str, credentials: Json, **fields: Any) -> Json:
    base = {"type": "trigger", "action": action, "user_id": "u", "provider": "stacksona_gate_trigger"}
    return {**base, "credentials": credentials, "credential_type": "api-key", **fields}


def on_event(plugin: LocalPlugin, found: Json, subscription: Json, raw: bytes, **parameters: str) -> Json:
    (one,) = plugin.call(
        invocation(
            "invoke_trigger_event",
            {},
            event="decision_made",
            subscription=subscription,
            raw_http_request=raw.hex(),
            parameters=parameters,
            payload=found["payload"],
        )
    )
    return one


@pytest.fixture
def dify(trigger: LocalPlugin) -> Iterator[Dify]:
    server = Dify(trigger)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join(PATIENCE)
    server.server_close()


def credentials_of(site: Site, **changes: str) -> Json:
    return {"gate_url": site.url, "admin_token": site.token} | changes


def subscribe(dify: Dify, site: Site, agent: Json, gate_url: str = "", **parameters: object) -> Json:
    (found,) = dify.plugin.call(
        invocation(
            "subscribe_trigger",
            credentials_of(site, gate_url=gate_url or site.url),
            endpoint=dify.url,
            parameters={"agent": agent["id"], **parameters},
        )
    )
    dify.subscription = found["subscription"]
    return dify.subscription


def unsubscribe(dify: Dify, site: Site, **changes: str) -> Json:
    call = invocation("unsubscribe_trigger", credentials_of(site, **changes), subscription=dify.subscription)
    (found,) = dify.plugin.call(call)
    return dict(found["subscription"])


def address(site: Site, agent: Json) -> str | None:
    found: str | None = site.call("GET", f"/api/admin/agents/{agent['id']}")[1]["webhook_url"]
    return found


def asked(site: Site, agent: Json, **fields: object) -> str:
    body = {"tool_name": "issue_refund", "subject": "Refund", "payload": {"amount": 500}, **fields}
    return str(site.call("POST", "/api/agent/tasks/t/requests", body, token=agent["key"])[1]["thread_id"])


def signed(body: bytes = BODY, *, secret: str = SECRET, at: float | None = None, **headers: str | None) -> bytes:
    """A delivery as the gate signs it."""
    sent = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, b"msg_1." + sent.encode() + b"." + body, hashlib.sha256).digest()
    given: dict[str, str | None] = {
        "webhook-id": "msg_1",
        "webhook-timestamp": sent,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    head = "\r\n".join(["POST /triggers/plugin/abc HTTP/1.1", "Host: dify", *lines, f"Content-Length: {len(body)}"])
    return head.encode() + b"\r\n\r\n" + body


def by_hand(secret: str = SECRET) -> Json:
    return {"expires_at": -1, "endpoint": "http://dify/x", "properties": {"webhook_secret": secret}}


def test_a_subscription_sets_the_agents_webhook_and_a_decision_wakes_the_workflow(dify: Dify, site: Site) -> None:
    agent = site.agent()
    subscription = subscribe(dify, site, agent)
    assert subscription["properties"]["webhook_secret"].startswith("whsec_")
    assert address(site, agent) == dify.url
    thread_id = asked(site, agent, metadata={"run": "7"})
    site.review(thread_id)
    found = until(lambda: dify.taken[0] if dify.taken else None)
    assert (found["status"], found["events"]) == (200, ["decision_made"])
    variables = on_event(dify.plugin, found, subscription, dify.raw[0])["variables"]
    assert (variables["thread_id"], variables["event"], variables["tool_name"], variables["metadata"]) == (
        thread_id,
        "decision.approved",
        "issue_refund",
        {"run": "7"},
    )
    assert variables["message"] == "looked at"
    assert not {"payload", "approval_token", "payload_digest", "may_run"} & set(variables)


def test_a_delivery_that_comes_twice_names_the_same_thread_and_nothing_more(dify: Dify, site: Site) -> None:
    agent = site.agent()
    subscribe(dify, site, agent)
    site.review(asked(site, agent))
    until(lambda: dify.taken[0] if dify.taken else None)
    again = dispatch(dify.plugin, dify.subscription, dify.raw[0])
    assert again == dify.taken[0]
    assert again["payload"]["webhook_id"]


def test_unsubscribing_takes_the_address_away_and_no_others(dify: Dify, site: Site) -> None:
    agent = site.agent()
    subscribe(dify, site, agent)
    assert unsubscribe(dify, site)["success"]
    assert address(site, agent) is None
    site.call("PATCH", f"/api/admin/agents/{agent['id']}", {"webhook_url": "https://elsewhere.example.com/"})
    assert unsubscribe(dify, site)["success"]
    assert address(site, agent) == "https://elsewhere.example.com/"


def test_unsubscribing_that_did_not_work_says_so(dify: Dify, site: Site) -> None:
    agent = site.agent()
    subscribe(dify, site, agent)
    found = unsubscribe(dify, site, admin_token="sp_wrong")
    assert (found["success"], "still" in found["message"]) == (False, True)
    assert address(site, agent) == dify.url


def test_an_agent_whose_webhook_goes_elsewhere_is_left_alone_unless_told(dify: Dify, site: Site) -> None:
    agent = site.agent(webhook_url="https://elsewhere.example.com/")
    with pytest.raises(PluginFault, match="another address"):
        subscribe(dify, site, agent)
    assert address(site, agent) == "https://elsewhere.example.com/"
    subscription = subscribe(dify, site, agent, replace=True)
    assert address(site, agent) == dify.url
    assert subscription["properties"]["webhook_secret"] != agent["webhook_secret"]


def test_the_secret_of_a_second_subscription_signs_and_the_first_ones_no_more(dify: Dify, site: Site) -> None:
    agent = site.agent()
    first = subscribe(dify, site, agent)
    second = subscribe(dify, site, agent)
    site.review(asked(site, agent))
    found = until(lambda: dify.taken[0] if dify.taken else None)
    assert (found["status"], first["properties"] != second["properties"]) == (200, True)
    assert dispatch(dify.plugin, first, dify.raw[0])["status"] == 401


def test_refreshing_keeps_what_is_and_switches_on_what_was_switched_off(dify: Dify, site: Site) -> None:
    agent = site.agent()
    subscribe(dify, site, agent)
    site.call("PUT", f"/api/admin/agents/{agent['id']}/webhook-switch-off")
    call = invocation("refresh_trigger", credentials_of(site), subscription=dify.subscription)
    (found,) = dify.plugin.call(call)
    assert found["subscription"] == dify.subscription
    state = site.call("GET", f"/api/admin/agents/{agent['id']}")[1]["webhook"]
    assert state["switched_off_at"] is None
    site.call("PATCH", f"/api/admin/agents/{agent['id']}", {"webhook_url": None})
    with pytest.raises(PluginFault, match="subscribe again"):
        dify.plugin.call(call)


def test_the_agents_can_be_chosen_from(trigger: LocalPlugin, site: Site) -> None:
    agent = site.agent()
    (found,) = trigger.call(
        {
            "type": "dynamic_parameter",
            "action": "fetch_parameter_options",
            "credentials": credentials_of(site),
            "credential_type": "api-key",
            "provider": "stacksona_gate_trigger",
            "provider_action": "provider",
            "user_id": "u",
            "parameter": "agent",
        }
    )
    assert (agent["id"], agent["name"]) in {(one["value"], one["label"]["en_US"]) for one in found["options"]}


def test_only_an_admins_token_is_taken_and_looking_changes_nothing(trigger: LocalPlugin, site: Site) -> None:
    before = site.call("GET", "/api/admin/agents")[1]
    good = invocation("validate_trigger_credentials", credentials_of(site))
    assert trigger.call(good) == [{"result": True}]
    assert site.call("GET", "/api/admin/agents")[1] == before
    auditor = site.person("auditor@example.com", "auditor")
    for changes in ({"admin_token": auditor}, {"admin_token": "sp_x"}, {"admin_token": ""}, {"gate_url": "gate"}):
        with pytest.raises(PluginFault) as fault:
            trigger.call(invocation("validate_trigger_credentials", credentials_of(site, **changes)))
        assert fault.value.kind == "TriggerProviderCredentialValidationError"
        assert auditor not in json.dumps(fault.value.error)


@pytest.mark.parametrize("fault", ["500", "garbage", "allow", "page", "redirect", "half", "down"])
def test_no_fault_of_the_gate_makes_a_subscription(dify: Dify, site: Site, fault: str) -> None:
    agent = site.agent()
    with way(site.url, "500" if fault == "down" else fault) as gate:
        url = gate.url if fault != "down" else f"http://127.0.0.1:{free_port()}"
        call = invocation(
            "subscribe_trigger",
            credentials_of(site, gate_url=url),
            endpoint=dify.url,
            parameters={"agent": agent["id"]},
        )
        with pytest.raises(PluginFault) as refused:
            dify.plugin.call(call)
    assert refused.value.kind == "SubscriptionError"
    assert site.token not in json.dumps(refused.value.error)
    assert address(site, agent) is None


def test_a_redirect_is_not_followed(dify: Dify, site: Site) -> None:
    with way(site.url, "redirect") as gate, pytest.raises(PluginFault, match="307"):
        subscribe(dify, site, site.agent(), gate_url=gate.url)


def test_an_address_without_its_secret_is_put_back(dify: Dify, site: Site) -> None:
    agent = site.agent(webhook_url="https://elsewhere.example.com/")
    with way(site.url, "no_secret") as gate, pytest.raises(PluginFault, match="500"):
        subscribe(dify, site, agent, gate_url=gate.url, replace=True)
    assert address(site, agent) == "https://elsewhere.example.com/"


def test_a_subscription_whose_first_answer_was_lost_is_one_all_the_same(dify: Dify, site: Site) -> None:
    agent = site.agent()
    with way(site.url, "first_change_lost") as gate:
        subscribe(dify, site, agent, gate_url=gate.url)
    site.review(asked(site, agent))
    assert until(lambda: dify.taken[0] if dify.taken else None)["status"] == 200


@pytest.mark.parametrize("agent", ["", "..", "../users", "nobody", "a/b?c", "\x00"])
def test_an_agent_that_is_none_is_refused(dify: Dify, site: Site, agent: str) -> None:
    with pytest.raises(PluginFault) as fault:
        subscribe(dify, site, {"id": agent})
    assert fault.value.kind == "SubscriptionError"


def test_a_subscription_made_by_hand_takes_what_its_secret_signed(trigger: LocalPlugin) -> None:
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    for secrets in (SECRET, f"{other} {SECRET}"):
        assert dispatch(trigger, by_hand(secrets), signed())["events"] == ["decision_made"]


def test_the_bytes_are_checked_as_they_came(trigger: LocalPlugin) -> None:
    assert dispatch(trigger, by_hand(), signed(b" " + BODY + b" \n"))["events"] == ["decision_made"]
    assert dispatch(trigger, by_hand(), signed(BODY).replace(b"Content-Length: ", b"X: ") + b"\n")["status"] == 401


@pytest.mark.parametrize(
    "forged",
    [
        lambda: signed(webhook_signature=None),
        lambda: signed(webhook_signature=""),
        lambda: signed(webhook_signature="v1," + base64.b64encode(b"0" * 32).decode()),
        lambda: signed(webhook_id="msg_2"),
        lambda: signed(webhook_id=None),
        lambda: signed(webhook_timestamp=str(int(time.time()) + 1)),
        lambda: signed(webhook_timestamp="soon"),
        lambda: signed(at=time.time() - 400),
        lambda: signed(at=time.time() + 400),
        lambda: signed(secret="whsec_" + base64.b64encode(b"o" * 32).decode()),
        lambda: signed().replace(b"THR-1", b"THR-2"),
        lambda: signed(b"not json"),
        lambda: signed(b"[]"),
        lambda: signed(b'{"event": 1}'),
        lambda: signed(b'{"event": "decision.approved", "event": "decision.approved", "thread_id": "THR-1"}'),
        lambda: signed(b"\xff\xfe"),
        lambda: signed(b""),
    ],
)
def test_what_the_gate_did_not_sign_just_now_is_answered_with_401_and_starts_nothing(
    trigger: LocalPlugin, forged: Callable[[], bytes]
) -> None:
    found = dispatch(trigger, by_hand(), forged())
    assert (found["status"], found["events"], found["payload"]) == (401, [], {})


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!", " "])
def test_a_subscription_without_a_usable_secret_takes_nothing(trigger: LocalPlugin, secret: str) -> None:
    assert dispatch(trigger, by_hand(secret), signed())["status"] == 401


def test_an_event_that_is_no_decision_is_taken_and_starts_nothing(trigger: LocalPlugin) -> None:
    for body in (
        b'{"event": "test"}',
        b'{"event": "decision.new", "thread_id": "T"}',
        b'{"event": "decision.approved"}',
    ):
        found = dispatch(trigger, by_hand(), signed(body))
        assert (found["status"], found["events"]) == (200, [])


@pytest.mark.parametrize(
    ("parameters", "starts"),
    [
        ({}, True),
        ({"only": "any"}, True),
        ({"only": "approved"}, True),
        ({"only": "rejected"}, False),
        ({"only": "revision_requested"}, False),
        ({"tool_name": "issue_refund"}, False),
    ],
)
def test_a_workflow_takes_what_it_wants(trigger: LocalPlugin, parameters: dict[str, str], starts: bool) -> None:
    raw = signed()
    found = on_event(trigger, dispatch(trigger, by_hand(), raw), by_hand(), raw, **parameters)
    assert found["cancelled"] is not starts


def test_fields_of_other_types_become_empty_texts(trigger: LocalPlugin) -> None:
    body = json.dumps(
        {"event": "decision.approved", "thread_id": "T", "message": {"a": 1}, "metadata": "x", "edited": 1}
    )
    raw = signed(body.encode())
    found = on_event(trigger, dispatch(trigger, by_hand(), raw), by_hand(), raw)["variables"]
    assert (found["message"], found["metadata"], found["edited"], found["decided_at"]) == ("", {}, False, "")
