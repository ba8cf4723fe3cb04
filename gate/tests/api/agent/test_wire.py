"""Held answers over real connections: who hangs up is forgotten, who waits is answered before the end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
import uvicorn
import uvloop
from gate.tests.api.agent.calls import DECISIONS, VALIDATE, Api, api_world, refund
from gate.tests.api.agent.test_held import until
from gate.tests.cli import processes
from gate.tests.factories import PATIENCE
from gate.tests.ports import free_port

from stacksona_gate.api.protocol import GateProtocol
from stacksona_gate.api.server import TAKEN_AT_ONCE, GateServer


@dataclass
class Served:
    """A gate on a loopback port."""

    api: Api
    port: int
    server: GateServer

    async def get(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A call that was sent, its answer not read yet."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(self.head(path))
        await writer.drain()
        return reader, writer

    async def post(self, path: str, body: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer to a call that does not say what its body is."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        key = self.api.world.key
        head = f"POST {path} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        answer = await body_of(reader)
        writer.close()
        return answer

    def head(self, path: str) -> bytes:
        """A call as it is sent."""
        key = self.api.world.key
        return f"GET {path} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


@asynccontextmanager
async def served(api: Api) -> AsyncIterator[Served]:
    config = uvicorn.Config(api.app, http=GateProtocol, lifespan="off", ws="none", access_log=False, log_config=None)
    server = GateServer(config, api.context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started)
        try:
            yield Served(api, listener.getsockname()[1], server)
        finally:
            server.should_exit = server.force_exit = True
            await asyncio.wait_for(running, PATIENCE)


def test_callers_that_begin_together_are_heard_together() -> None:
    async def burst() -> int:
        async with api_world() as api, served(api) as gate, AsyncExitStack() as stack:
            for _ in range(TAKEN_AT_ONCE):  # the system takes them in as long as the loop has no turn
                stack.enter_context(socket.create_connection(("127.0.0.1", gate.port)))
            for _ in range(TAKEN_AT_ONCE // 2):
                await asyncio.sleep(0)
            return len(gate.server.server_state.connections)

    assert uvloop.run(burst()) == TAKEN_AT_ONCE


async def body_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of an answer of known length."""
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
        return head, await reader.readexactly(int(length.partition(b":")[2]))


@pytest.mark.parametrize("path", [DECISIONS + "?wait=60&thread_id=", DECISIONS + "/stream?thread_id="])
async def test_who_hangs_up_is_held_no_more(api: Api, path: str) -> None:
    decision = await api.ask()
    async with served(api) as gate:
        _, writer = await gate.get(path + decision["thread_id"])
        await until(lambda: api.context.holds.count == 1 and api.world.gate.wakeups.count == 1)
        writer.close()
        await until(lambda: api.context.holds.count == 0 and api.world.gate.wakeups.count == 0)


async def test_a_held_answer_is_sent_when_people_decide(api: Api) -> None:
    decision = await api.ask()
    async with served(api) as gate:
        reader, writer = await gate.get(f"{DECISIONS}?wait=60&thread_id={decision['thread_id']}")
        await until(lambda: api.context.holds.count == 1)
        await api.review(decision)
        head, body = await body_of(reader)
        writer.close()
    assert json.loads(body)["status"] == "approved"
    assert b"x-gate-decision: approved" in head.lower()


async def test_a_held_answer_is_sent_before_the_server_ends(api: Api) -> None:
    decision = await api.ask()
    async with served(api) as gate:
        reader, writer = await gate.get(f"{DECISIONS}?wait=60&thread_id={decision['thread_id']}")
        await until(lambda: api.context.holds.count == 1)
        gate.server.should_exit = True
        head, body = await body_of(reader)
        writer.close()
    assert (head.split()[1], json.loads(body)["status"]) == (b"200", "pending_review")


async def test_a_stream_sends_each_state_as_it_comes(api: Api) -> None:
    decision = await api.ask()
    async with served(api) as gate, asyncio.timeout(PATIENCE):
        reader, writer = await gate.get(f"{DECISIONS}/stream?thread_id={decision['thread_id']}")
        first = await reader.readuntil(b'"status":"pending_review"')
        await api.review(decision)
        await reader.readuntil(b'"status":"approved"')
        writer.close()
    assert b"text/event-stream" in first


async def test_a_call_without_a_content_type_is_read_as_json(api: Api) -> None:
    body = b'{"tool_name":"issue_refund","subject":"s","payload":{"amount":1}}'
    async with served(api) as gate:
        _, answer = await gate.post("/api/agent/tasks/t/requests", body)
    assert json.loads(answer)["status"] == "allow"


