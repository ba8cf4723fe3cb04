"""Two workspaces, every credential, every address: with the other's ids there is nothing, and nothing comes of it.

The order and the mixtures are drawn by a seed, STACKSONA_TEST_SEED or 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx2
import pytest
from gate.tests.factories import PATIENCE, Database, sqlite_database
from gate.tests.isolation.cases import CASES, OWN_NAMES, PATH_IDS, STREAMS, Try
from gate.tests.isolation.houses import Side, Town, rows_of, text_of, town
from gate.tests.postgres import postgres_database
from starlette.routing import Route, Router

from stacksona_gate.service import reviews

SEED: Final = int(os.environ.get("STACKSONA_TEST_SEED", "1"))
MIXED: Final = 200
"""Calls with any id of the other's in any place, beside those with the right kind in each."""
WHO: Final = (
    "nobody",
    "agent",
    "verifier",
    "admin",
    "reviewer",
    "auditor",
    "admin's browser",
    "reviewer's browser",
    "operator",
)
NUMBERS: Final = {"version": ("2000000", "2000001"), "index": ("700000", "700001"), "seq": ("900000", "900001")}
"""Counts are each workspace's own: what neither has is the same as what the other has. Rows say if one was met."""
_MOVING: Final = ("date", "content-length", "retry-after", "location", "set-cookie", "etag")


@dataclass(frozen=True, slots=True)
class Door:
    """One method of one address."""

    method: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def fields(self) -> list[str]:
        return re.findall(r"\{(\w+)(?::\w+)?\}", self.path)

    def at(self, values: Mapping[str, str]) -> str:
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda found: quote(values[found[1]], safe=""), self.path)


def doors_of(app: Any) -> list[Door]:
    """Everything that the router serves: no table of routes is left out."""
    while not isinstance(app, Router):
        app = app.app
    found = []
    for route in app.routes:
        assert isinstance(route, Route)
        methods = getattr(route.endpoint, "_endpoints", None) or route.methods or ()
        found += [Door(method, route.path) for method in methods if method != "HEAD"]
    return found


@asynccontextmanager
async def a_town(kind: str) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        database: Database
        if kind == "sqlite":
            database = stack.enter_context(sqlite_database())
        else:
            database = stack.enter_context(postgres_database())
        yield await stack.enter_async_context(town(database))


def never(value: str, random_: random.Random) -> str:
    """An id of the same form and length that nobody has."""
    head, tail = value[: len(value) - 12], value[-12:]
    drawn = "".join(random_.choice("0123456789" if one.isdigit() else "abcdef") for one in tail)
    return head + (drawn.upper() if tail.upper() == tail else drawn)  # ULIDs and hexadecimal numbers


