# ruff: noqa: E501 - a change a line
"""Sound exports and broken ones: the gate's verifier and the independent one say the same of each."""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from gate.tests.verify.logs import (
    KEY,
    OTHER_KEY,
    OTHER_SECRET,
    Json,
    Log,
    document,
    encoded,
    erased,
    jsonl,
    log_of,
    made_entry,
    page,
    redacted,
)
from gate.tests.verify.samples import FOLDER, samples
from gate.tests.verify.verifiers import SCRIPT, independent, ours
from msgspec.structs import replace

from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.checkpoints import checkpoint_body
from stacksona_gate.domain.merkle import inclusion_proof
from stacksona_gate.domain.signed_notes import ED25519, VerifierKey, sign_note
from stacksona_gate.domain.times import rfc3339

LOG: Final = log_of(41)
WHOLE: Final = LOG.export()
RANGE: Final = LOG.export("range", range(9, 30), **LOG.since(20))
THREAD: Final = LOG.thread(6, **LOG.since(20))
SAVED: Final = LOG.checkpoint(20).note


class Files:
    """Writes what is asked about, and asks both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def both(self, export: bytes, *, saved: str | None = None, key: str | None = None) -> int:
        """The exit code, which is the same of both."""
        arguments = [self.write("export", export)]
        if saved is not None:
            arguments += ["--checkpoint", self.write("saved", saved.encode())]
        if key is not None:
            arguments += ["--key", self.write("key", key.encode())]
        mine, other = ours(*arguments), independent(*arguments)
        assert mine.code == other.code, (mine.told, other.told)
        if mine.code == 0:
            counts = ("sound", "entries", "disclosed", "redacted", "erased")
            assert [mine.told[name] for name in counts] == [other.told[name] for name in counts]
        return mine.code

    def write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# Sound


@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 31, 41])
def test_a_whole_log_is_sound_at_any_size_against_any_saved_one(files: Files, size: int) -> None:
    export = jsonl(LOG.export(size=size))
    assert files.both(export) == 0
    for old in {0, 1, size // 2, size - 1, size} & set(range(size + 1)):
        assert files.both(export, saved=LOG.checkpoint(old).note, key=f"{KEY}\n") == 0


@pytest.mark.parametrize("old", [0, 1, 2, 16, 20, 33, 40, 41])
def test_a_part_of_a_log_is_sound_against_a_saved_one_that_its_header_extends(files: Files, old: int) -> None:
    saved = LOG.checkpoint(old).note
    for lines in (LOG.export("range", range(9, 30), **LOG.since(old)), LOG.thread(6, **LOG.since(old))):
        assert files.both(jsonl(lines), saved=saved, key=str(KEY)) == 0


@pytest.mark.parametrize(
    "export",
    [
        jsonl(THREAD),
        jsonl(RANGE),
        document(THREAD),
        document(THREAD, format="stacksona-gate-thread-export/2", thread={"subject": "x"}),
        json.dumps(json.loads(document(THREAD)), indent=2).encode(),
        page(THREAD),
        jsonl(LOG.export("range", [])),
        jsonl(LOG.export("range", [0, 40])),
        jsonl(RANGE).removesuffix(b"\n"),
        jsonl(RANGE).replace(b"\n", b"\r\n"),
        jsonl(redacted(WHOLE, 5)),
        jsonl(erased(erased(WHOLE, 5), 5, "address")),
        page(redacted(THREAD, 2)),
        jsonl([{**RANGE[0], "later": "fields"}, *RANGE[1:]]),
    ],
)
def test_every_form_is_sound(files: Files, export: bytes) -> None:
    assert files.both(export) == 0
    assert files.both(export, key=f"{OTHER_KEY}\n{KEY}\n") == 0


def test_a_time_range_is_sound_within_its_time(files: Files) -> None:
    start, end = (rfc3339(LOG.entries[number].at) for number in (9, 30))
    bounds: Json = {"from": start, "to": end}
    lines = LOG.export("range", range(9, 30), **bounds)
    assert files.both(jsonl(lines)) == 0
    assert files.both(jsonl([{**lines[0], "to": None}, *lines[1:]])) == 0


# Broken: one change each, as exit code 1


def changed(lines: list[Json], change: Callable[[list[Json]], Any]) -> bytes:
    copied = copy.deepcopy(lines)
    change(copied)
    return jsonl(copied)


def change_leaf(line: Json, **fields: Any) -> None:
    line["leaf"] = canonicalize(json.loads(line["leaf"]) | fields).decode()


def flip(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


def recounted(lines: list[Json], others: list[Json]) -> None:
    lines[:] = others
    lines[0]["entries"] = len(lines) - 1


def signed_by(secret_key: VerifierKey, size: int, root: bytes) -> str:
    return str(sign_note(checkpoint_body(KEY.name, size, root), secret_key, OTHER_SECRET.sign))


FORGED_KEY: Final = VerifierKey("stacksona-gate/gate_02/default", ED25519, OTHER_KEY.public)

ANYWHERE: Final[dict[str, Callable[[list[Json]], Any]]] = {
    "a leaf's status": lambda lines: change_leaf(lines[3], status="rejected"),
    "a leaf's time": lambda lines: change_leaf(lines[3], at="2026-11-18T01:02:03Z"),
    "a leaf's actor": lambda lines: change_leaf(lines[2], actor={"id": "x", "kind": "user"}),
    "a leaf's tenant": lambda lines: change_leaf(lines[2], tenant="other"),
    "a leaf's version": lambda lines: change_leaf(lines[2], v=2),
    "a commitment": lambda lines: change_leaf(lines[2], commitments={}),
    "a leaf with a space": lambda lines: lines[2].update(leaf=lines[2]["leaf"] + " "),
    "a leaf that is a list": lambda lines: lines[2].update(leaf="[]"),
    "a leaf that is no JSON": lambda lines: lines[2].update(leaf="{"),
    "a leaf that is empty": lambda lines: lines[2].update(leaf=""),
    "a leaf that is a number": lambda lines: lines[2].update(leaf=7),
    "a private value": lambda lines: lines[3]["private"]["payload"].update(value={"amount": 1}),
    "a private text": lambda lines: lines[3]["private"]["address"].update(value="192.0.2.77"),
    "a private salt": lambda lines: lines[3]["private"]["payload"].update(salt="00" * 32),
    "a private salt that is short": lambda lines: lines[3]["private"]["payload"].update(salt="00"),
    "a private salt that is no text": lambda lines: lines[3]["private"]["payload"].update(salt=None),
    "a private value without its salt": lambda lines: lines[3]["private"]["payload"].pop("salt"),
    "a private value under another name": lambda lines: lines[3]["private"].update(note=lines[3]["private"].pop("payload")),
    "private values of another entry": lambda lines: lines[3].update(private=lines[4]["private"]),
    "a redaction that tells the value": lambda lines: lines[3]["private"]["payload"].update(redacted=True),
    "a redaction that is none": lambda lines: lines[3]["private"].update(payload={"redacted": False}),
    "a private value of a text": lambda lines: lines[3]["private"].update(payload="x"),
    "private that is a list": lambda lines: lines[3].update(private=[]),
    "private that is missing": lambda lines: lines[3].pop("private"),
    "an unknown field": lambda lines: lines[3].update(comment="this was approved"),
    "an index": lambda lines: lines[3].update(index=lines[3]["index"] + 1),
    "a negative index": lambda lines: lines[1].update(index=-1),
    "an index that is a text": lambda lines: lines[3].update(index=str(lines[3]["index"])),
    "an index that is far": lambda lines: lines[-1].update(index=10**9),
    "a deleted row": lambda lines: lines.pop(3),
    "a deleted first row": lambda lines: lines.pop(1),
    "a cut tail": lambda lines: lines.pop(),
    "swapped rows": lambda lines: lines.__setitem__(slice(2, 4), [lines[3], lines[2]]),
    "swapped leaves": lambda lines: [one.update(leaf=leaf) for one, leaf in zip(lines[2:4], [lines[3]["leaf"], lines[2]["leaf"]], strict=True)],
    "a doubled row": lambda lines: lines.insert(3, lines[3]),
    "a row that is empty": lambda lines: lines.__setitem__(3, {}),
    "the header's size": lambda lines: lines[0].update(size=40),
    "the header's count": lambda lines: lines[0].update(entries=lines[0]["entries"] + 1),
    "the header's tenant": lambda lines: lines[0].update(tenant="other"),
    "the header's origin": lambda lines: lines[0].update(origin="stacksona-gate/gate_02/default"),
    "the header's format": lambda lines: lines[0].update(format="stacksona-audit-2"),
    "the header's kind": lambda lines: lines[0].update(kind="all"),
    "the header's key": lambda lines: lines[0].update(public_key=str(OTHER_KEY)),
    "the header's key as nonsense": lambda lines: lines[0].update(public_key="key"),
    "the header's checkpoint, size": lambda lines: lines[0].update(checkpoint=lines[0]["checkpoint"].replace("\n41\n", "\n42\n")),
    "the header's checkpoint, root": lambda lines: lines[0].update(checkpoint=LOG.checkpoint(40).note.replace("\n40\n", "\n41\n")),
    "the header's checkpoint, unsigned": lambda lines: lines[0].update(checkpoint=checkpoint_body(KEY.name, 41, bytes(32))),
    "the header's checkpoint, by another key": lambda lines: lines[0].update(checkpoint=signed_by(FORGED_KEY, 41, LOG.checkpoint().root)),
    "the header's checkpoint, older": lambda lines: lines[0].update(checkpoint=LOG.checkpoint(30).note),
    "the header's checkpoint, missing": lambda lines: lines[0].pop("checkpoint"),
    "a thread in the header": lambda lines: lines[0].update(thread_id=None if lines[0]["kind"] == "thread" else "THR-6"),
}  # fmt: skip

WHOLE_ONLY: Final[dict[str, Callable[[list[Json]], Any]]] = {
    "a deleted row, recounted": lambda lines: recounted(lines, lines[:3] + lines[4:]),
    "a deleted row, renumbered": lambda lines: renumbered(lines, lines[:3] + lines[4:]),
    "a cut tail, recounted": lambda lines: recounted(lines, lines[:-1]),
    "a cut tail, resized": lambda lines: recounted(lines, [{**lines[0], "size": 40}, *lines[1:-1]]),
    "swapped rows, renumbered": lambda lines: renumbered(lines, [*lines[:2], lines[3], lines[2], *lines[4:]]),
    "an added row": lambda lines: recounted(lines, [*lines, extra_line(41)]),
    "an added row in between": lambda lines: renumbered(lines, [*lines[:9], extra_line(8), *lines[9:]]),
    "another kind": lambda lines: lines[0].update(kind="range"),
    "a wrong proof": lambda lines: lines[5].update(proof=[base64.b64encode(bytes(32)).decode()] * 6),
}

PARTS_ONLY: Final[dict[str, Callable[[list[Json]], Any]]] = {
    "a proof's hash": lambda lines: lines[3]["proof"].__setitem__(0, flip(lines[3]["proof"][0])),
    "a proof with one less": lambda lines: lines[3]["proof"].pop(),
    "a proof with one more": lambda lines: lines[3]["proof"].append(lines[3]["proof"][0]),
    "a proof out of order": lambda lines: lines[3]["proof"].reverse(),
    "a proof for another index": lambda lines: lines[3].update(proof=lines[4]["proof"]),
    "a proof for another size": lambda lines: lines[3].update(
        proof=encoded(inclusion_proof(LOG.node, lines[3]["index"], 36))
    ),
    "a proof of no base64": lambda lines: lines[3]["proof"].__setitem__(0, "é"),
    "a proof of short hashes": lambda lines: lines[3]["proof"].__setitem__(0, "AAAA"),
    "a proof that is missing": lambda lines: lines[3].pop("proof"),
    "an empty proof": lambda lines: lines[3].update(proof=[]),
    "a whole log in name": lambda lines: lines[0].update(kind="tenant"),
}


def renumbered(lines: list[Json], others: list[Json]) -> None:
    """Puts others in their place, with indices without a gap and the count that they have."""
    for number, line in enumerate(others[1:]):
        line["index"] = number
    recounted(lines, others)


def extra_line(number: int) -> Json:
    one = made_entry(number, "extra")
    return {"index": number, "leaf": one.leaf, "private": json.loads(one.private)}


@pytest.mark.parametrize("name", ANYWHERE)
@pytest.mark.parametrize("lines", [WHOLE, RANGE, THREAD], ids=["whole", "range", "thread"])
def test_one_change_is_found(files: Files, lines: list[Json], name: str) -> None:
    export = changed(lines, ANYWHERE[name])
    assert files.both(export) == 1
    assert files.both(export, key=str(KEY), saved=SAVED) == 1


@pytest.mark.parametrize("name", WHOLE_ONLY)
def test_one_change_to_a_whole_log_is_found(files: Files, name: str) -> None:
    assert files.both(changed(WHOLE, WHOLE_ONLY[name]), key=str(KEY)) == 1


@pytest.mark.parametrize("name", PARTS_ONLY)
@pytest.mark.parametrize("lines", [RANGE, THREAD], ids=["range", "thread"])
def test_one_change_to_a_part_is_found(files: Files, lines: list[Json], name: str) -> None:
    assert files.both(changed(lines, PARTS_ONLY[name]), key=str(KEY)) == 1


@pytest.mark.parametrize("name", ["a leaf's status", "a private value", "a proof's hash", "a cut tail"])
@pytest.mark.parametrize("form", [document, page])
def test_one_change_to_a_threads_document_is_found(
    files: Files, form: Callable[[list[Json]], bytes], name: str
) -> None:
    lines = copy.deepcopy(THREAD)
    (ANYWHERE | PARTS_ONLY)[name](lines)
    assert files.both(form(lines)) == 1


@pytest.mark.parametrize("lines", [WHOLE, RANGE, THREAD], ids=["whole", "range", "thread"])
def test_seeded_changes_of_single_bytes_never_divide_the_two(files: Files, lines: list[Json]) -> None:
    """Most are found; those that change nothing that counts (white space, the time of the export) are sound for both."""
    export, random, found = jsonl(lines), Random(41), 0  # noqa: S311 - the same each time
    for _ in range(60):
        at = random.randrange(len(export))
        spoiled = export[:at] + bytes((random.randrange(32, 127),)) + export[at + 1 :]
        found += files.both(spoiled, key=str(KEY), saved=SAVED)
    assert found >= 50


@pytest.mark.parametrize(
    "export",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null",
        b"\xef\xbb\xbf" + jsonl(WHOLE),
        jsonl(WHOLE)[:-30],
        jsonl(WHOLE).replace(b"\n", b"\n\n", 3),
        jsonl(WHOLE) + b"\n",
        jsonl(WHOLE) + b"{}\n",
        jsonl(WHOLE[1:]),
        jsonl([WHOLE[0], *WHOLE]),
        jsonl(WHOLE).replace(b'"index": 7,', b'"index": 6, "index": 7,'),
        jsonl(WHOLE).replace(b'"salt"', b'"value": 1, "salt"', 1),
        jsonl(WHOLE).replace(b'"tenant": "default"', b'"tenant": "x", "tenant": "default"', 1),
        jsonl(WHOLE).replace(b'"index": 7,', b'"index": NaN,'),
        jsonl(WHOLE).replace(b'"index": 7,', b'"index": 7.5,'),
        jsonl(WHOLE).replace(b"192.0.2.7", b"\\ud800", 1),
        jsonl(WHOLE).replace(b"192.0.2.7", b"\xff", 1),
        jsonl(WHOLE)[:-3] + b"[" * 100_000,
        page(THREAD).replace(b"evidence", b"other"),
        page(THREAD) + page(THREAD),
        page(THREAD).replace(b"</script>", b""),
        document(THREAD) + b"{}",
        document(THREAD).replace(b'"log"', b'"log": {}, "log"'),
        document(THREAD).replace(b'"entries": [', b'"entries": 7, "more": ['),
        b"<html></html>",
    ],
)
def test_what_is_no_export_is_broken(files: Files, export: bytes) -> None:
    assert files.both(export) == 1


# Against what was saved or known


def test_an_old_backup_is_found_by_a_later_checkpoint(files: Files) -> None:
    restored = log_of(30).export()
    assert files.both(jsonl(restored)) == 0
    assert files.both(jsonl(restored), saved=LOG.checkpoint(31).note) == 1


def test_a_tail_cut_and_signed_again_is_found_by_a_later_checkpoint(files: Files) -> None:
    for lines in (LOG.export(size=38), LOG.thread(6, size=38), LOG.export("range", range(5), size=38)):
        assert files.both(jsonl(lines), saved=LOG.checkpoint(39).note) == 1


@pytest.mark.parametrize("at", [0, 7, 19])
def test_a_forked_history_signed_with_the_logs_own_key_is_found(files: Files, at: int) -> None:
    forked = log_of(41, variant_at=at)
    assert files.both(jsonl(forked.export())) == 0
    assert files.both(jsonl(forked.export()), saved=SAVED) == 1
    assert files.both(jsonl(forked.export()), saved=LOG.checkpoint().note) == 1
    for lines in (forked.thread(1, **forked.since(20)), forked.export("range", range(9), **forked.since(20))):
        assert files.both(jsonl(lines)) == 0
        assert files.both(jsonl(lines), saved=SAVED) == 1
    assert files.both(jsonl(forked.thread(1)), saved=LOG.checkpoint().note) == 1


def test_a_fork_after_the_saved_checkpoint_extends_it(files: Files) -> None:
    assert files.both(jsonl(log_of(41, variant_at=20).export()), saved=SAVED) == 0


@pytest.mark.parametrize(
    "since",
    [
        {},
        {"consistency": None},
        LOG.since(19),
        {"consistency": {"from": 20, "proof": []}},
        {"consistency": {"from": 20, "proof": LOG.since(19)["consistency"]["proof"]}},
        {"consistency": {"from": 20, "proof": LOG.since(20)["consistency"]["proof"][:-1]}},
        {"consistency": {"from": 20, "proof": [*LOG.since(20)["consistency"]["proof"], "A" * 43 + "="]}},
        {"consistency": {"from": 20, "proof": ["x"]}},
        {"consistency": {"proof": []}},
    ],
)
def test_a_part_without_a_proof_from_the_saved_size_is_not_held_to_extend_it(files: Files, since: Json) -> None:
    assert files.both(jsonl(LOG.thread(6, **since)), saved=SAVED, key=str(KEY)) == 1


def test_a_log_that_was_made_up_with_another_key_is_found_by_the_key_and_by_the_saved_checkpoint(files: Files) -> None:
    forged = jsonl(Log(LOG.entries, OTHER_SECRET, OTHER_KEY).export())
    assert files.both(forged) == 0
    assert files.both(forged, key=str(KEY)) == 1
    assert files.both(forged, saved=SAVED) == 1


def test_a_header_with_another_key_than_the_given_one_is_found(files: Files) -> None:
    lines = [{**WHOLE[0], "public_key": str(OTHER_KEY)}, *WHOLE[1:]]
    assert files.both(jsonl(lines), key=str(KEY)) == 1
    assert files.both(jsonl(lines), key=f"{KEY}\n{OTHER_KEY}") == 0


def test_a_saved_checkpoint_with_a_wrong_signature_or_of_another_log_is_found(files: Files) -> None:
    assert files.both(jsonl(WHOLE), saved=SAVED.replace("\n20\n", "\n19\n")) == 1
    other = VerifierKey("stacksona-gate/gate_01/other", ED25519, KEY.public)
    note = Log(LOG.entries[:20], key=other).checkpoint().note
    assert files.both(jsonl(WHOLE), saved=note) == 1
    assert files.both(jsonl(WHOLE), saved=note, key=f"{KEY}\n{other}") == 1


def test_entries_of_another_thread_are_found(files: Files) -> None:
    for chosen in ([24, 25, 26, 27, 28], [24, 25, 29], [24], [28]):
        lines = LOG.export("thread", chosen, thread_id="THR-6")
        assert files.both(jsonl(lines)) == 1


@pytest.mark.parametrize(
    "fields", [{"tenant": "other"}, {"v": 2}, {"commitments": {"payload": "x"}}, {"commitments": None}, {"at": "now"}]
)
def test_a_leaf_that_no_gate_writes_is_found_though_it_is_sealed(files: Files, fields: Json) -> None:
    lines = LOG.export()
    change_leaf(lines[3], **fields)
    sealed = Log([replace(LOG.entries[0], leaf=line["leaf"], private="{}") for line in lines[1:]])
    assert files.both(jsonl(sealed.export())) == 1


def test_a_leaf_in_another_form_than_the_canonical_one_is_found_though_it_is_sealed(files: Files) -> None:
    spaced = replace(LOG.entries[3], leaf=LOG.entries[3].leaf.replace(":", ": ", 1))
    assert files.both(jsonl(Log([*LOG.entries[:3], spaced]).export())) == 1


def test_an_empty_part_of_another_workspace_is_found(files: Files) -> None:
    lines = LOG.export("range", [])
    assert files.both(jsonl([{**lines[0], "tenant": "other"}])) == 1


def test_a_leaf_whose_objects_are_no_ids_is_broken_and_breaks_no_verifier(files: Files) -> None:
    lines = LOG.export("thread", [24, 25], thread_id="THR-6")
    change_leaf(lines[1], objects={"request": {}, "thread": "THR-6"})
    assert files.both(jsonl(lines)) == 1


def test_entries_of_another_request_are_found(files: Files) -> None:
    assert files.both(jsonl(LOG.export("range", range(24, 28), request_id="req_6"))) == 0
    assert files.both(jsonl(LOG.export("range", range(24, 29), request_id="req_6"))) == 1
    assert files.both(jsonl(LOG.export("range", range(24, 28), request_id="req_7"))) == 1


def test_an_entry_outside_of_the_headers_time_is_found(files: Files) -> None:
    bounds: Json = {"from": rfc3339(LOG.entries[10].at), "to": rfc3339(LOG.entries[29].at)}
    assert files.both(jsonl(LOG.export("range", range(9, 28), **bounds))) == 1
    assert files.both(jsonl(LOG.export("range", range(10, 30), **bounds))) == 1
    bounds = {"from": "yesterday"}
    assert files.both(jsonl(LOG.export("range", range(10, 20), **bounds))) == 1


@pytest.mark.parametrize(
    ("name", "content"), [("saved", "x\n"), ("saved", ""), ("key", "x"), ("key", ""), ("key", "\n")]
)
def test_what_is_no_checkpoint_and_no_key_is_a_usage_error(files: Files, name: str, content: str) -> None:
    assert files.both(jsonl(WHOLE), **{name: content}) == 2


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    for verifier in (ours, independent):
        assert verifier(str(tmp_path / "none")).code == 2
        assert verifier(str(tmp_path)).code == 2


# The independent one on its own


def test_the_independent_verifier_is_short_and_shares_nothing() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 150
    assert "stacksona_gate" not in text


@pytest.mark.slow
def test_the_independent_verifier_runs_without_the_gate(tmp_path: Path) -> None:
    (tmp_path / "export").write_bytes(jsonl(redacted(WHOLE, 3)))
    arguments = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "export")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "redacted: 1\n" in done.stdout
    (tmp_path / "export").write_bytes(jsonl(WHOLE[:-1]))
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("name", ["whole.jsonl", "thread.html"])
def test_the_sample_exports_are_sound_against_the_saved_checkpoint(name: str) -> None:
    arguments = [str(FOLDER / name), "--checkpoint", str(FOLDER / "checkpoint"), "--key", str(FOLDER / "log.vkey")]
    assert ours(*arguments).code == 0
    assert independent(*arguments).code == 0


def test_the_sample_files_are_those_of_the_log_in_these_tests() -> None:
    assert {name: (FOLDER / name).read_bytes() for name in samples()} == samples()
