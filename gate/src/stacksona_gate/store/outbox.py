"""The part of store.base that is about what leaves the gate, and about the processes that do it: endpoints, deliveries,
notices, leases of work, nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stacksona_gate.domain.webhooks import Attempt, Delivery, DeliveryFilter, Due, Endpoint, Notice, Queue


class Webhooks(Protocol):
    """Endpoints, what is sent to them, and each attempt."""

    def find_endpoint(self, tenant_id: str, endpoint_id: str) -> Endpoint | None: ...
    def lock_endpoint(self, tenant_id: str, endpoint_id: str) -> Endpoint | None: ...
    def put_endpoint(self, endpoint: Endpoint) -> None:
        """Adds it, or writes every field of the one there is."""
        ...

    def insert(self, delivery: Delivery) -> None: ...
    def insert_all(self, deliveries: Sequence[Delivery], now: int) -> None:
        """Adds deliveries about threads, at most one of each; older ones of these that wait ``now`` are superseded."""
        ...

    def find(self, tenant_id: str, delivery_id: str) -> Delivery | None:
        """With its body, held until the transaction ends."""
        ...

    def list_deliveries(self, tenant_id: str, where: DeliveryFilter) -> list[Delivery]: ...
    def list_of_request(self, tenant_id: str, request_id: str) -> list[Delivery]:
        """Oldest first."""
        ...

    def list_due(self) -> list[Due]:
        """Endpoints of any tenant that are on and have something pending, each with the time that it is due."""
        ...

    def claim(self, tenant_id: str, endpoint_id: str, now: int, until: int, most: int) -> list[Delivery]:
        """Takes deliveries that are due, the oldest first, until ``until``; as they were before. Of a thread at most
        one is out at a time, and older ones that wait are superseded."""
        ...

    def supersede(self, delivery: Delivery, now: int) -> int:
        """Ends other pending deliveries of its thread that are not on their way. Returns how many."""
        ...

    def settle(self, delivery: Delivery) -> bool:
        """Writes what an attempt led to; False where its fence has moved on, or the delivery is over."""
        ...

    def reopen(self, tenant_id: str, delivery_id: str) -> bool:
        """Makes a finished delivery pending again, due at once, from the ladder's first rung."""
        ...

    def hurry(self, tenant_id: str, delivery_id: str) -> bool:
        """Makes a waiting delivery due at once."""
        ...

    def give_up(self, tenant_id: str, endpoint_id: str, now: int) -> int:
        """Ends what is pending for an endpoint. Returns how many."""
        ...

    def shift(self, step: int, now: int) -> None:
        """Moves what is due after ``now`` by ``step`` microseconds: the clock was set by so much. Forward, only what is
        on its way."""
        ...

    def insert_attempt(self, attempt: Attempt) -> None: ...
    def list_attempts(self, tenant_id: str, delivery_id: str) -> list[Attempt]: ...
    def queue(self) -> Queue:
        """Of all tenants, for metrics."""
        ...

    def list_over(self, delivered_before: int, dead_before: int, most: int) -> list[tuple[str, str]]:
        """Tenant and id of deliveries that ended before these times."""
        ...

    def delete(self, tenant_id: str, delivery_id: str) -> None:
        """A finished delivery with its attempts."""
        ...


class Notices(Protocol):
    """What admins are told until one of them has read it."""

    def insert(self, notice: Notice) -> None: ...
    def find(self, tenant_id: str, notice_id: str) -> Notice | None: ...
    def find_open(self, tenant_id: str, kind: str, objects: str) -> Notice | None: ...
    def list_open(self, tenant_id: str, most: int) -> list[Notice]:
        """Newest first."""
        ...

    def dismiss(self, tenant_id: str, notice_id: str, now: int, user_id: str) -> bool: ...


class Leases(Protocol):
    """Work that one process at a time does, by name."""

    def now(self, own: int) -> int:
        """The time of day that processes on any number of machines go by in what they leave to each other: by the
        database's clock. ``own`` where there is one machine."""
        ...

    def take(self, name: str, holder: str, now: int, lasts: int) -> int | None:
        """The lease's fence when ``holder`` has it until ``now + lasts``; None while somebody else has it.

        Who had it keeps it, with the same fence. The fence grows when it changes hands. ``lasts`` in microseconds, the
        same for everybody who takes this lease.
        """
        ...

    def holds(self, name: str, holder: str, fence: int) -> bool:
        """Whether nobody has taken it over since, held until the transaction ends: what follows is fenced."""
        ...

    def list_held(self, now: int) -> list[tuple[str, str]]:
        """Names and holders of the leases that hold now."""
        ...

    def give_back(self, name: str, holder: str, fence: int) -> None:
        """Lets others have it at once; nothing where it was taken over."""
        ...


class Nodes(Protocol):
    """What the processes on one database tell each other about themselves."""

    def say(self, name: str, held: str, now: int, lasts: int) -> None:
        """What it holds open, by agent, as JSON. It counts until ``now + lasts``, microseconds."""
        ...

    def list_others(self, name: str, now: int) -> list[str]:
        """What all others said that counts now."""
        ...

    def leave(self, name: str) -> None: ...
