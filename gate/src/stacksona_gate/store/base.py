"""The contract between use-cases and databases. Use-cases know this file alone.

``Tx`` is one open transaction (or one consistent read). A use-case is a plain function over it: it never commits,
never rolls back, never waits. Times are microseconds, ids are text, JSON is text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from stacksona_gate.domain.agents import Agent, Key, Verifier
from stacksona_gate.domain.approvals import Redeemed, Redemption, Refused
from stacksona_gate.domain.audit import Entry
from stacksona_gate.domain.people import PersonalToken, Session, User
from stacksona_gate.domain.requests import (
    Attachment,
    Note,
    Opinion,
    Outcome,
    Request,
    RequestState,
    Review,
    Revision,
    TaskEvent,
    ThreadFilter,
)
from stacksona_gate.domain.tenants import OperatorKey
from stacksona_gate.store.evidence import Contents, Log, Wrapping
from stacksona_gate.store.outbox import Leases, Nodes, Notices, Webhooks
from stacksona_gate.telemetry.measures import SIZES, USUAL, Histogram
from stacksona_gate.telemetry.spans import Spans

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tenant:
    """``config_version`` grows with every change of agents, keys, policy, people or settings.

    ``name`` is written in commands and at sign-in and may change; ``limits`` is JSON: domain.tenants.TenantLimits.
    """

    id: str
    name: str
    config_version: int
    policy_version: int
    created_at: int
    suspended_at: int | None = None
    limits: str = "{}"


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One kept version of the policy. ``document`` is the canonical YAML text."""

    tenant_id: str
    version: int
    document: str
    note: str
    actor_kind: str
    actor_id: str
    created_at: int


@dataclass(frozen=True, slots=True)
class SigningKey:
    """``private`` is wrapped by the root secret. Retired keys stay published until tokens they signed are over."""

    kid: str
    public: str
    private: str
    created_at: int
    retired_at: int | None


@dataclass(frozen=True, slots=True)
class Installation:
    """One per database. ``secret_check`` tells a wrong root secret from the right one."""

    id: str
    secret_check: str
    created_at: int


class Idempotency(Struct, frozen=True):
    """``scope`` stands for agent, method, path and key; ``fingerprint`` for content type and raw body."""

    scope: str
    fingerprint: str
    answer: str
    """JSON of the first decision, without its token."""


class Submission(Struct, frozen=True):
    """A decided request on its way to disk. It holds only if ``config_version`` is still the tenant's."""

    config_version: int
    request: Request
    entries: tuple[Entry, ...]
    attachments: tuple[Attachment, ...] = ()
    discovered: str | None = None
    """The tool's name when no policy knows it."""
    discovered_most: int = 500
    """How many such names a tenant keeps: they come from callers."""
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """On disk."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same call was answered before; this is that answer."""

    answer: str
    request: Request


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The idempotency key was used for another body."""


@dataclass(frozen=True, slots=True)
class Stale:
    """Configuration moved since it was read: read it and decide again."""


Submitted = Stored | Replayed | Mismatch | Stale


@dataclass(frozen=True, slots=True)
class RedemptionEntries:
    """Makes the audit entry of either end; None: this refusal is only counted."""

    redeemed: Callable[[Request], Entry]
    refused: Callable[[str], Entry | None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests with content, and its bytes as they rest. ``reached``: the last id that was looked at; "" for none."""

    requests: int
    bytes: int
    reached: str


class Tenants(Protocol):
    def find(self, tenant_id: str) -> Tenant | None: ...
    def find_by_name(self, name: str) -> Tenant | None: ...
    def insert(self, tenant: Tenant) -> None: ...
    def update(self, tenant: Tenant) -> None:
        """Writes name, suspension and limits."""
        ...

    def bump_config(self, tenant_id: str) -> int:
        """Says that configuration changed: every cache built on it is void after the commit."""
        ...

    def bump_all_configs(self) -> None:
        """As ``bump_config``, for every tenant."""
        ...

    def list_all(self) -> list[Tenant]: ...
    def get_setting(self, tenant_id: str, name: str) -> str | None: ...
    def set_setting(self, tenant_id: str, name: str, value: str) -> None: ...


