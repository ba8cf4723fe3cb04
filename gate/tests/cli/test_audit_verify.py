"""What ``audit verify`` says to people and programs. What it finds is in verify/test_both_verifiers.py."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from gate.tests.cli.conftest import Shell
from gate.tests.verify.logs import KEY, OTHER_KEY, Json, document, erased, jsonl, log_of, page, redacted
from typer.testing import CliRunner

from stacksona_gate.cli import app
from stacksona_gate.domain.signed_notes import COSIGNATURE_V1, VerifierKey

LOG = log_of(12)
SELF = "this shows only that the file is consistent with itself"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with an export, a saved checkpoint and the log's key."""
    (tmp_path / "export").write_bytes(jsonl(erased(redacted(LOG.export(), 3), 8)))
    (tmp_path / "saved").write_text(LOG.checkpoint(5).note)
    (tmp_path / "key").write_text(f"{KEY}\n")
    return tmp_path


def test_a_sound_export_is_told_with_what_is_in_it(shell: Shell, written: Path) -> None:
    told = shell.done("audit", "verify", "export", "--checkpoint", "saved", "--key", "key").splitlines()
    assert told == [
        "sound",
        "key         the key that was given",
        f"log         {KEY.name}, size 12",
        "export      the whole log",
        "entries     12",
        "values      22 disclosed, 1 redacted, 1 erased",
        "time        2026-11-18T11:06:40Z to 2026-11-18T11:06:43.666666Z",
        "checkpoint  the log extends the saved one of size 5",
        "What is shown in the place of a redacted value is not proven.",
    ]


def test_without_a_key_it_says_plainly_what_is_not_shown(shell: Shell, written: Path) -> None:
    told = shell.done("audit", "verify", "export")
    assert SELF in told
    assert "No saved checkpoint was given" in told
    assert shell.json("audit", "verify", "export")["key"] == "file"


def test_a_saved_checkpoint_vouches_for_the_files_key(shell: Shell, written: Path) -> None:
    told = shell.json("audit", "verify", "export", "--checkpoint", "saved")
    assert (told["key"], told["checkpoint"]) == ("checkpoint", {"size": 5, "extended": True})
    assert SELF not in shell.done("audit", "verify", "export", "--checkpoint", "saved")


def test_a_part_says_what_it_leaves_out_and_what_is_not_proven(shell: Shell, written: Path) -> None:
    (written / "export").write_bytes(jsonl(LOG.export("range", [2, 3, 7])))
    assert "Only these entries are proven; 3 between" in shell.done("audit", "verify", "export")
    for content in (document(LOG.thread(1)), page(LOG.thread(1))):
        (written / "export").write_bytes(content)
        assert "What the export says around its entries is not proven." in shell.done("audit", "verify", "export")


def broken(shell: Shell, *arguments: str) -> Json:
    result = shell("audit", "verify", "export", *arguments, "--json")
    assert result.exit_code == 1, result.output
    told: Json = json.loads(result.stdout)
    assert told["sound"] is False
    return told


def test_a_changed_value_is_told_with_its_line_and_index(shell: Shell, written: Path) -> None:
    lines = LOG.export()
    lines[8]["private"]["address"]["value"] = "192.0.2.200"
    (written / "export").write_bytes(jsonl(lines))
    what = 'the private value "address" is not what the leaf committed to'
    assert broken(shell)["findings"] == [{"line": 9, "index": 7, "what": what}]
    result = shell("audit", "verify", "export")
    assert result.stdout.splitlines()[:2] == ["BROKEN", f"  line 9, index 7: {what}"]


def test_a_missing_row_is_told_where_it_was_due(shell: Shell, written: Path) -> None:
    lines = LOG.export()
    del lines[8]
    (written / "export").write_bytes(jsonl(lines))
    first = broken(shell)["findings"][0]
    assert (first["line"], first["index"]) == (9, 8)
    assert "index 7 is due here" in first["what"]


