"""A tool's own log against what was approved: each kind of disagreement, and logs made to be misread."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any, BinaryIO

import pytest
from gate.tests.factories import World, thread_of
from msgspec.structs import replace

from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.times import HOUR, rfc3339
from stacksona_gate.service.agents import AgentChange
from stacksona_gate.service.reconciliation import CLOCKS_DIFFER, Finding, Scope, Tally, reconcile
from stacksona_gate.service.requests import Answer
from stacksona_gate.service.tool_logs import RECORD_MOST, Executed, parse_mapping, read_log

EVERYTHING = Scope()


def executed_in(text: str | bytes, *, form: str = "csv", mapped: str = "") -> list[Executed]:
    raw = text.encode() if isinstance(text, str) else text
    return list(read_log(io.BytesIO(raw), form, parse_mapping(mapped)))


async def findings(
    w: World, text: str, *, form: str = "csv", mapped: str = "", scope: Scope = EVERYTHING
) -> list[Finding]:
    records = iter(executed_in(text, form=form, mapped=mapped))
    return [one async for one in reconcile(w.gate, w.tenant_id, records, scope, Tally())]


def said(found: list[Finding]) -> list[tuple[str, str]]:
    return [(one.kind, one.reason) for one in found]


async def redeemed(w: World, amount: object = 500, *, task: str = "task-1", tool: str = "issue_refund") -> Answer:
    answer = await w.approved(amount, task=task, tool=tool)
    await w.redeem(answer)
    return answer


async def test_what_was_approved_redeemed_and_executed_once_is_no_finding(w: World) -> None:
    answer = await redeemed(w)
    assert await findings(w, f"request_id,amount\n{answer.request.id},500\n", mapped="amount=amount") == []


async def test_a_thread_names_its_request_too(w: World) -> None:
    answer = await redeemed(w)
    assert await findings(w, f"thread_id\n{thread_of(answer)}\n") == []


async def test_an_execution_of_no_request_is_without_approval(w: World) -> None:
    found = await findings(w, "request_id\nreq_unheard\n")
    assert said(found) == [("executed_without_approval", "no_such_request")]
    assert found[0].line == 2


async def test_an_execution_that_names_nothing_is_without_approval(w: World) -> None:
    assert said(await findings(w, "request_id,amount\n,5\n")) == [("executed_without_approval", "no_reference")]


async def test_two_ids_of_different_requests_are_none(w: World) -> None:
    one, other = await redeemed(w), await redeemed(w, task="task-2")
    found = await findings(w, f"request_id,thread_id\n{one.request.id},{thread_of(other)}\n{other.request.id},\n")
    assert ("executed_without_approval", "no_such_request") in said(found)


async def test_another_workspaces_request_is_none_of_ours(w: World) -> None:
    answer = await redeemed(w)
    records = iter(executed_in(f"request_id\n{answer.request.id}\n"))
    found = [one async for one in reconcile(w.gate, "other", records, EVERYTHING, Tally())]
    assert said(found) == [("executed_without_approval", "no_such_request")]


@pytest.mark.parametrize(
    ("verdict", "reason"), [(None, "pending_review"), ("reject", "rejected"), ("approve", "not_redeemed")]
)
async def test_an_execution_that_may_not_be_says_why(w: World, verdict: str | None, reason: str) -> None:
    answer = await w.ask()
    if verdict is not None:
        await w.review(answer, verdict)
    found = await findings(w, f"request_id\n{answer.request.id}\n")
    assert said(found) == [("executed_without_approval", reason)]


async def test_an_execution_hours_before_its_approval_was_without_one(w: World) -> None:
    answer = await redeemed(w)
    early = rfc3339(w.clock.now - HOUR)
    found = await findings(w, f"request_id,executed_at\n{answer.request.id},{early}\n")
    assert said(found) == [("executed_without_approval", "before_approval")]


async def test_clocks_may_differ_by_five_minutes(w: World) -> None:
    answer = await redeemed(w)
    times = [rfc3339(w.clock.now - CLOCKS_DIFFER - more) for more in (0, 1)]
    found = [await findings(w, f"request_id,executed_at\n{answer.request.id},{at}\n") for at in times]
    assert [said(one) for one in found] == [[], [("executed_without_approval", "before_approval")]]


async def test_what_policy_allowed_has_to_be_redeemed_too(w: World) -> None:
    answer = await w.ask(100)
    found = await findings(w, f"request_id\n{answer.request.id}\n")
    assert said(found) == [("executed_without_approval", "not_redeemed")]


async def test_an_approval_without_a_token_needs_no_redemption(w: World) -> None:
    await w.change_agent(AgentChange(signed_approvals=False))
    answer = await w.approved()
    assert await findings(w, f"request_id\n{answer.request.id}\n") == []


async def test_the_second_execution_names_the_first_ones_line(w: World) -> None:
    answer = await redeemed(w)
    found = await findings(w, f"request_id\n{answer.request.id}\n{answer.request.id}\n")
    assert said(found) == [("executed_twice", "again")]
    assert (found[0].line, "line 2" in found[0].detail) == (3, True)


async def test_an_execution_by_thread_and_by_request_is_two_of_one(w: World) -> None:
    answer = await redeemed(w)
    found = await findings(w, f"request_id\n{answer.request.id}\n{thread_of(answer)}\n")
    assert said(found) == [("executed_twice", "again")]


@pytest.mark.parametrize("logged", ["500", "500.0", "500.00", '"500"'])
async def test_numbers_are_compared_as_decimals(w: World, logged: str) -> None:
    answer = await redeemed(w, 500)
    line = f'{{"request_id": "{answer.request.id}", "amount": {logged}}}'
    assert await findings(w, line, form="jsonl", mapped="amount=amount") == []


@pytest.mark.parametrize("logged", ["500.0000000000000001", "5001", "", "five hundred", "true"])
async def test_another_argument_is_found_with_both_values(w: World, logged: str) -> None:
    answer = await redeemed(w, 500)
    found = await findings(w, f"request_id,sum\n{answer.request.id},{logged}\n", mapped="amount=sum")
    assert said(found) == [("executed_with_other_arguments", "differs")]
    assert (found[0].differences[0].place, found[0].differences[0].approved) == ("amount", "500")


@pytest.mark.parametrize(
    ("approved", "cell", "same"),
    [
        ({"to": "0071"}, "71", False),
        ({"to": "0071"}, "0071", True),
        ({"to": True}, "TRUE", True),
        ({"to": True}, "1", False),
        ({"to": None}, "", True),
        ({"to": ""}, "", True),
        ({}, "", True),
        ({}, "x", False),
        ({"to": ["a", 2]}, '"[""a"", 2.0]"', True),
        ({"to": ["a", 2]}, "a", False),
        ({"to": {"iban": "DE1"}}, '"{""iban"": ""DE2""}"', False),
        ({"to": 0.1}, "0.10", True),
    ],
)
async def test_a_cell_is_read_as_what_was_approved(w: World, approved: dict[str, Any], cell: str, same: bool) -> None:
    answer = await w.ask(payload=approved, tool="wire_transfer")
    await w.review(answer)
    await w.redeem(answer)
    found = await findings(w, f"request_id,to\n{answer.request.id},{cell}\n", mapped="payload.to=to")
    assert (found == []) is same


async def test_a_whole_payload_is_compared_place_by_place(w: World) -> None:
    answer = await w.ask(payload={"amount": 500, "to": {"name": "Ann"}})
    await w.review(answer)
    await w.redeem(answer)
    executed = {"request_id": answer.request.id, "payload": {"amount": 500.0, "to": {"name": "Eve"}, "fee": 1}}
    (found,) = await findings(w, json.dumps(executed), form="jsonl")
    assert {(one.place, one.approved, one.executed) for one in found.differences} == {
        ("to.name", '"Ann"', '"Eve"'),
        ("fee", "", "1"),
    }


@pytest.mark.parametrize(("bare", "changed", "expected"), [(True, False, 0), (False, False, 0), (False, True, 1)])
async def test_a_digest_is_compared(w: World, bare: bool, changed: bool, expected: int) -> None:
    answer = await redeemed(w)
    digest = answer.request.payload_digest.removeprefix("sha-256:" if bare else "")
    digest = digest[:-1] + ("0" if digest[-1] != "0" else "1") if changed else digest
    found = await findings(w, f"request_id,payload_digest\n{answer.request.id},{digest}\n")
    assert len(found) == expected


async def test_another_tool_is_another_argument(w: World) -> None:
    answer = await redeemed(w)
    (found,) = await findings(w, f"request_id,tool\n{answer.request.id},wire_transfer\n")
    assert found.differences[0].place == "tool_name"


async def test_a_redeemed_approval_that_the_log_does_not_have_was_never_executed(w: World) -> None:
    answer = await redeemed(w)
    await w.approved(task="task-2")  # never redeemed: nothing to look for
    found = await findings(w, "request_id\n")
    assert said(found) == [("approved_and_never_executed", "not_in_the_log")]
    assert found[0].request_id == answer.request.id


async def test_an_allowed_request_that_was_redeemed_is_looked_for_too(w: World) -> None:
    await w.redeem(await w.ask(100))
    assert said(await findings(w, "request_id\n")) == [("approved_and_never_executed", "not_in_the_log")]


async def reported(w: World, answer: Answer, outcome: str) -> None:
    """As the gate notes what an agent reports."""
    request = await w.stored(answer)
    told = replace(request, outcome=outcome)
    assert await w.write(lambda tx: tx.requests.update(told, was_status=request.status, was_revision=request.revision))


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
async def test_what_an_agent_says_it_did_not_execute_and_the_log_has_is_found(w: World, outcome: str) -> None:
    answer = await redeemed(w)
    await reported(w, answer, outcome)
    found = await findings(w, f"request_id\n{answer.request.id}\n")
    assert said(found) == [("outcome_says_otherwise", f"reported_{outcome}")]


async def test_what_an_agent_says_it_executed_and_the_log_does_not_have_is_found(w: World) -> None:
    await reported(w, await redeemed(w), "executed")
    assert said(await findings(w, "request_id\n")) == [
        ("approved_and_never_executed", "not_in_the_log"),
        ("outcome_says_otherwise", "reported_executed"),
    ]


async def test_what_an_agent_says_it_skipped_is_not_missed(w: World) -> None:
    await reported(w, await redeemed(w), "skipped")
    assert await findings(w, "request_id\n") == []


async def test_content_that_was_erased_is_counted_and_not_compared(w: World) -> None:
    answer = await redeemed(w)
    request = await w.stored(answer)
    gone = replace(request, erased_at=w.clock.now, payload="{}")
    await w.write(lambda tx: tx.requests.update(gone, was_status=request.status, was_revision=1))
    tally, records = Tally(), iter(executed_in(f"request_id,amount\n{request.id},9\n", mapped="amount=amount"))
    found = [one async for one in reconcile(w.gate, w.tenant_id, records, EVERYTHING, tally)]
    assert (found, tally.not_comparable) == ([], 1)


async def test_only_the_tool_that_was_named_is_looked_for(w: World) -> None:
    answer = await redeemed(w)
    await redeemed(w, task="task-2", tool="wire_transfer")
    records = f"request_id,tool\n{answer.request.id},issue_refund\nreq_x,wire_transfer\n"
    assert await findings(w, records, scope=Scope(tool="issue_refund")) == []


async def test_what_is_outside_the_time_is_not_judged_and_not_missed(w: World) -> None:
    answer = await redeemed(w)
    later = rfc3339(w.clock.now + HOUR)
    records = f"request_id,executed_at\n{answer.request.id},{later}\nreq_x,{later}\n"
    assert await findings(w, records, scope=Scope(until=w.clock.now + 1)) == []


async def test_requests_redeemed_before_the_time_are_not_missed(w: World) -> None:
    await redeemed(w)
    assert await findings(w, "request_id\n", scope=Scope(since=w.clock.now + 1)) == []


async def test_the_log_goes_on_over_many_batches_and_every_redeemed_request_is_found(w: World) -> None:
    answer = await redeemed(w)
    rows = "".join(f"req_{i}\n" for i in range(1_203)) + f"{answer.request.id}\n"
    found = await findings(w, "request_id\n" + rows)
    assert len(found) == 1_203


async def test_a_log_changes_nothing_in_the_gate(w: World) -> None:
    await redeemed(w)
    before = await w.entries()
    await findings(w, "request_id\nreq_x\n")
    assert await w.entries() == before


async def test_memory_does_not_grow_with_the_log(w: World) -> None:
    class Endless(io.RawIOBase):
        """A log that is made as it is read."""

        def __init__(self, rows: int) -> None:
            self.left, self.row = rows, 0

        def readline(self, size: int | None = -1) -> bytes:
            self.row += 1
            if self.row == 1:
                return b"request_id\n"
            return b"" if self.row > self.left else f"req_{self.row}\n".encode()

    async def peak(rows: int) -> int:
        file: BinaryIO = Endless(rows)  # type: ignore[assignment]
        tracemalloc.start()
        async for _ in reconcile(w.gate, w.tenant_id, read_log(file, "csv", parse_mapping("")), EVERYTHING, Tally()):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few = await peak(1_000)
    assert await peak(48_000) < few * 3  # one batch more may be alive, as threads come to run


# Hostile logs


@pytest.mark.parametrize(
    ("log", "line", "word"),
    [
        (b"request_id\nreq_1,2\n", 2, "2 fields"),
        (b'request_id\n"req_1\n', 2, "CSV"),
        (b'request_id\n"req_1"x\n', 2, "CSV"),
        (b"request_id\nreq_\xff\n", 2, "UTF-8"),
        (b"\xff\xfer\0e\0q\0", 1, "UTF-16"),
        (b"request_id\nreq_\0\n", 2, "zero byte"),
        (b"request_id,request_id\n", 1, "twice"),
        (b"request_id,executed_at\nreq_1,yesterday\n", 2, "executed_at"),
        (b"request_id,executed_at\nreq_1,2026-11-24T21:12:00\n", 2, "zone"),
        (b"request_id,payload\nreq_1,{\n", 2, "payload"),
        (b"request_id\n" + b"x" * (RECORD_MOST + 1), 2, "bytes"),
        (b'request_id\n"' + b"x\n" * RECORD_MOST, 65538, "field limit"),
        (b",".join(b"c%d" % i for i in range(1001)) + b"\n", 1, "columns"),
    ],
)
def test_a_csv_that_cannot_be_read_says_on_which_line(log: bytes, line: int, word: str) -> None:
    with pytest.raises(Invalid) as refused:
        executed_in(log)
    assert f"line {line}:" in refused.value.detail
    assert word in refused.value.detail


@pytest.mark.parametrize(
    ("log", "word"),
    [
        (b'{"request_id": "a", "request_id": "b"}', "twice"),
        (b'{"request_id": "a", "x": {"y": 1, "\\u0079": 2}}', "twice"),
        (b'{"request_id": "a", "x": NaN}', "NaN"),
        (b'{"request_id": "a", "x": 1' + b"0" * 70 + b"}", "characters"),
        (b'{"request_id": "a", "x": 1e99999999999999999999}', "out of range"),
        (b'{"request_id": "a", "x": "\\ud800"}', "surrogate"),
        (b'{"request_id": "a"} {}', "JSON"),
        (b'["a"]', "object"),
        (b"[" * 100_000, "nested"),
        (b'{"request_id": 7}', "not a text"),
        (b'{"request_id": "a", "payload": []}', "object"),
        (b'{"request_id": "\xe4"}', "UTF-8"),
    ],
)
def test_json_lines_that_cannot_be_read_say_on_which_line(log: bytes, word: str) -> None:
    with pytest.raises(Invalid) as refused:
        executed_in(b'{"request_id": "first"}\n' + log + b"\n", form="jsonl")
    assert "line 2:" in refused.value.detail
    assert word in refused.value.detail


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_mapped_column_that_is_not_there_is_named_with_those_that_are(form: str) -> None:
    log = {"csv": "request_id,total\nreq_1,5\n", "jsonl": '{"request_id": "req_1", "total": 5}\n'}[form]
    with pytest.raises(Invalid, match='no column "sum"; the columns are "request_id", "total"'):
        executed_in(log, form=form, mapped="amount=sum")


def test_a_log_without_any_reference_says_which_columns_there_are() -> None:
    with pytest.raises(Invalid, match='--map request_id=COLUMN; the columns are "id", "total"'):
        executed_in("id,total\n")


def test_a_byte_order_mark_semicolons_and_quoted_line_breaks_are_read() -> None:
    (one,) = executed_in(b'\xef\xbb\xbfrequest_id;note\r\nreq_1;"two\r\nlines"\r\n\r\n', mapped="note=note")
    assert (one.request_id, one.values["note"], one.line) == ("req_1", "two\r\nlines", 3)


def test_a_column_inside_an_object_is_named_by_its_place() -> None:
    (one,) = executed_in('{"meta": {"req": "req_1"}}', form="jsonl", mapped="request_id=meta.req")
    assert one.request_id == "req_1"


@pytest.mark.parametrize("mapped", ["amount", "=x", "amount=", "amount=a,amount=b", "amount=a,payload.amount=b"])
def test_a_mapping_that_says_nothing_clear_is_refused(mapped: str) -> None:
    with pytest.raises(Invalid):
        parse_mapping(mapped)