class Visitor:
    """Tries doors for one side, with the other's ids or with ids of nobody."""

    def __init__(self, town: Town, own: Side, other: Side, random_: random.Random) -> None:
        self.town, self.own, self.other = town, own, other
        numbers = {name: pair[0] for name, pair in NUMBERS.items()}
        self.theirs = {**other.ids, **numbers}
        self._random = random_
        self._fresh = 0

    def nobodys(self) -> dict[str, str]:
        """Others each time: what a call has made under such a name is there for the next."""
        drawn = {name: never(value, self._random) for name, value in self.other.ids.items()}
        numbers = {name: pair[1] for name, pair in NUMBERS.items()}
        return drawn | numbers | {"token": self.other.ids["never_token"]}

    async def call(
        self, client: httpx2.AsyncClient, door: Door, who: str, tried: Try, ids: Mapping[str, str]
    ) -> httpx2.Response:
        headers, csrf = self._credentials(who)
        fields = {field: tried.path.get(field, PATH_IDS[field]) for field in door.fields}
        content: dict[str, Any] = {}
        if tried.json is not None:
            content = {"content": json.dumps(self._filled(tried.json, ids)), "headers": {}}
            headers["content-type"] = "application/json"
        if tried.form is not None:
            content = {"data": self._filled(dict(tried.form), ids) | {"csrf": csrf}}
        headers |= self._filled(dict(tried.headers), ids)
        return await client.request(
            door.method,
            door.at(self._filled(fields, ids)),
            params=self._filled(dict(tried.query), ids),
            **(content | {"headers": headers | {"x-request-id": "fuzz"}}),
        )

    def _credentials(self, who: str) -> tuple[dict[str, str], str]:
        if who == "nobody":
            return {}, ""
        if who.endswith("'s browser"):
            cookie, csrf = self.own.cookies[who.partition("'")[0]]
            return {"cookie": f"stacksona_session={cookie}", "x-csrf-token": csrf}, csrf
        return {"authorization": f"Bearer {self.town.operator if who == 'operator' else self.own.keys[who]}"}, ""

    def _filled(self, value: Any, ids: Mapping[str, str]) -> Any:
        if isinstance(value, dict):
            return {self._filled(name, ids): self._filled(one, ids) for name, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one, ids) for one in value]
        if not isinstance(value, str):
            return value
        self._fresh += "?fresh" in value
        own = {**self.own.ids, "name": self.own.name}
        value = re.sub(r"\$(\w+)", lambda found: ids[found[1]], value)
        return re.sub(r"!(\w+)", lambda found: own[found[1]], value).replace("?fresh", f"fresh{self._fresh}")

    def told(self, answer: httpx2.Response, ids: Mapping[str, str]) -> tuple[int, str]:
        """What an answer says, but for the ids that it repeats."""
        headers = sorted((name, value) for name, value in answer.headers.items() if name not in _MOVING)
        text = json.dumps(headers) + answer.text
        for value in sorted(ids.values(), key=len, reverse=True):
            text = text.replace(value, "<id>")
        return answer.status_code, re.sub(r"fresh\d+", "fresh", text)


def tries(seed: int, doors: list[Door]) -> Iterator[tuple[Door, str, Try]]:
    """Every door, by everybody, in an order of the seed; signing out comes last."""
    drawn = random.Random(seed)  # noqa: S311 - repeatable by its seed
    every = [(door, who, tried) for door in doors for who in WHO for tried in _ways(door)]
    drawn.shuffle(every)
    yield from sorted(every, key=lambda one: (one[0].path == "/sign-out", one[2].names))


def _ways(door: Door) -> list[Try]:
    """Those of the case, and with one's own in all places but one."""
    ways = list(CASES[door.name])
    if len(door.fields) > 1:
        own = {"thread_id": "!thread_id", "task_id": "!task_id", "user_id": "!user_id"}
        for field in door.fields:
            mixed = {name: value for name, value in own.items() if name in door.fields and name != field}
            ways += [Try(one.query, one.json, one.form, one.headers, mixed) for one in CASES[door.name][:1]]
    return ways


def mixtures(seed: int, doors: list[Door], kinds: list[str]) -> Iterator[tuple[Door, str, Try]]:
    """Any id in any place."""
    drawn = random.Random(seed + 1)  # noqa: S311 - repeatable by its seed
    open_ = [door for door in doors if door.fields and door.name not in OWN_NAMES]
    for _ in range(MIXED):
        door = drawn.choice(open_)
        path = {field: "$" + drawn.choice(kinds) for field in door.fields}
        tried = drawn.choice(CASES[door.name])
        yield door, drawn.choice(WHO), Try(tried.query, tried.json, tried.form, tried.headers, path)


async def test_every_address_has_a_case_here() -> None:
    async with a_town("sqlite") as made:
        served = {door.name for door in doors_of(made.app)}
    assert served - STREAMS == CASES.keys(), "a new address needs a case: what would it do with another's ids?"