def test_a_changed_leaf_is_told_to_be_after_what_the_saved_checkpoint_holds(shell: Shell, written: Path) -> None:
    lines = LOG.export()
    lines[8]["leaf"] = lines[8]["leaf"].replace('"request":"req_1"', '"request":"req_9"')
    (written / "export").write_bytes(jsonl(lines))
    assert "at index 0 or later" in broken(shell)["findings"][0]["what"]
    assert "at index 5 or later" in broken(shell, "--checkpoint", "saved")["findings"][0]["what"]


def test_an_old_backup_and_a_fork_are_told_apart(shell: Shell, written: Path) -> None:
    (written / "export").write_bytes(jsonl(LOG.export(size=4)))
    assert "an old backup restored" in broken(shell, "--checkpoint", "saved")["findings"][0]["what"]
    (written / "export").write_bytes(jsonl(log_of(12, variant_at=4).export()))
    assert "history was changed or forked" in broken(shell, "--checkpoint", "saved")["findings"][0]["what"]


def test_a_part_without_a_proof_says_how_to_get_one(shell: Shell, written: Path) -> None:
    (written / "export").write_bytes(jsonl(LOG.thread(1)))
    assert "make the export again with --since" in broken(shell, "--checkpoint", "saved")["findings"][0]["what"]


def test_many_findings_are_counted_not_told(shell: Shell, written: Path) -> None:
    (written / "export").write_bytes(jsonl(LOG.export()[:1]) + b"{}\n" * 100)
    told = broken(shell)
    assert (len(told["findings"]), told["more_findings"]) == (20, 82)
    assert "  and 82 more" in shell("audit", "verify", "export").stdout


def test_hostile_text_is_told_on_one_line_in_quotes(shell: Shell, written: Path) -> None:
    lines = LOG.export()
    lines[1]["private"]["\x1b[2J\nsound"] = {}
    (written / "export").write_bytes(jsonl(lines))
    told = shell("audit", "verify", "export").stdout
    assert "\x1b" not in told
    assert told.startswith("BROKEN\n")
    assert "\nsound" not in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("none",),
        ("export", "--key", "none"),
        ("export", "--key", "export"),
        ("export", "--key", "saved"),
        ("export", "--key", "witness"),
        ("export", "--checkpoint", "none"),
        ("export", "--checkpoint", "key"),
        ("export", "--checkpoint", "bytes"),
        (),
    ],
)
def test_what_cannot_be_checked_is_a_usage_error(shell: Shell, written: Path, arguments: tuple[str, ...]) -> None:
    (written / "witness").write_text(str(VerifierKey("w", COSIGNATURE_V1, OTHER_KEY.public)))
    (written / "bytes").write_bytes(b"\xff")
    shell.refused("audit", "verify", *arguments, code=2)


def test_it_makes_no_database(shell: Shell, written: Path) -> None:
    shell.done("audit", "verify", "export")
    assert not (written / "gate.db").exists()


@pytest.mark.slow
def test_it_does_not_load_the_server(written: Path) -> None:
    program = (
        "import sys\n"
        "from stacksona_gate.cli import app\n"
        "app(['audit', 'verify', 'export'], standalone_mode=False)\n"
        "assert 'stacksona_gate.main' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=written, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_entries(written: Path) -> None:
    def peak(count: int) -> int:
        (written / "export").write_bytes(jsonl(log_of(count).export()))
        tracemalloc.start()
        try:
            assert CliRunner().invoke(app, ["audit", "verify", str(written / "export"), "--json"]).exit_code == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(6_000) < peak(600) + 100_000


def test_a_table_is_told_to_prove_nothing(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("# stacksona-audit-1 size=3\nindex,leaf\n0,x\n")
    result = shell("audit", "verify", "log.csv")
    assert result.exit_code == 1
    assert "a table, which proves nothing by itself" in result.output
