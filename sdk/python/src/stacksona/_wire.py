"""What a step is. The flows yield these and a client does them: no flow opens a socket, sleeps or runs an action."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
ANSWER_MOST: Final = 8 * 1024 * 1024
"""Bytes of an answer; the largest one holds a payload of 256 KiB."""

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """One HTTP call to the gate. Answered with an Answer or a Fault."""

    method: str
    path: str
    timeout: float
    """Seconds without a byte until it is given up."""
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    is_authorized: bool = True


@dataclass(frozen=True)
class Sleep:
    """Let time pass. Answered with None."""

    seconds: float


@dataclass(frozen=True)
class Act:
    """Run the action, once, with these arguments. Answered with Acted."""

    tool_name: str
    payload: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What came back, whoever sent it. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Fault:
    """No answer. ``was_sent`` unless the call certainly never left."""

    reason: str
    was_sent: bool = True


@dataclass(frozen=True)
class Acted:
    """What the action gave, or the exception that it raised."""

    value: Any = None
    error: Exception | None = None


Step = Call | Sleep | Act
Steps = Generator[Step, Any, T]
"""A flow that ends with a T."""


@dataclass(frozen=True)
class Seams:
    """What flows take from the world: seconds that only grow, a chance from 0 to 1, and a fresh random key."""

    clock: Callable[[], float]
    chance: Callable[[], float]
    fresh_key: Callable[[], str]


def send(call: Call) -> Steps[Answer | Fault]:
    """One call, with the type of what comes back."""
    answer: Answer | Fault = yield call
    return answer