class Agents(Protocol):
    def insert(self, agent: Agent, webhook_secret: str | None) -> None: ...
    def find(self, tenant_id: str, agent_id: str) -> Agent | None: ...
    def find_by_name(self, tenant_id: str, name: str) -> Agent | None: ...
    def list_all(self, tenant_id: str) -> list[Agent]: ...
    def update(self, agent: Agent) -> None:
        """Writes every field but the webhook secret, reviewers included."""
        ...

    def set_webhook_secret(self, tenant_id: str, agent_id: str, wrapped: str) -> None: ...
    def get_webhook_secret(self, tenant_id: str, agent_id: str) -> str | None: ...


class Verifiers(Protocol):
    def insert(self, verifier: Verifier) -> None: ...
    def find(self, tenant_id: str, verifier_id: str) -> Verifier | None: ...
    def find_by_name(self, tenant_id: str, name: str) -> Verifier | None: ...
    def list_all(self, tenant_id: str) -> list[Verifier]: ...
    def update(self, verifier: Verifier) -> None: ...


class Keys(Protocol):
    def insert(self, key: Key) -> None: ...
    def find_by_hash(self, key_hash: str) -> Key | None: ...
    def list_for(self, tenant_id: str, owner_id: str) -> list[Key]: ...
    def end(self, tenant_id: str, key_id: str, *, expires_at: int | None, revoked_at: int | None) -> None: ...


class Policies(Protocol):
    def insert(self, version: PolicyVersion) -> None:
        """Adds a version and makes it the tenant's."""
        ...

    def find(self, tenant_id: str, version: int) -> PolicyVersion | None: ...
    def list_all(self, tenant_id: str) -> list[PolicyVersion]: ...
    def list_discovered(self, tenant_id: str) -> list[tuple[str, int, str]]:
        """Tools that were asked about without a policy: name, first seen, first agent."""
        ...


class Requests(Protocol):
    def find(self, tenant_id: str, request_id: str) -> Request | None: ...
    def find_thread(self, tenant_id: str, thread_id: str) -> Request | None: ...
    def lock_thread(self, tenant_id: str, thread_id: str) -> Request | None:
        """The thread, held until the transaction ends: a second writer waits or is told the first one's result."""
        ...

    def newest_of_task(self, tenant_id: str, agent_id: str, task_id: str) -> Request | None: ...
    def update(self, request: Request, *, was_status: str, was_revision: int) -> bool:
        """Compare-and-set over status and revision; False: somebody was faster."""
        ...

    def list_threads(self, tenant_id: str, where: ThreadFilter) -> list[Request]: ...
    def count_folders(self, tenant_id: str, agent_ids: tuple[str, ...] | None, *, most: int) -> dict[str, int]:
        """Threads per folder, counting no further than ``most`` in each."""
        ...

    def count_pending(self, tenant_id: str, *, most: int) -> int:
        """Threads that wait for people, counting no further than ``most``."""
        ...

    def measure(self, tenant_id: str, *, after: str, until: str, limit: int) -> Measured:
        """What requests with ids after ``after`` and before ``until`` keep, no more than ``limit`` of them at once."""
        ...

    def list_pending_of_agent(self, tenant_id: str, agent_id: str) -> list[Request]:
        """Oldest first, held until the transaction ends where it writes."""
        ...

    def list_overdue(self, now: int, limit: int) -> list[Request]:
        """Pending threads of any tenant whose time is over, held; without those that another transaction holds."""
        ...

    def list_reminders_due(self, now: int, limit: int) -> list[Request]:
        """Pending threads of any tenant with a reminder that is due, held as by ``list_overdue``."""
        ...

    def next_due(self) -> int | None:
        """When the next thread of any tenant runs out of time or needs a reminder."""
        ...

    def end(self, requests: Sequence[Request]) -> None:
        """Writes threads that this transaction holds and ended, all at the same moment and with the same reason."""
        ...

    def set_reminder(self, request: Request, remind_at: int | None, reminders: int) -> bool:
        """Compare-and-set over ``remind_at``; False: somebody was faster."""
        ...

    def set_outcome(self, tenant_id: str, request_id: str, outcome: str) -> None:
        """Keeps the newest outcome; ``executed`` stays."""
        ...

    def list_without_outcome(
        self, tenant_id: str, redeemed_until: int, *, before: tuple[int, int] | None, limit: int
    ) -> list[Request]:
        """Redeemed until then and without an outcome, newest redemption first. ``before``: ``redeemed_at`` and ``seq``
        of the last one of the page before."""
        ...

    def count_without_outcome(self, tenant_id: str, redeemed_until: int, *, most: int) -> int: ...

    def list_redeemed(
        self,
        tenant_id: str,
        *,
        tool_name: str | None = None,
        since: int | None = None,
        until: int | None = None,
        after: int = 0,
        limit: int,
    ) -> list[Request]:
        """Requests whose approval was redeemed from ``since`` until before ``until``, by sequence number."""
        ...

    def archive_revision(self, request: Request, at: int) -> None:
        """Keeps the content that a newer revision is about to replace."""
        ...

    def list_revisions(self, tenant_id: str, request_id: str) -> list[Revision]: ...


