"""``webhooks``: the receiver's side, on the developer's machine."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Annotated, Final, NoReturn

import typer

from stacksona_gate.cli.options import Json, Port
from stacksona_gate.cli.shell import group
from stacksona_gate.delivery.signatures import is_secret, objection
from stacksona_gate.domain.display import reveal
from stacksona_gate.domain.errors import Conflict, Invalid
from stacksona_gate.domain.times import rfc3339
from stacksona_gate.service.environment import system_clock

LOOPBACK: Final = "127.0.0.1"
SECRET_VARIABLE: Final = "STACKSONA_WEBHOOK_SECRET"  # noqa: S105 - a name
BODY_MOST: Final = 1_000_000
"""Bytes."""
IDLE_SECONDS: Final = 10
NOTED: Final[tuple[str, ...]] = ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "user-agent")

webhooks = group("Webhooks: what was sent, and the receiver's side on the developer's machine.")

Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="whsec_…",
        help=f"The agent's webhook secret; give two while one replaces the other. Better: {SECRET_VARIABLE}, which"
        " other users of the machine cannot read.",
        envvar=SECRET_VARIABLE,
        show_envvar=False,
        show_default=False,
    ),
]
Status = Annotated[int, typer.Option("--status", min=200, max=599, help="The status to answer with.")]


@webhooks.command("listen")
def listen(port: Port = 8430, secret: Secrets = None, status: Status = 200, as_json: Json = False) -> None:
    """Print each delivery that arrives on this machine, and whether its signature is good.

    Set the agent's webhook to the address that is printed, and let the gate reach it: STACKSONA_ALLOWED_NETWORKS is
    127.0.0.0/8 where the gate runs. Characters that a terminal would obey are shown by their numbers.
    """
    secrets = tuple(secret or ())
    if not all(map(is_secret, secrets)):
        raise Invalid(f"the secret in --secret or {SECRET_VARIABLE} is not whsec_ and base 64")
    server = _Listener(port, _Desk(secrets, status, as_json=as_json))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    if not as_json:
        typer.echo(f"Listening on http://{LOOPBACK}:{port}")
        if not secrets:
            typer.echo(f"Signatures are not checked: set {SECRET_VARIABLE}")
    with server:
        server.serve_forever()


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What arrived."""

    at: int
    """Microseconds since 1970 UTC."""
    path: str
    headers: dict[str, str]
    """Those of note, names in lower case."""
    body: bytes
    objection: str | None
    """Why the signature is bad; None when it is good or was not checked."""
    checked: bool

    @property
    def verdict(self) -> str:
        if not self.checked:
            return "signature not checked"
        return "signature good" if self.objection is None else f"signature bad: {self.objection}"


@dataclass(slots=True)
class _Desk:
    """Judges and prints, one delivery after the other."""

    secrets: Sequence[str]
    status: int
    as_json: bool
    clock: Callable[[], int] = system_clock
    _turn: Lock = field(default_factory=Lock)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        now = self.clock()
        noted = {name: headers[name] for name in NOTED if name in headers}
        why = objection(self.secrets, headers, body, now) if self.secrets else None
        delivery = Delivery(now, path, noted, body, why, bool(self.secrets))
        text = json_line(delivery) if self.as_json else "\n".join(lines(delivery))
        with self._turn:
            typer.echo(text)


def lines(delivery: Delivery) -> list[str]:
    """For people. Nothing in them moves a cursor or hides."""
    rows = [f"{rfc3339(delivery.at)}  POST {shown(delivery.path)}"]
    rows += [f"  {name}: {shown(value)}" for name, value in delivery.headers.items()]
    rows.append(f"  {delivery.verdict}")
    read = _read(delivery.body)
    text = read if isinstance(read, str) else json.dumps(read, ensure_ascii=False, indent=2)
    return [*rows, *(f"  {shown(line)}" for line in text.split("\n"))]


def json_line(delivery: Delivery) -> str:
    """For programs: one line, ASCII. ``body`` is what the JSON says, or the text when it is none."""
    value: dict[str, object] = {
        "at": rfc3339(delivery.at),
        "path": delivery.path,
        "headers": delivery.headers,
        "signature": "unchecked" if not delivery.checked else "good" if delivery.objection is None else "bad",
        "body": _read(delivery.body),
    }
    if delivery.objection is not None:
        value["reason"] = delivery.objection
    return json.dumps(value)


def shown(text: str) -> str:
    """Characters that control a terminal, hide or reorder, by their numbers."""
    return "".join(piece.text for piece in reveal(text))


def _read(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "backslashreplace")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, desk: _Desk) -> None:
        self.desk = desk
        try:
            super().__init__((LOOPBACK, port), _Reader)
        except OSError as error:
            raise Conflict(
                f"cannot listen on {LOOPBACK} port {port}: {error.strerror}; choose another --port"
            ) from None

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Who hangs up or sends what cannot be read is not worth a traceback."""


class _Reader(BaseHTTPRequestHandler):
    """Takes POSTs with a length."""

    server: _Listener
    timeout = IDLE_SECONDS
    server_version = "stacksona-gate"
    sys_version = ""

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 10):
            return self._answer(411)
        if int(length) > BODY_MOST:
            return self._answer(413)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return self._answer(400)
        desk = self.server.desk
        desk.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        self._answer(desk.status)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """What matters is printed already."""
