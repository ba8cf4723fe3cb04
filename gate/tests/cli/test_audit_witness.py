"""The witness as a process of its own, asked by logs that are honest and by some that are not."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from gate.tests.cli.conftest import Shell
from gate.tests.cli.processes import COMMAND, PATIENCE, Running, running
from gate.tests.ports import free_port
from gate.tests.verify.logs import KEY, OTHER_KEY, OTHER_SECRET, Log, encoded, log_of

from stacksona_gate.domain.checkpoints import sign_checkpoint
from stacksona_gate.domain.merkle import EMPTY_ROOT, consistency_proof
from stacksona_gate.domain.signed_notes import VerifierKey, cosigned_at, parse_note, parse_verifier_key, verified_by

pytestmark = pytest.mark.slow

LOG: Final = log_of(40)
FORK: Final = log_of(40, variant_at=3)


def asked(log: Log, old: int, new: int, proof: Sequence[str] | None = None) -> bytes:
    """The body of a request."""
    hashes = encoded(consistency_proof(log.node, old, new)) if proof is None else proof
    return "\n".join((f"old {old}", *hashes, "", log.checkpoint(new).note)).encode()


@dataclass
class Asked:
    """A running witness."""

    process: Running
    port: int
    folder: Path
    key: VerifierKey

    def post(self, body: bytes, path: str = "/add-checkpoint", method: str = "POST") -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
        finally:
            connection.close()

    def status(self, body: bytes) -> int:
        return self.post(body)[0]

    def state(self) -> dict[str, str]:
        kept = json.loads((self.folder / "state").read_text())["checkpoints"]
        assert isinstance(kept, dict)
        return kept


@contextmanager
def witnessing(folder: Path) -> Iterator[Asked]:
    (folder / "log").write_text(f"{KEY}\n")
    port = free_port()
    files = ("--state", str(folder / "state"), "--key", str(folder / "key"), "--log", str(folder / "log"))
    with running(COMMAND, "audit", "witness", *files, "--port", str(port)) as process:
        told = process.line("Witness", str(port))
        yield Asked(process, port, folder, parse_verifier_key(told.split()[1]))


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key"
    with running(COMMAND, "audit", "witness", "--init-key", "--key", str(path), "--name", "witness.example/1") as made:
        made.line("witness.example/1+")
    return path


@pytest.fixture
def folder(tmp_path: Path, key_file: Path) -> Path:
    (tmp_path / "key").write_text(key_file.read_text())
    return tmp_path


@pytest.fixture
def witness(folder: Path) -> Iterator[Asked]:
    with witnessing(folder) as started:
        yield started


# The key


def test_a_key_is_made_for_its_owner_alone_and_never_over_another(shell: Shell, tmp_path: Path) -> None:
    told = shell.done("audit", "witness", "--init-key", "--key", "key")
    key = parse_verifier_key(told)
    assert key.name.startswith("stacksona-witness/")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    before = (tmp_path / "key").read_text()
    assert "File exists" in shell.refused("audit", "witness", "--init-key", "--key", "key")
    assert (tmp_path / "key").read_text() == before
    assert before.strip().split("+", 4)[-1] not in told


@pytest.mark.parametrize("name", ["a name", "a+b", "a\n"])
def test_a_name_that_no_note_can_hold_is_refused(shell: Shell, tmp_path: Path, name: str) -> None:
    shell.refused("audit", "witness", "--init-key", "--key", "key", "--name", name)
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("text", ["", "x", "PRIVATE+KEY+a+00000000+BAAA", "PRIVATE+KEY+{secret}"])
def test_what_is_no_key_is_refused_and_not_repeated(shell: Shell, tmp_path: Path, key_file: Path, text: str) -> None:
    secret = key_file.read_text().strip().removeprefix("PRIVATE+KEY+witness")
    (tmp_path / "key").write_text(text.format(secret=secret))
    said = shell.refused("audit", "witness", "--key", "key", "--state", "state")
    assert "no witness's key" in said
    assert secret not in said


def test_a_witness_without_a_state_file_or_with_a_witnesss_key_as_a_log_is_a_usage_error(
    shell: Shell, tmp_path: Path, key_file: Path
) -> None:
    shell.refused("audit", "witness", "--key", str(key_file), code=2)
    shell.refused("audit", "witness", "--key", str(key_file), "--state", "s", "--log", str(key_file), code=2)


# Answers


def test_a_growing_log_is_cosigned_at_each_step(witness: Asked) -> None:
    for old, new in ((0, 7), (7, 7), (7, 8), (8, 40)):
        status, _, line = witness.post(asked(LOG, old, new))
        assert status == 200
        note = parse_note(LOG.checkpoint(new).note + line)
        assert set(verified_by(note, [KEY, witness.key])) == {KEY, witness.key}
        assert cosigned_at(note.signatures[1]) > 1_700_000_000
    assert witness.state() == {KEY.name: LOG.checkpoint(40).note}


def test_an_empty_log_is_cosigned(witness: Asked) -> None:
    assert witness.status(asked(LOG, 0, 0)) == 200
    assert witness.status(asked(LOG, 0, 5)) == 200


def test_a_wrong_old_size_is_told_the_right_one(witness: Asked) -> None:
    assert witness.status(asked(LOG, 0, 7)) == 200
    for old in (0, 3, 8):
        assert witness.post(asked(LOG, old, 9)) == (409, "text/x.tlog.size", "7\n")


def test_a_rollback_is_refused(witness: Asked) -> None:
    assert witness.status(asked(LOG, 0, 7)) == 200
    assert witness.status(asked(LOG, 7, 5, [])) == 400
    assert witness.status(asked(LOG, 5, 5)) == 409
    assert witness.status(asked(LOG, 0, 5)) == 409
    assert witness.state() == {KEY.name: LOG.checkpoint(7).note}


def test_a_fork_is_refused_and_told(witness: Asked) -> None:
    assert witness.status(asked(LOG, 0, 7)) == 200
    assert witness.status(asked(FORK, 7, 7)) == 409
    assert witness.status(asked(FORK, 7, 9)) == 422
    assert witness.status(asked(LOG, 7, 9, encoded(consistency_proof(FORK.node, 7, 9)))) == 422
    assert witness.status(asked(LOG, 7, 9, [])) == 422
    witness.process.line("refused 422", json.dumps(FORK.checkpoint(9).note, ensure_ascii=False))
    assert witness.state() == {KEY.name: LOG.checkpoint(7).note}


def test_proofs_from_nothing_are_empty(witness: Asked) -> None:
    assert witness.status(asked(LOG, 0, 7, encoded([EMPTY_ROOT]))) == 422


def test_an_unknown_log_and_an_unknown_key_are_refused(witness: Asked) -> None:
    other = VerifierKey("stacksona-gate/gate_02/default", KEY.algorithm, KEY.public)
    assert witness.status(asked(Log(LOG.entries, key=other), 0, 7)) == 404
    assert witness.status(asked(Log(LOG.entries, OTHER_SECRET, OTHER_KEY), 0, 7)) == 403
    forged = sign_checkpoint(7, EMPTY_ROOT, KEY, OTHER_SECRET.sign)
    assert witness.status(f"old 0\n\n{forged.note}".encode()) == 403
    assert not (witness.folder / "state").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"\xff" + asked(LOG, 0, 7),
        asked(LOG, 0, 7).replace(b"old 0", b"old 00"),
        asked(LOG, 0, 7).replace(b"old 0", b"old -1"),
        asked(LOG, 0, 7).replace(b"old 0", b"old  0"),
        asked(LOG, 0, 7).replace(b"old 0", b"new 0"),
        asked(LOG, 0, 7).replace(b"\n", b"\r\n"),
        asked(LOG, 0, 7, ["x"]),
        asked(LOG, 0, 7, ["A" * 43 + "="] * 64),
        asked(LOG, 0, 7)[:-1],
        asked(LOG, 0, 7) + b"\n",
    ],
)
def test_a_malformed_request_is_refused(shared: Asked, body: bytes) -> None:
    assert shared.status(body) == 400


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, key_file: Path) -> Iterator[Asked]:
    """One witness for questions that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "key").write_text(key_file.read_text())
    with witnessing(folder) as started:
        yield started


