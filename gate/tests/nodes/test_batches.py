"""What a node says to PostgreSQL for many decisions at once, as it is on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from gate.tests.cli.processes import until
from gate.tests.nodes.site import POLICY, Node, Site, site_of, started_beside
from gate.tests.nodes.wire import Wire

pytestmark = pytest.mark.slow
ASKED: Final = 300
CALLERS: Final = 32
STATEMENTS: Final = 6
DECISIONS: Final = "INSERT INTO requests"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with site_of() as made:
        made.start("first", started_beside(made).url(made.name), STACKSONA_DRAIN_SECONDS="0")
        made.first.done("PUT", "policy", made.admin, POLICY)
        yield made


def asked(node: Node, key: str, amount: int, wire: Wire) -> None:
    """Many at once, and nothing else before them on the wire."""
    node.ask(key, amount)
    wire.asked.clear()
    with ThreadPoolExecutor(CALLERS) as pool:
        statuses = list(pool.map(lambda n: node.ask(key, amount, task=f"t-{n}")[0], range(ASKED)))
    assert statuses == [200] * ASKED


def test_decisions_share_transactions_of_few_statements_each(site: Site) -> None:
    assert site.wire is not None
    asked(site.first, site.agent()[1], 100, site.wire)
    batches = site.wire.transactions(DECISIONS)
    assert len(batches) < ASKED
    sizes = {len(batch) for batch in batches}
    assert len(sizes) == 1, "as many statements for one decision as for fifty"
    assert max(sizes) <= STATEMENTS


def test_a_decision_waits_for_no_other_and_counts_nothing(site: Site) -> None:
    """The only lock is one that all of them hold together; nothing that is there already is written."""
    assert site.wire is not None
    asked(site.first, site.agent()[1], 100, site.wire)
    statements = {one for batch in site.wire.transactions(DECISIONS) for one in batch}
    assert not [one for one in statements if "FOR UPDATE" in one or one.startswith(("UPDATE", "DELETE", "LOCK"))]
    assert {one for one in statements if "lock(" in one.replace("lock_shared(", "")} == set()


def test_a_batch_sends_one_notification(site: Site) -> None:
    assert site.wire is not None
    wire = site.wire
    asked(site.first, site.agent()[1], 500, wire)
    until(lambda: True if notifications(wire) else None)
    earlier = 1  # of the call before, told only now
    assert notifications(wire) <= len(wire.transactions(DECISIONS)) + earlier
    inside = [one for batch in wire.transactions(DECISIONS) for one in batch if "notify" in one.lower()]
    assert inside == []


def notifications(wire: Wire) -> int:
    return sum("pg_notify" in statement for _, statement in list(wire.asked))
