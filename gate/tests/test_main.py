"""Wiring: what a start needs, and what it refuses."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from gate.tests.factories import PATIENCE
from gate.tests.outbox import until

from stacksona_gate.config import read_settings
from stacksona_gate.domain.errors import Invalid, Unavailable
from stacksona_gate.main import KEYS_MOST, background, clear_out, opened, repeat
from stacksona_gate.service.holds import Holds
from stacksona_gate.store.base import Idempotency


async def test_a_lost_root_secret_is_said_to_be_lost_and_no_other_is_made(tmp_path: Path) -> None:
    settings = read_settings({}, database_url=f"sqlite:///{tmp_path}/gate.db")
    async with opened(settings):
        (tmp_path / "gate.db.key").unlink()

    with pytest.raises(Invalid, match="cannot read the root secret"):
        async with opened(settings):
            pass

    assert not (tmp_path / "gate.db.key").exists()


async def test_a_damaged_root_secret_is_named_and_not_to_be_replaced(tmp_path: Path) -> None:
    settings = read_settings({}, database_url=f"sqlite:///{tmp_path}/gate.db")
    async with opened(settings):
        (tmp_path / "gate.db.key").write_text("cut")

    with pytest.raises(Invalid, match=r"gate\.db\.key has 3 bytes.*put back the one"):
        async with opened(settings):
            pass


@pytest.mark.parametrize(
    "url", ["gate.example.com", "https://", "https://gate.example.com/below", "https://a@b", "https://a?b"]
)
def test_a_public_address_that_links_cannot_be_made_from_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="STACKSONA_PUBLIC_URL"):
        read_settings({"STACKSONA_PUBLIC_URL": url})


@pytest.mark.parametrize("url", ["https://gate.example.com", "https://gate.example.com/", "http://[::1]:8420"])
def test_a_public_address(url: str) -> None:
    assert read_settings({"STACKSONA_PUBLIC_URL": url}).public_url == url


async def test_the_root_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with opened(read_settings({}, database_url=f"sqlite:///{tmp_path}/gate.db")):
        mode = (tmp_path / "gate.db.key").stat().st_mode & 0o777

    assert mode == 0o600


async def test_failed_sign_ins_that_no_longer_count_are_forgotten(tmp_path: Path) -> None:
    async with opened(read_settings({}, database_url=f"sqlite:///{tmp_path}/gate.db")) as gate:
        await gate.store.write(lambda tx: tx.people.insert_failure("default", "account:a", 1))

        await clear_out(gate)

        assert await gate.store.read(lambda tx: tx.people.count_failures("default", "account:a", 0)) == 0


async def test_a_days_idempotency_keys_are_forgotten_in_pieces(tmp_path: Path) -> None:
    async with opened(read_settings({}, database_url=f"sqlite:///{tmp_path}/gate.db")) as gate:
        keys = [Idempotency(f"key {number}", "fingerprint", "{}") for number in range(KEYS_MOST * 2 + 1)]
        for key in keys:
            await gate.store.write(lambda tx, key=key: tx.replays.insert("default", key, 1))  # type: ignore[misc]
        before = gate.store.load().writes

        await clear_out(gate)

        kept = await gate.store.read(lambda tx: tx.erasure.list_replays("default", after=(0, ""), limit=9))
        others = 2  # sessions and failed sign-ins
        assert (kept, gate.store.load().writes - before - others) == ([], 3)


async def test_what_is_done_in_the_background_goes_on_after_any_fault(caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()
    faults: list[Exception] = [ValueError("a row that nobody expected"), Unavailable("the store is away")]

    async def work() -> None:
        if faults:
            raise faults.pop()
        done.set()

    running = asyncio.create_task(repeat(work, 0))
    await asyncio.wait_for(done.wait(), PATIENCE)
    running.cancel()

    assert "a row that nobody expected" in caplog.text


async def test_what_a_node_held_counts_no_more_at_its_end_though_its_leases_cannot_be_given_back(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gate.db"
    async with opened(read_settings({}, database_url=f"sqlite:///{path}")) as gate:
        holds = Holds(1)
        holds.enter("agt_1")

        async def said() -> tuple[int, list[str]]:
            return await gate.store.read(
                lambda tx: (len(tx.leases.list_held(gate.env.now())), tx.nodes.list_others("", gate.env.now()))
            )

        async def is_told() -> bool:
            leases, held = await said()
            return leases == 1 and held == ['{"agt_1":1}']

        async with background(gate, holds):
            await until(is_told)
            with closing(apsw.Connection(str(path))) as connection:
                connection.set_busy_timeout(round(PATIENCE * 1000))
                connection.execute("CREATE TRIGGER stuck BEFORE UPDATE ON leases BEGIN SELECT RAISE(ABORT, 'no'); END")
        assert await said() == (1, [])