@pytest.mark.parametrize("direction", [0, 1], ids=["acme-globex", "globex-acme"])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_another_workspaces_ids_are_ids_of_nothing_at_every_address(kind: str, direction: int) -> None:
    async with a_town(kind) as made, made.client() as client:
        own, other = made.sides[direction], made.sides[1 - direction]
        visitor = Visitor(made, own, other, random.Random(SEED))  # noqa: S311 - repeatable by its seed
        doors = [door for door in doors_of(made.app) if door.name not in STREAMS]
        before = rows_of(made.world.database, other.tenant_id)
        missing: dict[str, set[int]] = {}
        kinds = sorted(other.ids.keys() - {"token", "never_token", "email"})
        walk = [*mixtures(SEED, doors, kinds), *tries(SEED, doors)]
        for door, who, tried in walk:
            if who == "operator" and door.path.startswith("/api/installation"):
                continue  # theirs is every workspace
            nobodys, answers = visitor.nobodys(), []
            for ids in (visitor.theirs, nobodys):
                answer = await visitor.call(client, door, who, tried, ids)
                where = f"seed {SEED}: {door.name} by {who} with {tried}"
                assert answer.status_code < 500, f"{where}: {answer.text}"
                for secret in (other.mark, *other.keys.values(), *(pair[0] for pair in other.cookies.values())):
                    assert secret not in text_of(answer), f"{where} tells {secret}"
                answers.append(answer)
            if not tried.names:
                _require_alike(visitor, answers, nobodys, where)
            missing.setdefault(door.name, set()).add(answers[0].status_code)
        after = rows_of(made.world.database, other.tenant_id)
        assert {name for name in before if before[name] != after[name]} == set(), f"seed {SEED}"
        _require_not_found(doors, missing)


def _require_alike(visitor: Visitor, answers: list[httpx2.Response], nobodys: Mapping[str, str], where: str) -> None:
    """The two answers say the same; where something was done for the caller, they say that it was."""
    theirs, none = answers
    assert theirs.status_code == none.status_code, f"{where}: {theirs.text} / {none.text}"
    if theirs.status_code >= 400:
        assert visitor.told(theirs, visitor.theirs) == visitor.told(none, nobodys), where


def _require_not_found(doors: list[Door], statuses: dict[str, set[int]]) -> None:
    """That somebody got as far as to look: an address where everybody is turned away before proves nothing."""
    looked_up = [door for door in doors if set(door.fields) & (PATH_IDS.keys() - {"task_id", "digest"})]
    expected = {door.name for door in looked_up} - OWN_NAMES - {one for one in CASES if "/api/installation" in one}
    assert {name for name in expected if 404 not in statuses[name]} == set()


@pytest.mark.parametrize("name", sorted(STREAMS))
async def test_a_stream_tells_nothing_of_another_workspace(name: str) -> None:
    async with a_town("sqlite") as made:
        own, other = made.sides
        path, w = name.partition(" ")[2], made.world
        told: asyncio.Queue[bytes] = asyncio.Queue()
        task = asyncio.create_task(_listen(made.app, path, own.cookies["reviewer"][0], told))
        first = await asyncio.wait_for(told.get(), PATIENCE)
        for side in (other, own):
            thread, user = side.ids["thread_id"], side.users["reviewer"]
            await w.write(lambda tx, t=thread, u=user: reviews.claim(tx, w.env, u, t))  # type: ignore[misc]
        heard = [first, await asyncio.wait_for(told.get(), PATIENCE)]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # One change was heard of, one's own: had the other's been told, it would have come first and this one after it.
        await asyncio.sleep(0)
        assert b"changed" in heard[1]
        assert told.empty()
        assert other.mark.encode() not in b"".join(heard)


async def _listen(app: Any, path: str, cookie: str, told: asyncio.Queue[bytes]) -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            told.put_nowait(message["body"])

    headers = [(b"cookie", f"stacksona_session={cookie}".encode()), (b"host", b"127.0.0.1:8420")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8420),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    await app(scope, receive, send)
