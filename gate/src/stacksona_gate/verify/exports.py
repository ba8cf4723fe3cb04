"""Whether an export is sound: every entry against the checkpoint, and the checkpoint against one saved earlier.

Memory stays constant, whatever the number of entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal

from msgspec import UNSET

from stacksona_gate.domain.audit import LEAF_VERSION
from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.checkpoints import Checkpoint, open_checkpoint, parse_checkpoint, parse_hash
from stacksona_gate.domain.errors import GateError, Malformed
from stacksona_gate.domain.merkle import (
    EMPTY_ROOT,
    Frontier,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from stacksona_gate.domain.reading import quote, read_json
from stacksona_gate.domain.signed_notes import VerifierKey, parse_verifier_key
from stacksona_gate.domain.times import parse_rfc3339
from stacksona_gate.verify.private import Counted, check_private
from stacksona_gate.verify.reading import MAX_DEPTH, Header, Line, Row, read_export

MOST_FINDINGS: Final = 20
"""More are counted, not told."""
NO_PROOF: Final = "the export holds no proof that the log extends the saved checkpoint"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as it should be. ``line`` counts from 1, ``index`` is the entry's; None where there is none."""

    what: str
    line: int | None = None
    index: int | None = None


@dataclass(slots=True)
class Report:
    """What was found. ``key`` says where the log's key came from, ``saved`` what the saved checkpoint was good for."""

    key: Literal["given", "checkpoint", "file"] = "file"
    header: Header | None = None
    form: str | None = None
    entries: int = 0
    left_out: int = 0
    """Entries between the first and the last one that are not in the file."""
    private: Counted = field(default_factory=Counted)
    first_at: int | None = None
    last_at: int | None = None
    saved: Checkpoint | None = None
    extends_saved: bool = False
    findings: list[Finding] = field(default_factory=list)
    more: int = 0

    @property
    def sound(self) -> bool:
        return not self.findings

    def find(self, what: str, line: int | None = None, index: int | None = None) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(what, line, index))
        else:
            self.more += 1


def verify_export(file: BinaryIO, keys: Sequence[VerifierKey] = (), saved_note: str | None = None) -> Report:
    """Checks a whole export. ``keys`` are the log's, known from elsewhere; without any the file's own is taken.

    Never raises for what the file holds. Raises Malformed when ``saved_note`` is no checkpoint at all.
    """
    if saved_note is not None:
        parse_checkpoint(saved_note)
    report = Report("given" if keys else "file" if saved_note is None else "checkpoint")
    try:
        export = read_export(file)
        report.header, report.form = export.header, export.form
        known = _keys(export.header, keys)
        check = _Check(report, export.header, open_checkpoint(export.header.checkpoint, known))
        report.saved = None if saved_note is None else _saved(saved_note, known)
    except GateError as error:
        report.find(error.detail, 1 if report.form in (None, "jsonl") else None)
        return report
    check.header_facts()
    check.rows(export.rows)
    check.end()
    return report


def _keys(header: Header, given: Sequence[VerifierKey]) -> Sequence[VerifierKey]:
    own = parse_verifier_key(header.public_key)
    if not given:
        return (own,)
    if own not in given:
        raise Malformed("the header names another public key than the one given")
    return given


def _saved(note: str, keys: Iterable[VerifierKey]) -> Checkpoint:
    try:
        return open_checkpoint(note, keys)
    except GateError as error:
        raise Malformed(
            f"the saved checkpoint is not this log's: {error.detail};"
            " if the log's key was changed since, give all of its keys with --key"
        ) from None


