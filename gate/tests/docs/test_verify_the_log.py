"""The commands of the guide on verifying the log, one after the other, in one folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from gate.tests.cli.processes import COMMAND, command, running
from gate.tests.docs.pages import ROOT, blocks, page
from gate.tests.docs.shells import shell
from gate.tests.ports import free_port

from stacksona_gate.domain.checkpoints import open_checkpoint
from stacksona_gate.domain.signed_notes import parse_note, parse_verifier_key, verified_by

pytestmark = pytest.mark.slow

GUIDE: Final = blocks(page("docs/how-to/verify-the-audit-log.md"), "sh")


def block(*parts: str) -> str:
    """The one block that has these parts."""
    (found,) = (text for text in GUIDE if all(part in text for part in parts))
    return found


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder with a gate's database, and a shell in it."""

    folder: Path

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder}/gate.db"

    def shell(self, text: str, *, fails: int = 0) -> str:
        return shell(text, self.folder, {"STACKSONA_DATABASE_URL": self.database}, fails=fails)

    def happen(self, name: str) -> None:
        """Something that the log records."""
        assert command("agent", "create", name, "--database", self.database).returncode == 0


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "conformance/audit").mkdir(parents=True)
    shutil.copy(ROOT / "conformance/audit/verify_export.py", tmp_path / "conformance/audit")
    desk = Desk(tmp_path)
    desk.happen("first")
    desk.shell(block("audit key"))
    desk.happen("second")
    return desk


def test_exports_are_sound_by_both_verifiers(desk: Desk) -> None:
    assert desk.shell(block("whole.jsonl", "audit export")).splitlines()[2:3] == ["sound"]
    assert "the log extends the saved one" in desk.shell(block("part.jsonl"))
    assert desk.shell(block("verify_export.py")).startswith("sound: True\n")


def test_a_changed_export_is_broken_by_both_verifiers(desk: Desk) -> None:
    desk.shell(block("whole.jsonl", "audit export"))
    desk.shell("sed -i 's/agent.created/agent.changed/' whole.jsonl")
    assert desk.shell(block("whole.jsonl", "audit export").splitlines()[1], fails=1).startswith("BROKEN\n")
    assert desk.shell(block("verify_export.py"), fails=1).startswith("sound: False\n")


def test_a_witness_cosigns_the_first_checkpoint_and_the_next(desk: Desk) -> None:
    desk.shell(block("--init-key"))
    port = free_port()
    serve = block("--state").split()
    with running("env", "-C", str(desk.folder), COMMAND, *serve[1:], "--port", str(port)) as witness:
        witness.line("Witness", str(port))
        desk.shell(block("first.request").replace("8431", str(port)))
        line = desk.shell(block("next.request").replace("8431", str(port)))
    keys = [parse_verifier_key((desk.folder / name).read_text()) for name in ("log.key", "witness.vkey")]
    witnessed = (desk.folder / "witnessed.checkpoint").read_text()
    assert set(verified_by(parse_note(witnessed), keys)) == set(keys)
    assert open_checkpoint(witnessed, keys).size > 0
    assert line.splitlines()[-1].startswith("— witness.example/1 ")
    desk.shell(block("whole.jsonl", "audit export").replace("saved.checkpoint", "witnessed.checkpoint"))


def test_the_guide_has_no_commands_that_are_not_run_here() -> None:
    run = [
        "audit key",
        "whole.jsonl",
        "part.jsonl",
        "verify_export.py",
        "--init-key",
        "--state",
        "first.req",
        "next.req",
    ]
    assert [text for text in GUIDE if not any(part in text for part in run)] == []