def test_other_paths_methods_and_sizes_are_refused(shared: Asked) -> None:
    assert shared.post(b"", "/")[0] == 404
    assert shared.post(b"", "/add-checkpoint/")[0] == 404
    assert shared.post(b"", method="GET")[0] == 405
    assert shared.post(b"x" * 66_000)[0] == 413


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x00\xa5", b"400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET /add-checkpoint HTTP/1.1\r\n" + b"X: " + b"y" * 100_000, b"413"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", b"100"),
    ],
)
def test_bytes_that_are_no_decent_request_get_a_short_answer(shared: Asked, request_: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=PATIENCE) as connection:
        connection.sendall(request_)
        assert connection.recv(100).startswith(b"HTTP/1.1 " + status)
    assert shared.status(b"") == 400


def test_a_request_that_does_not_end_is_given_up(shared: Asked) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=PATIENCE) as connection:
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nold")
        assert shared.status(b"") == 400  # others are served meanwhile
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_connection_is_kept_for_the_next_request(witness: Asked) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", witness.port, timeout=PATIENCE)
    connection.connect()
    used = connection.sock
    for old, new in ((0, 3), (3, 4)):
        connection.request("POST", "/add-checkpoint", asked(LOG, old, new))
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
        assert connection.sock is used
    connection.close()


