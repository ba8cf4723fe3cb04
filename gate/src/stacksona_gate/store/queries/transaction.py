"""All nouns over one connection."""

from __future__ import annotations

from stacksona_gate.store.queries.agents import AgentQueries, KeyQueries, VerifierQueries
from stacksona_gate.store.queries.content import ContentQueries
from stacksona_gate.store.queries.conversation import ConversationQueries
from stacksona_gate.store.queries.erasure import ErasureQueries
from stacksona_gate.store.queries.leases import LeaseQueries
from stacksona_gate.store.queries.log import LogQueries
from stacksona_gate.store.queries.nodes import NodeQueries
from stacksona_gate.store.queries.people import PeopleQueries
from stacksona_gate.store.queries.readings import ReadingQueries
from stacksona_gate.store.queries.requests import RequestQueries
from stacksona_gate.store.queries.tenants import (
    AuditQueries,
    InstallationQueries,
    PolicyQueries,
    ReplayQueries,
    TenantQueries,
)
from stacksona_gate.store.queries.webhooks import NoticeQueries, WebhookQueries
from stacksona_gate.store.rows import Rows


class SqlTx:
    """Implements store.base.Tx over any connection that is inside a transaction."""

    def __init__(self, rows: Rows) -> None:
        self.tenants = TenantQueries(rows)
        self.agents = AgentQueries(rows)
        self.verifiers = VerifierQueries(rows)
        self.keys = KeyQueries(rows)
        self.policies = PolicyQueries(rows)
        self.contents = ContentQueries(rows)
        self.requests = RequestQueries(rows)
        self.readings = ReadingQueries(rows)
        self.conversation = ConversationQueries(rows)
        self.people = PeopleQueries(rows)
        self.audit = AuditQueries(rows)
        self.replays = ReplayQueries(rows)
        self.installations = InstallationQueries(rows)
        self.erasure = ErasureQueries(rows)
        self.leases = LeaseQueries(rows)
        self.nodes = NodeQueries(rows)
        self.log = LogQueries(rows)
        self.webhooks = WebhookQueries(rows)
        self.notices = NoticeQueries(rows)
