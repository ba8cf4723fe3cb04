"""What may be set about publishing, and what is kept of it."""

from __future__ import annotations

from typing import Any

import pytest
from gate.tests.factories import TENANT, World
from gate.tests.outbox import notices

from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.signed_notes import COSIGNATURE_V1, ED25519, VerifierKey
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.publishing import (
    LEASE_LASTS,
    Published,
    Publishing,
    WitnessAddress,
    begin_publication,
    change_publishing,
    check_publishing,
    finish_publication,
    is_pattern,
    read_publishing,
)

KEY = str(VerifierKey("witness.example", COSIGNATURE_V1, bytes(32)))
LOG_KEY = str(VerifierKey("log", ED25519, bytes(32)))
WITNESS = WitnessAddress("w", "https://witness.example", KEY)
ALL = Publishing(
    every_minutes=60,
    file="{size}.txt",
    url="https://example.com/log",
    mail=("audit@example.com",),
    witnesses=(WITNESS,),
)


async def set_to(w: World, wanted: Publishing) -> None:
    await w.write(lambda tx: change_publishing(tx, w.env, COMMAND_LINE, TENANT, wanted))


async def test_what_was_set_holds_and_is_on_record(w: World) -> None:
    assert await w.read(lambda tx: read_publishing(tx, TENANT)) == Publishing()
    await set_to(w, ALL)
    assert await w.read(lambda tx: read_publishing(tx, TENANT)) == ALL
    (entry,) = await w.entries("settings.changed")
    assert "example.com" not in entry.leaf
    assert "example.com" in entry.private


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("every_minutes", {"every_minutes": -1}),
        ("every_minutes", {"every_minutes": 10_081}),
        ("file", {"file": "../{size}"}),
        ("url", {"url": "ftp://example.com"}),
        ("url", {"url": "https://user:password@example.com"}),
        ("mail", {"mail": ("no address",)}),
        ("mail", {"mail": ("a@b.com\nBcc: c@d.com",)}),
        ("mail", {"mail": ("a@b.com",) * 21}),
        ("witnesses", {"witnesses": (WITNESS, WITNESS)}),
        ("witnesses.0.name", {"witnesses": (WitnessAddress("a b", "https://w.example", KEY),)}),
        ("witnesses.0.url", {"witnesses": (WitnessAddress("w", "w.example", KEY),)}),
        ("witnesses.0.vkey", {"witnesses": (WitnessAddress("w", "https://w.example", LOG_KEY),)}),
        ("witnesses.0.vkey", {"witnesses": (WitnessAddress("w", "https://w.example", "no key"),)}),
    ],
)
def test_what_is_wrong_is_named(field: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        check_publishing(Publishing(**wrong))
    assert [error.field for error in refused.value.errors] == [field]


@pytest.mark.parametrize("pattern", ["a", "a.txt", "{size}", "log-{size}.txt", "deep/er/{size}/x"])
def test_a_path_below_the_folder_is_a_pattern(pattern: str) -> None:
    assert is_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "..",
        "../a",
        "a/../b",
        ".a",
        "a/.b",
        "{tenant}",
        "{size",
        "a b",
        "a\n",
        "a\\b",
        "é",
        "a" * 201,
    ],
)
def test_anything_else_is_none(pattern: str) -> None:
    assert not is_pattern(pattern)


async def test_who_lost_the_lease_meanwhile_writes_nothing(w: World) -> None:
    await set_to(w, ALL)
    await seal_now(w.gate, TENANT)
    begun = await w.write(lambda tx: begin_publication(tx, w.env, TENANT, "slow"))
    assert begun is not None
    w.clock.advance(LEASE_LASTS / 1e6 + 1)
    await w.write(lambda tx: begin_publication(tx, w.env, TENANT, "other"))
    done = Published((), {}, ("mail",), succeeded=True)
    await w.write(lambda tx: finish_publication(tx, w.env, "slow", begun, done))
    newest = await w.read(lambda tx: tx.log.newest(TENANT))
    assert newest is not None
    assert (newest.published_at, await notices(w)) == (None, [])
