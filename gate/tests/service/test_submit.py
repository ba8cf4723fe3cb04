"""Asking: what each answer is, and what is on disk when it leaves."""

from __future__ import annotations

from gate.tests.factories import world


async def test_a_small_refund_is_allowed_at_once_with_a_token() -> None:
    async with world() as w:
        answer = await w.ask(100)
        assert (answer.status, answer.thread_id, answer.token is not None) == ("allow", None, True)