# Memory


def test_killed_at_any_moment_it_remembers_what_it_cosigned(folder: Path) -> None:
    cosigned = 0
    for _ in range(4):
        with witnessing(folder) as witness:
            assert witness.post(asked(LOG, 39, 40, []))[0] in (409, 422)
            for new in range(cosigned + 1, cosigned + 9):
                assert witness.status(asked(LOG, new - 1, new)) == 200
            cosigned += 8
            witness.process.end(signal.SIGKILL)
    with witnessing(folder) as witness:
        assert witness.post(asked(LOG, 0, 40))[2] == f"{cosigned}\n"
        assert witness.status(asked(FORK, cosigned, 40)) == 422


def test_of_histories_that_race_only_one_is_cosigned(witness: Asked) -> None:
    histories = [log_of(20, variant_at=at) for at in range(8)]
    statuses: dict[int, int] = {}
    start = threading.Barrier(len(histories))

    def submit(number: int) -> None:
        start.wait()
        statuses[number] = witness.status(asked(histories[number], 0, 20))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(len(histories))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses.values()) == [200] + [409] * 7
    (kept,) = (number for number, status in statuses.items() if status == 200)
    assert witness.state() == {KEY.name: histories[kept].checkpoint().note}


def test_one_state_has_one_witness(shell: Shell, witness: Asked) -> None:
    arguments = ("--state", str(witness.folder / "state"), "--key", str(witness.folder / "key"))
    assert "another witness" in shell.refused("audit", "witness", *arguments, "--port", str(free_port()))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": "x", "checkpoints": {}}',
        '{"format": "stacksona-witness-1", "checkpoints": {"a": "b"}}',
        json.dumps({"format": "stacksona-witness-1", "checkpoints": {"other": LOG.checkpoint().note}}),
    ],
)
def test_a_state_that_cannot_be_read_is_not_begun_anew(shell: Shell, folder: Path, content: str) -> None:
    (folder / "state").write_text(content)
    arguments = ("--state", str(folder / "state"), "--key", str(folder / "key"))
    assert "no state of a witness" in shell.refused("audit", "witness", *arguments, "--port", str(free_port()))
    assert (folder / "state").read_text() == content


def test_a_state_that_cannot_be_written_cosigns_nothing(witness: Asked) -> None:
    (witness.folder / "state.partial").mkdir()
    assert witness.status(asked(LOG, 0, 7)) == 500
    (witness.folder / "state.partial").rmdir()
    assert witness.status(asked(LOG, 0, 6)) == 200


def test_told_to_end_it_ends_well(witness: Asked) -> None:
    with socket.create_connection(("127.0.0.1", witness.port), timeout=PATIENCE):
        assert witness.status(b"") == 400
        assert witness.process.end(signal.SIGTERM) == 0
    assert witness.process.errors == []


def test_it_makes_no_database(witness: Asked) -> None:
    assert witness.status(asked(LOG, 0, 7)) == 200
    assert {path.name for path in witness.folder.iterdir()} == {"key", "log", "state", "state.lock"}