class _Check:
    """Goes through the entries once."""

    def __init__(self, report: Report, header: Header, checkpoint: Checkpoint) -> None:
        self.report, self.header, self.checkpoint = report, header, checkpoint
        self.tree = Frontier()
        self.root_when_saved: bytes | None = None
        self.last = -1
        self.requests: set[object] = set()
        self.names_thread = False

    def header_facts(self) -> None:
        header, checkpoint, find = self.header, self.checkpoint, self._find_in_header
        if header.origin != checkpoint.origin:
            find(f"the header is of the log {quote(header.origin)}, its checkpoint of {quote(checkpoint.origin)}")
        if not header.origin.endswith(f"/{header.tenant}"):
            find(f"the header is of the workspace {quote(header.tenant)}, which is not the log's")
        if header.size != checkpoint.size:
            find(f"the header says size {header.size}, its checkpoint {checkpoint.size}")
        if header.kind == "tenant" and header.entries != checkpoint.size:
            find(f"the header says {header.entries} entries of a whole log of {checkpoint.size}")
        if (header.thread_id is None) == (header.kind == "thread"):
            find("an export of a thread, and no other, names the thread")
        self.start, self.to = self._moment(header.start), self._moment(header.to)
        self._keep_root()

    def _find_in_header(self, what: str) -> None:
        self.report.find(what, 1 if self.report.form == "jsonl" else None)

    def _moment(self, text: str | None) -> int | None:
        try:
            return None if text is None else parse_rfc3339(text)
        except ValueError:
            self._find_in_header(f"{quote(text or '')} in the header is no time")
            return None

    def rows(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.report.entries += 1
            if isinstance(row.entry, Malformed):
                self.report.find(row.entry.detail, row.line)
                continue
            for what in self._entry(row.entry):
                self.report.find(what, row.line, row.entry.index)

    def _entry(self, entry: Line) -> list[str]:
        found = self._place(entry)
        try:
            found += self._leaf(entry)
        except (GateError, ValueError) as error:
            found.append(f"the leaf cannot be read: {error}")
        return found

    def _place(self, entry: Line) -> list[str]:
        """Whether the leaf is in the tree where the entry says that it is."""
        whole, found = self.header.kind == "tenant", []
        if whole and entry.index != self.tree.size:
            found.append(f"index {self.tree.size} is due here: an entry is missing, doubled or out of order")
        elif entry.index <= self.last:
            found.append(f"index {self.last} comes before: entries are out of order or doubled")
        elif not whole and self.last >= 0:
            self.report.left_out += entry.index - self.last - 1
        self.last = entry.index
        hashed = leaf_hash(entry.leaf.encode(errors="surrogatepass"))
        if whole:
            self.tree.add(hashed)
            self._keep_root()
        return (
            found if self._is_proven(entry, hashed) else [*found, "the proof does not lead from the leaf to the root"]
        )

    def _is_proven(self, entry: Line, hashed: bytes) -> bool:
        if entry.proof is UNSET:
            return self.header.kind == "tenant"
        try:
            proof = [parse_hash(one) for one in entry.proof]
        except Malformed:
            return False
        return verify_inclusion(hashed, entry.index, self.checkpoint.size, proof, self.checkpoint.root)

    def _keep_root(self) -> None:
        if self.report.saved is not None and self.tree.size == self.report.saved.size:
            self.root_when_saved = self.tree.root()

    def _leaf(self, entry: Line) -> list[str]:
        leaf = read_json(entry.leaf.encode(), max_depth=MAX_DEPTH)
        if not isinstance(leaf, dict) or canonicalize(leaf).decode() != entry.leaf:
            return ["the leaf is not the RFC 8785 form of an object"]
        found = [] if leaf.get("v") == LEAF_VERSION else [f"the leaf is not of version {LEAF_VERSION}"]
        if leaf.get("tenant") != self.header.tenant:
            found.append("the leaf is of another workspace")
        objects = leaf.get("objects")
        if not self._is_about(objects if isinstance(objects, dict) else {}):
            found.append(f"the leaf is of another {'thread' if self.header.request_id is None else 'request'}")
        return found + self._time(leaf.get("at")) + check_private(entry.private, leaf, self.report.private)

    def _is_about(self, objects: dict[str, object]) -> bool:
        """Whether a leaf with these objects is of the thread or the request that the header names."""
        if not all(isinstance(one, str) for one in objects.values()):
            return False
        if self.header.request_id is not None and objects.get("request") != self.header.request_id:
            return False
        if self.header.kind != "thread":
            return True
        self.names_thread |= objects.get("thread") == self.header.thread_id
        self.requests.add(objects.get("request"))
        about = objects.get("thread", self.header.thread_id) == self.header.thread_id
        return about and bool({"thread", "request"} & set(objects)) and len(self.requests - {None}) <= 1

    def _time(self, text: object) -> list[str]:
        report, at = self.report, parse_rfc3339(text if isinstance(text, str) else "")
        report.first_at = at if report.first_at is None else min(at, report.first_at)
        report.last_at = at if report.last_at is None else max(at, report.last_at)
        if (self.start is not None and at < self.start) or (self.to is not None and at >= self.to):
            return ["the entry is outside of the time that the header says"]
        return []

    def end(self) -> None:
        report, header, whole = self.report, self.header, self.header.kind == "tenant"
        if report.entries != header.entries:
            report.find(f"the header says {header.entries} entries, the file has {report.entries}")
        if header.kind == "thread" and report.entries and not self.names_thread:
            report.find("no entry names the thread of the header")
        if report.saved is not None:
            self._against(report.saved)
        if whole and self.tree.root() != self.checkpoint.root:
            unchanged = self.report.saved.size if self.report.saved is not None and self.report.extends_saved else 0
            report.find(
                f"the entries do not have the root of the checkpoint: one was changed, added, taken out or moved,"
                f" at index {unchanged} or later"
            )

    def _against(self, saved: Checkpoint) -> None:
        """Whether the checkpoint extends the saved one."""
        now = self.checkpoint
        if saved.origin != now.origin:
            self.report.find(f"the saved checkpoint is of another log, {quote(saved.origin)}")
        elif saved.size > now.size:
            self.report.find(
                f"the log had {saved.size} entries when the checkpoint was saved and has {now.size} here:"
                f" its tail was cut, or an old backup restored"
            )
        elif (problem := self._forked(saved, now)) is not None:
            self.report.find(problem)
        else:
            self.report.extends_saved = True

    def _forked(self, saved: Checkpoint, now: Checkpoint) -> str | None:
        forked = f"the first {saved.size} entries are not those of the saved checkpoint: history was changed or forked"
        if saved.size == now.size:
            return None if saved.root == now.root else forked
        if self.header.kind == "tenant":
            return None if self.root_when_saved == saved.root else forked
        if saved.size == 0:
            return None if saved.root == EMPTY_ROOT else forked
        offered = self.header.consistency
        if offered is None or offered.since != saved.size:
            return f"{NO_PROOF} of size {saved.size}: make the export again with --since and the saved checkpoint"
        try:
            proof = [parse_hash(one) for one in offered.proof]
        except Malformed as error:
            return error.detail
        return None if verify_consistency(saved.size, saved.root, now.size, now.root, proof) else forked
