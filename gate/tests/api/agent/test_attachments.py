"""Files that come with a request."""

from __future__ import annotations

import pytest
from gate.tests.api.agent.calls import ASK, TASK, Api, attachment, problem, refund

MB = 1_000_000


async def test_files_are_kept_as_they_were_sent(api: Api) -> None:
    decision = await api.ask(attachments=[attachment("a.bin", bytes(range(256)), "application/x-thing")])
    listed = await api.world.read(lambda tx: tx.conversation.list_attachments("default", decision["request_id"]))
    file = await api.world.read(lambda tx: tx.conversation.find_attachment("default", listed[0].id))
    assert file is not None
    assert (file.name, file.content_type, file.data) == ("a.bin", "application/x-thing", bytes(range(256)))


async def test_files_stay_out_of_digest_and_answer(api: Api) -> None:
    without, with_file = await api.ask(), await api.ask(attachments=[attachment()])
    assert with_file["payload_digest"] == without["payload_digest"]
    assert with_file.keys() == without.keys()


async def test_eight_files_are_taken(api: Api) -> None:
    await api.ask(attachments=[attachment(str(n)) for n in range(8)])
    assert api.counted()["attachments"] == 8


async def test_five_megabytes_in_all_are_taken(api: Api) -> None:
    await api.ask(attachments=[attachment("a", bytes(3 * MB)), attachment("b", bytes(2 * MB))])
    assert api.counted()["attachments"] == 2


REFUSED: dict[str, object] = {
    "nine": [attachment() for _ in range(9)],
    "over five megabytes in all": [attachment("a", bytes(3 * MB)), attachment("b", bytes(2 * MB + 300_000))],
    "not base 64": [{**attachment(), "data": "***"}],
    "base 64 with a line break": [{**attachment(), "data": "aGVs\nbG8="}],
    "base 64 without its end": [{**attachment(), "data": "aGVsbG8"}],
    "base 64 for addresses": [{**attachment(), "data": "_-_-"}],
    "data beyond ASCII": [{**attachment(), "data": "aGVsbG8é"}],
    "no data": [{"name": "a", "content_type": "text/plain"}],
    "no name": [{**attachment(), "name": ""}],
    "a long name": [{**attachment(), "name": "n" * 256}],
    "a long type": [{**attachment(), "content_type": "t" * 101}],
    "an unknown field": [{**attachment(), "url": "http://127.0.0.1/"}],
    "a text": ["a.txt"],
}


@pytest.mark.parametrize("files", REFUSED.values(), ids=REFUSED.keys())
async def test_files_beyond_a_limit_are_422_and_nothing_is_decided(api: Api, files: object) -> None:
    before = api.counted()
    made = problem(await api.post(ASK, refund(attachments=files)), 422)
    assert made["errors"][0]["field"].startswith("attachments")
    assert api.counted() == before


async def test_a_revision_may_bring_other_files(api: Api) -> None:
    decision = await api.ask(attachments=[attachment("old")])
    body = {"event_type": "revision", "thread_id": decision["thread_id"], "attachments": [attachment("new")]}
    await api.post(TASK + "/events", body)
    listed = await api.world.read(lambda tx: tx.conversation.list_attachments("default", decision["request_id"]))
    assert [(file.revision, file.name) for file in listed] == [(1, "old"), (2, "new")]


async def test_a_revision_without_files_keeps_those_there_are(api: Api) -> None:
    decision = await api.ask(attachments=[attachment("old")])
    body = {"event_type": "revision", "thread_id": decision["thread_id"], "subject": "other"}
    await api.post(TASK + "/events", body)
    listed = await api.world.read(lambda tx: tx.conversation.list_attachments("default", decision["request_id"]))
    assert [(file.revision, file.name) for file in listed] == [(1, "old"), (2, "old")]