class Reading(Struct, frozen=True):
    """A decision as it rests, its texts encrypted. Two that are equal say the same: whoever kept what the first one
    says need not open the second."""

    request_id: str
    config_version: int
    """The tenant's, in the same state of the data."""
    generation: int
    """The agent's; -1: it is gone."""
    request: tuple[Any, ...]
    reviews: tuple[tuple[Any, ...], ...]


class Readings(Protocol):
    """Decisions for the agents that asked: looked up first, opened only where that is needed."""

    def find(
        self,
        tenant_id: str,
        agent_id: str,
        *,
        thread_id: str | None = None,
        request_id: str | None = None,
        task_id: str | None = None,
    ) -> Reading | None:
        """By one of the three ids; of a task the newest request. None for another agent's too."""
        ...

    def open(self, reading: Reading) -> tuple[Request, tuple[Opinion, ...]]:
        """What it says."""
        ...


class Conversation(Protocol):
    """What people and agents say about a thread."""

    def insert_review(self, tenant_id: str, review: Review) -> None: ...
    def list_reviews(self, tenant_id: str, request_id: str) -> list[Review]: ...
    def insert_note(self, tenant_id: str, note: Note) -> None: ...
    def list_notes(self, tenant_id: str, request_id: str) -> list[Note]: ...
    def insert_event(self, tenant_id: str, event: TaskEvent) -> None: ...
    def list_events(self, tenant_id: str, agent_id: str, task_id: str, limit: int) -> list[TaskEvent]: ...
    def insert_outcome(self, tenant_id: str, outcome: Outcome) -> None: ...
    def list_outcomes(self, tenant_id: str, request_id: str) -> list[Outcome]: ...
    def list_flagged_outcomes(
        self, tenant_id: str, limit: int, *, before: int | None = None
    ) -> list[tuple[int, Outcome]]:
        """Newest first, each with its sequence number."""
        ...

    def insert_attachments(self, tenant_id: str, attachments: Iterable[Attachment]) -> None: ...
    def list_attachments(self, tenant_id: str, request_id: str) -> list[Attachment]: ...
    def find_attachment(self, tenant_id: str, attachment_id: str) -> Attachment | None: ...
    def measure_attachments(self, tenant_id: str, *, after: str, until: str, limit: int) -> Measured:
        """As ``Requests.measure``, of attachments, which are counted as no requests."""
        ...


class People(Protocol):
    def insert_user(self, user: User) -> None: ...
    def update_user(self, user: User) -> None: ...
    def find_user(self, tenant_id: str, user_id: str) -> User | None: ...
    def find_user_by_email(self, tenant_id: str, email: str) -> User | None: ...
    def list_users(self, tenant_id: str) -> list[User]: ...
    def count_admins(self, tenant_id: str) -> int: ...
    def insert_session(self, session: Session) -> None: ...
    def find_session(self, id_hash: str) -> Session | None: ...
    def delete_session(self, id_hash: str) -> None: ...
    def delete_sessions_of(self, tenant_id: str, user_id: str) -> None: ...
    def delete_sessions_before(self, now: int) -> None: ...
    def insert_token(self, token: PersonalToken) -> None: ...
    def find_token_by_hash(self, token_hash: str) -> PersonalToken | None: ...
    def list_tokens(self, tenant_id: str, user_id: str) -> list[PersonalToken]: ...
    def revoke_token(self, tenant_id: str, token_id: str, now: int) -> bool: ...
    def insert_setup_code(self, tenant_id: str, code_hash: str, expires_at: int) -> None:
        """Replaces any earlier one."""
        ...

    def find_setup_code(self, code_hash: str, now: int) -> str | None:
        """The workspace that the code opens."""
        ...

    def use_setup_code(self, tenant_id: str, code_hash: str, now: int) -> bool: ...
    def count_failures(self, tenant_id: str, subject: str, since: int) -> int: ...
    def insert_failure(self, tenant_id: str, subject: str, now: int) -> None: ...
    def delete_failures(self, tenant_id: str, subject: str, *, at: int | None = None) -> None:
        """All of a subject's failures, or only the one counted at that moment."""
        ...

    def delete_failures_before(self, moment: int) -> None: ...