def held_by(port: int) -> bool | None:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        return True if b"stacksona_gate_held_answers 1.0" in answer.read() else None


@pytest.mark.slow
def test_a_process_told_to_end_answers_who_waits_first(tmp_path: Path) -> None:
    database, port = f"sqlite:///{tmp_path}/gate.db", free_port()
    key = processes.made("agent", "create", "bot", "--database", database)["key"]
    with processes.serving(database, port) as server, ThreadPoolExecutor(1) as pool:
        thread_id = processes.ask(port, key)["thread_id"]
        waiting = pool.submit(processes.call, port, "GET", f"{DECISIONS}?wait=60&thread_id={thread_id}", key)
        processes.until(lambda: held_by(port))
        server.end(signal.SIGTERM)
        status, answer = waiting.result(PATIENCE)
    assert (status, answer["status"]) == (200, "pending_review")


async def test_a_held_answer_needs_no_task(api: Api) -> None:
    decision = await api.ask()
    async with served(api) as gate:
        reader, writer = await gate.get(f"{DECISIONS}?wait=60&thread_id={decision['thread_id']}")
        await until(lambda: api.context.holds.count == 1 and not gate.server.server_state.tasks)
        await api.review(decision)
        _, body = await body_of(reader)
        writer.close()
    assert json.loads(body)["status"] == "approved"


async def test_a_connection_goes_on_after_a_held_answer(api: Api) -> None:
    decision = await api.ask()
    async with served(api) as gate:
        reader, writer = await gate.get(f"{DECISIONS}?wait=60&thread_id={decision['thread_id']}")
        await until(lambda: api.context.holds.count == 1)
        await api.review(decision, "request_changes")
        first = json.loads((await body_of(reader))[1])
        writer.write(gate.head(f"{DECISIONS}?thread_id={decision['thread_id']}"))
        second = json.loads((await body_of(reader))[1])
        writer.close()
    assert first == second


async def test_a_request_behind_a_held_answer_waits_for_it(api: Api) -> None:
    decision = await api.ask()
    async with served(api) as gate:
        reader, writer = await gate.get(f"{DECISIONS}?wait=60&thread_id={decision['thread_id']}")
        writer.write(gate.head("/healthz"))
        await until(lambda: api.context.holds.count == 1)
        await api.review(decision)
        answers = [json.loads((await body_of(reader))[1])["status"] for _ in range(2)]
        writer.close()
    assert answers == ["approved", "ok"]


async def test_a_key_replaced_while_its_answer_is_held_is_told_nothing_on_the_wire(api: Api) -> None:
    decision = await api.ask()
    async with served(api) as gate:
        reader, writer = await gate.get(f"{DECISIONS}?wait=60&thread_id={decision['thread_id']}")
        await until(lambda: api.context.holds.count == 1)
        await api.world.rotate()
        await api.review(decision)
        head, body = await body_of(reader)
        writer.close()
    assert (head.split()[1], json.loads(body)["code"]) == (b"401", "unauthenticated")
    assert b"x-gate" not in head.lower()
    assert (api.context.holds.count, api.world.gate.wakeups.count) == (0, 0)


async def test_what_is_kept_is_sent_with_each_callers_own_request_id(api: Api) -> None:
    decision = await api.approved()
    async with served(api) as gate:
        reader, writer = await gate.get(f"{DECISIONS}?thread_id={decision['thread_id']}")
        heads = [(await body_of(reader))[0]]
        writer.write(gate.head(f"{DECISIONS}?thread_id={decision['thread_id']}"))
        heads.append((await body_of(reader))[0])
        writer.close()
    ids = [next(line for line in head.split(b"\r\n") if line.startswith(b"x-request-id")) for head in heads]
    assert ids[0] != ids[1]
    assert all(head.count(b"x-request-id") == 1 and b"cache-control: no-store" in head for head in heads)


async def test_a_redemption_says_on_the_wire_what_it_says_to_an_application(api: Api) -> None:
    decision, bound = await api.approved(), {name: refund()[name] for name in ("tool_name", "payload")}
    body = json.dumps({"task_id": decision["task_id"], "signature": decision["approval_token"], **bound}).encode()
    async with served(api) as gate:
        sent, answer = await gate.post(VALIDATE, body)
    assert json.loads(answer)["valid"]
    assert json.loads(answer)["payload"] == bound["payload"]
    names = (b"HTTP/1.1 200 ", b"content-type: application/json\r\n", b"cache-control: no-store\r\n", b"x-request-id: ")
    assert [sent.count(name) for name in names] == [1, 1, 1, 1]
