"""Calls of the sender, to receivers under a name that leads to this machine."""

from __future__ import annotations

from collections.abc import Sequence

from gate.tests.delivery.receivers import (
    Behaviour,
    Receiver,
    receiving,
)
from gate.tests.factories import START

from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.sender import Answer, Sender

BODY = b'{"event":"decision.approved"}'
HEADERS = {"Content-Type": "application/json", "webhook-signature": "v1,c2VjcmV0"}
HEAD = b"HTTP/1.1 200 OK\r\n"
METADATA = "http://169.254.169.254/latest/meta-data/"
CUT = "connection closed before the whole answer"
SHORT = 0.3
"""Seconds of a call to somebody who takes for ever."""


class Names:
    """Every name is this machine, or what else is given: one answer after the other, the last one for good."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers) or [["127.0.0.1"]]
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def sender(*answers: Sequence[str], allowed: str = "127.0.0.0/8") -> Sender:
    return Sender(AddressGuard.of(allowed, "", Names(*answers)), clock=lambda: START)


async def posted(to: Receiver, path: str = "/hook", *, by: Sender | None = None, seconds: float = 10.0) -> Answer:
    return await (by or sender()).send(f"http://hooks.test:{to.port}{path}", HEADERS, BODY, seconds=seconds)


async def answer_to(behaviour: Behaviour, *, seconds: float = 10.0) -> Answer:
    async with receiving(behaviour) as receiver:
        return await posted(receiver, seconds=seconds)