class Audit(Protocol):
    def append(self, entry: Entry) -> None: ...
    def append_all(self, entries: Sequence[Entry]) -> None:
        """In one statement. For entries about requests that the caller has written: it is they who wake watchers."""
        ...

    def list_entries(
        self, tenant_id: str, *, request_id: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[tuple[int, Entry]]:
        """Newest first, each with its sequence number."""
        ...


class Replays(Protocol):
    """Answers kept for callers that ask again with the same idempotency key."""

    def find(self, tenant_id: str, scope: str, now: int) -> Idempotency | None: ...
    def insert(self, tenant_id: str, replay: Idempotency, now: int) -> None: ...
    def delete_before(self, tenant_id: str, day: int, most: int) -> int:
        """Forgets up to ``most`` keys of the days before. Returns how many."""
        ...


class Erasure(Protocol):
    """Taking content away: rows, leaves and statuses stay."""

    def list_states(self, tenant_id: str, *, after: int, limit: int) -> list[RequestState]:
        """In the order of ``seq``, which is the cursor."""
        ...

    def find_state(self, tenant_id: str, request_id: str) -> RequestState | None: ...
    def list_requests(self, tenant_id: str, *, after: int, limit: int) -> list[Request]:
        """Those with content, in the order of ``seq``."""
        ...

    def list_loose_events(self, tenant_id: str, *, after: int, limit: int) -> list[tuple[int, TaskEvent]]:
        """Events about a task and no thread of it, each with its sequence number."""
        ...

    def erase_request(self, tenant_id: str, request_id: str, now: int) -> dict[str, int] | None:
        """Takes the content of a request and of all that was said about it. Returns how much of each kind.

        None: it is waiting, still to be redeemed, erased already or not there. Undelivered webhooks are not delivered.
        """
        ...

    def erase_events_of_task(self, request: RequestState, created_before: int) -> int: ...
    def erase_event(self, tenant_id: str, event_id: str, created_at: int) -> int: ...
    def erase_loose_events(self, tenant_id: str, created_before: int, limit: int) -> int: ...
    def list_replays(self, tenant_id: str, *, after: tuple[int, str], limit: int) -> list[tuple[int, Idempotency]]:
        """Kept answers, each with its day; day and scope are the cursor."""
        ...

    def replace_replay(self, tenant_id: str, day: int, scope: str, answer: str) -> None: ...
    def rename_author(self, tenant_id: str, user_id: str, name: str) -> None:
        """Replaces the person's name on reviews and notes, and the names that they gave their tokens."""
        ...

    def list_entries_of_user(self, tenant_id: str, user_id: str, *, after: int, limit: int) -> list[int]:
        """Sequence numbers of audit entries that keep the person's mail address, name or address beside their leaf."""
        ...

    def erase_entries(self, tenant_id: str, seqs: Sequence[int]) -> int: ...


class Installations(Protocol):
    def find(self) -> Installation | None: ...
    def insert(self, installation: Installation) -> None: ...
    def insert_signing_key(self, key: SigningKey) -> None: ...
    def list_signing_keys(self) -> list[SigningKey]: ...
    def retire_signing_keys(self, now: int, *, except_kid: str) -> None: ...
    def insert_operator_key(self, key: OperatorKey) -> None: ...
    def find_operator_key(self, key_hash: str) -> OperatorKey | None: ...
    def list_operator_keys(self) -> list[OperatorKey]: ...
    def revoke_operator_key(self, key_id: str, now: int) -> bool: ...
    def tell_demands(self, node: str, asked: Mapping[str, int], *, now: int, until: int) -> None:
        """How often this node was asked, by subject; forgets what is over."""
        ...

    def list_demands(self, now: int) -> list[tuple[str, str, int]]:
        """Subject, node and how often, of every node that told it and whose word still counts."""
        ...


class Tx(Protocol):
    """One transaction, by noun."""

    @property
    def tenants(self) -> Tenants: ...
    @property
    def agents(self) -> Agents: ...
    @property
    def verifiers(self) -> Verifiers: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def policies(self) -> Policies: ...
    @property
    def requests(self) -> Requests: ...
    @property
    def readings(self) -> Readings: ...
    @property
    def conversation(self) -> Conversation: ...
    @property
    def people(self) -> People: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def replays(self) -> Replays: ...
    @property
    def contents(self) -> Contents: ...
    @property
    def installations(self) -> Installations: ...
    @property
    def erasure(self) -> Erasure: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def nodes(self) -> Nodes: ...
    @property
    def log(self) -> Log: ...
    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def notices(self) -> Notices: ...


DELIVERIES: Final = "deliveries"


@dataclass(frozen=True, slots=True)
class Change:
    """A request that a commit touched. An empty ``request_id`` stands for the tenant's configuration, DELIVERIES for
    something to be sent."""

    tenant_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Load:
    """Writes that wait, commits so far, writes in them."""

    waiting: int
    commits: int
    writes: int
    unanswered: int = 0
    """Writes handed over whose callers still wait."""
    oldest_seconds: float = 0.0
    """How long the first of those does."""
    batch_sizes: Histogram = field(default_factory=lambda: Histogram(SIZES))
    commit_seconds: Histogram = field(default_factory=lambda: Histogram(USUAL))
    connections: int = 0
    """That this process has open."""
    database: str = ""
    """``sqlite`` or ``postgresql``."""


Watcher = Callable[[Sequence[Change]], None]


class Store(Protocol):
    """A database. Every method raises domain.errors.Unavailable when the database is not there."""

    def unlock(self, wrapping: Wrapping) -> None:
        """Gives what content is encrypted with. Before it, what rests encrypted can be neither written nor read."""
        ...

    async def submit(self, submission: Submission) -> Submitted:
        """Writes a decision; returns after the commit."""
        ...

    async def redeem(self, attempt: Redemption, entries: RedemptionEntries) -> Redeemed | Refused | Stale:
        """Checks and redeems in one step; of any number at once, one wins. Stale: nothing was looked at."""
        ...

    async def write(self, unit: Callable[[Tx], T], *, holds: bool = False) -> T:
        """Runs a use-case in a transaction of its own; returns after the commit. What it raises undoes it alone.

        It may be run several times, until one of them counts. ``holds``: it holds whatever it decides on (a lease, rows
        that are locked or compared when they are set), so that the database need not watch what else happens.
        """
        ...

    async def read(self, query: Callable[[Tx], T]) -> T:
        """Runs a few look-ups by key over one state of the data."""
        ...

    async def scan(self, query: Callable[[Tx], T]) -> T:
        """As ``read``, for listings: runs where it delays no decision."""
        ...

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Calls ``watcher`` in this event loop after each commit that touched a request or the configuration, other
        processes' commits included. Returns what ends it."""
        ...

    @property
    def parted(self) -> frozenset[str]:
        """Tables in partitions, as of the last ``tend``: of them nothing is deleted row by row that goes with its
        partition."""
        ...

    async def tend(self, now: int, *, whatever_size: bool = False) -> list[str]:
        """Keeps tables that grow in partitions: made ahead, and dropped when all that is in them is over. Returns what
        was done, in words; nothing where the database has no need of it. ``whatever_size``: however small they are.
        """
        ...

    def load(self) -> Load:
        """For metrics."""
        ...

    def trace(self, spans: Spans | None) -> None:
        """Makes a span of each commit from now on."""
        ...


class DatabaseStore(Store, Protocol):
    """A store as the process that owns it has it."""

    def start(self) -> list[str]:
        """Migrates and begins to write. Returns the migrations applied."""
        ...

    def migrate(self) -> list[str]:
        """Brings the tables up to this version, without starting. Returns the migrations applied."""
        ...

    def close(self) -> None:
        """Finishes what waits, then closes."""
        ...

    def scrub(self) -> bool:
        """Clears what was erased out of the files, as far as they are within reach. False: it is done later."""
        ...

    def compact(self) -> None:
        """Writes the tables anew without what was deleted. Writers wait meanwhile."""
        ...
