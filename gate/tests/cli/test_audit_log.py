"""``audit checkpoint``, ``key`` and ``rotate-key`` on a database that no server runs on."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from gate.tests.cli.conftest import Shell
from typer.testing import CliRunner

from stacksona_gate.cli import app
from stacksona_gate.domain.checkpoints import open_checkpoint, parse_checkpoint
from stacksona_gate.domain.errors import Invalid
from stacksona_gate.domain.signed_notes import parse_verifier_key

TENANT = "default"


def test_a_checkpoint_covers_every_entry_and_verifies_with_the_key(shell: Shell, tmp_path: Path) -> None:
    shell.done("agent", "create", "support")
    shell.done("audit", "checkpoint", "--out", str(tmp_path / "saved"))
    shell.done("audit", "key", "--out", str(tmp_path / "log.key"))
    keys = [parse_verifier_key(line) for line in (tmp_path / "log.key").read_text().splitlines()]
    made = open_checkpoint((tmp_path / "saved").read_text(), keys)
    assert made.size == len(shell.stored(lambda tx: tx.audit.list_entries(TENANT, limit=1000)))


def test_a_saved_checkpoint_is_its_owners_alone_and_not_overwritten(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "saved"
    shell.done("audit", "checkpoint", "--out", str(out))
    before = out.read_text()
    shell.done("agent", "create", "support")
    assert "exists" in shell.refused("audit", "checkpoint", "--out", str(out))
    assert (out.read_text(), stat.S_IMODE(out.stat().st_mode)) == (before, 0o600)
    shell.done("audit", "checkpoint", "--out", str(out), "--force")
    assert parse_checkpoint(out.read_text()).size > parse_checkpoint(before).size


def test_without_a_file_the_note_and_the_key_are_printed(shell: Shell) -> None:
    note, key = shell.done("audit", "checkpoint"), shell.done("audit", "key")
    assert open_checkpoint(note, [parse_verifier_key(key)]).size > 0


def test_as_json_both_are_there_for_programs(shell: Shell) -> None:
    value = shell.json("audit", "checkpoint")
    made = open_checkpoint(value["checkpoint"], [parse_verifier_key(value["public_key"])])
    assert (made.origin, made.size) == (value["origin"], value["size"])
    assert shell.json("audit", "key") == {"public_keys": [value["public_key"]]}


def test_after_a_rotation_the_old_key_does_not_verify_what_comes(shell: Shell) -> None:
    old = parse_verifier_key(shell.done("audit", "key"))
    new = parse_verifier_key(shell.json("audit", "rotate-key")["public_key"])
    note = shell.done("audit", "checkpoint")
    assert open_checkpoint(note, [new]).size > 0
    with pytest.raises(Invalid):
        open_checkpoint(note, [old])
    assert shell.done("audit", "key").splitlines() == [str(new), str(old)]


def test_publishing_is_set_from_a_file_and_shown(shell: Shell, tmp_path: Path) -> None:
    assert "never" in shell.done("audit", "publishing")
    wanted = shell.json("audit", "publishing") | {"every_minutes": 30, "mail": ["audit@example.com"]}
    (tmp_path / "wanted.json").write_text(json.dumps(wanted))
    shell.done("audit", "publishing", "--set", str(tmp_path / "wanted.json"))
    assert shell.json("audit", "publishing") == wanted
    assert "every 30 minutes" in shell.done("audit", "publishing")


@pytest.mark.parametrize("text", ["{", '{"every": 1}', '{"every_minutes": -1}', '{"file": "../x"}'])
def test_publishing_that_is_wrong_changes_nothing(shell: Shell, tmp_path: Path, text: str) -> None:
    (tmp_path / "wanted.json").write_text(text)
    shell.refused("audit", "publishing", "--set", str(tmp_path / "wanted.json"))
    assert shell.json("audit", "publishing")["every_minutes"] == 0


@pytest.mark.parametrize("verb", ["checkpoint", "key", "rotate-key", "publishing"])
def test_every_command_says_what_it_does_and_takes_a_database(verb: str) -> None:
    result = CliRunner().invoke(app, ["audit", verb, "--help"])
    assert (result.exit_code, "--database URL" in result.stdout) == (0, True)
