"""Checkpoints on their way out: to a real witness, real HTTP and SMTP servers on loopback, and a folder."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from gate.tests.delivery.receivers import OK, Authority, hangs, receiving, says
from gate.tests.factories import PATIENCE, TENANT, World, second_tenant

from stacksona_gate.delivery.addresses import AddressGuard
from stacksona_gate.delivery.mail import MailRefused, MailServer, Post, mail_server
from stacksona_gate.delivery.publishing import Publisher
from stacksona_gate.delivery.sender import Sender
from stacksona_gate.domain.audit import COMMAND_LINE
from stacksona_gate.domain.checkpoints import Checkpoint, open_checkpoint
from stacksona_gate.domain.sealed_log import KeptCheckpoint
from stacksona_gate.domain.signed_notes import VerifierKey, parse_note, verified_by
from stacksona_gate.service.log import seal_now
from stacksona_gate.service.log_keys import verifier_keys
from stacksona_gate.service.publishing import Publishing, WitnessAddress, change_publishing
from stacksona_gate.verify.witness import Memory, Witness
from stacksona_gate.verify.witness_keys import make_key, read_key
from stacksona_gate.verify.witness_server import WitnessServer

MINUTE = 60.0


def publisher(
    w: World, *, folder: Path | None = None, post: Post | None = None, allowed: str = "127.0.0.0/8"
) -> Publisher:
    return Publisher(w.gate, Sender(AddressGuard.of(allowed, "")), folder=folder, post=post)


async def configure(w: World, tenant_id: str = TENANT, **given: Any) -> None:
    wanted = Publishing(**given)
    await w.write(lambda tx: change_publishing(tx, w.env, COMMAND_LINE, tenant_id, wanted))


async def sealed(w: World) -> Checkpoint:
    await w.ask(100)
    return await seal_now(w.gate, TENANT)


async def kept(w: World, size: int) -> KeptCheckpoint:
    found = await w.read(lambda tx: tx.log.find_checkpoint(TENANT, size))
    assert found is not None
    return found


async def notices(w: World) -> list[str]:
    return [one.text for one in await w.read(lambda tx: tx.notices.list_open(TENANT, 10))]


async def is_signed(w: World, note: str) -> bool:
    keys = await w.read(lambda tx: verifier_keys(tx, TENANT))
    return open_checkpoint(note, keys).size > 0


# Files


async def test_a_checkpoint_is_written_below_the_workspaces_own_folder(w: World, tmp_path: Path) -> None:
    await configure(w, file="{size}.txt")
    made = await sealed(w)
    done = await publisher(w, folder=tmp_path).publish(TENANT)
    assert done is not None
    assert not done.failed
    assert (tmp_path / TENANT / f"{made.size}.txt").read_text() == made.note
    assert (await kept(w, made.size)).published_at == w.env.now()


async def test_a_file_of_one_name_always_has_the_newest_checkpoint(w: World, tmp_path: Path) -> None:
    await configure(w, file="deeper/latest.txt")
    for _ in range(2):
        made = await sealed(w)
        await publisher(w, folder=tmp_path).publish(TENANT)
    assert [path.name for path in (tmp_path / TENANT / "deeper").iterdir()] == ["latest.txt"]
    assert (tmp_path / TENANT / "deeper/latest.txt").read_text() == made.note


async def test_a_link_does_not_lead_out_of_the_folder(w: World, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "checkpoints", tmp_path / "elsewhere"
    (folder / TENANT).mkdir(parents=True)
    elsewhere.mkdir()
    (folder / TENANT / "out").symlink_to(elsewhere)
    await configure(w, file="out/deeper/{size}.txt")
    await sealed(w)
    done = await publisher(w, folder=folder).publish(TENANT)
    assert done is not None
    assert done.failed == ("file",)
    assert list(elsewhere.iterdir()) == []


async def test_without_a_folder_of_the_operators_nothing_is_written_and_admins_are_told_once(w: World) -> None:
    await configure(w, file="{size}.txt")
    made = await sealed(w)
    out = publisher(w)
    for _ in range(2):
        done = await out.publish(TENANT)
        assert done is not None
        assert done.failed == ("file",)
    assert len(await notices(w)) == 1
    assert (await kept(w, made.size)).published_at is None


# HTTP


async def test_a_checkpoint_is_posted_as_it_is(w: World) -> None:
    made = await sealed(w)
    async with receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/log")
        done = await publisher(w).publish(TENANT)
    assert done is not None
    assert done.succeeded
    assert receiver.bodies == [made.note.encode()]
    assert receiver.headers()["content-type"] == "text/plain; charset=utf-8"


async def test_no_checkpoint_goes_to_an_address_that_the_guard_refuses(w: World) -> None:
    await sealed(w)
    async with receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/log")
        done = await publisher(w, allowed="").publish(TENANT)
    assert done is not None
    assert done.failed == ("HTTP",)
    assert receiver.connections == 0


async def test_an_endpoint_that_refuses_is_told_to_the_admins_and_tried_again(w: World) -> None:
    await sealed(w)
    out = publisher(w)
    async with receiving(says(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")) as broken:
        await configure(w, url=f"http://127.0.0.1:{broken.port}/")
        await out.publish(TENANT)
    assert [text for text in await notices(w) if "HTTP" in text]
    async with receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/")
        done = await out.publish(TENANT)
    assert done is not None
    assert not done.failed


async def test_sealing_does_not_wait_for_an_endpoint_that_hangs(w: World) -> None:
    made = await sealed(w)
    async with receiving(hangs) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/")
        publishing = asyncio.create_task(publisher(w).publish(TENANT))
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE)
        later = await asyncio.wait_for(sealed(w), PATIENCE)
        assert not publishing.done()
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    assert later.size > made.size


async def test_a_checkpoint_that_was_superseded_while_it_went_out_is_kept(w: World) -> None:
    made = await sealed(w)

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await sealed(w)
        writer.write(OK)

    async with receiving(slowly) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/")
        await publisher(w).publish(TENANT)
    assert (await kept(w, made.size)).published_at is not None


# The schedule


async def test_nothing_is_due_where_nobody_has_set_a_schedule(w: World, tmp_path: Path) -> None:
    await configure(w, file="{size}.txt")
    await sealed(w)
    await rounds(publisher(w, folder=tmp_path))
    assert published(tmp_path) == set()


async def test_what_is_new_is_published_every_so_many_minutes(w: World, tmp_path: Path) -> None:
    await configure(w, file="{size}.txt", every_minutes=10)
    out, first = publisher(w, folder=tmp_path), await sealed(w)
    await rounds(out)
    second = await sealed(w)
    await rounds(out)
    assert published(tmp_path) == {first.size}
    w.clock.advance(10 * MINUTE)
    await rounds(out)
    assert published(tmp_path) == {first.size, second.size}


async def test_what_is_not_new_is_not_published_again(w: World) -> None:
    await sealed(w)
    async with receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/", every_minutes=1)
        await seal_now(w.gate, TENANT)
        out = publisher(w)
        for _ in range(3):
            await rounds(out)
            w.clock.advance(MINUTE)
    assert receiver.connections == 1


async def test_a_workspace_whose_endpoint_hangs_does_not_delay_another(w: World) -> None:
    await second_tenant(w, "other")
    await sealed(w)
    await seal_now(w.gate, "other")
    async with receiving(hangs) as stuck, receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{stuck.port}/", every_minutes=1)
        await configure(w, "other", url=f"http://127.0.0.1:{receiver.port}/", every_minutes=1)
        out = publisher(w)
        await out.round()
        await asyncio.wait_for(stuck.arrived.wait(), PATIENCE)
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE)
        await out.stop()


async def test_two_processes_publish_it_once(w: World) -> None:
    await sealed(w)
    async with receiving(hangs) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/")
        first = asyncio.create_task(publisher(w).publish(TENANT))
        await asyncio.wait_for(receiver.arrived.wait(), PATIENCE)
        assert await publisher(w).publish(TENANT) is None
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def rounds(out: Publisher) -> None:
    """A round, and what it began to its end."""
    await out.round()
    await asyncio.gather(*out._running.values())


def published(folder: Path) -> set[int]:
    return {int(path.stem) for path in (folder / TENANT).glob("*.txt")}


# Witnesses


@dataclass
class Seen:
    """A witness and what it was asked."""

    address: WitnessAddress
    key: VerifierKey
    bodies: list[bytes] = field(default_factory=list)

    def olds(self) -> list[bytes]:
        return [body.split(b"\n", 1)[0] for body in self.bodies]


@asynccontextmanager
async def witness(w: World, folder: Path, name: str = "witness.example") -> AsyncIterator[Seen]:
    """A real one, that knows this log."""
    key = make_key(folder / f"{name}.key", name)
    _, sign = read_key(folder / f"{name}.key")
    logs = await w.read(lambda tx: verifier_keys(tx, TENANT))
    memory = Memory(folder / f"{name}.state")
    own = Witness(key, sign, logs, memory, lambda: 1_795_694_400, lambda line: None)
    seen = Seen(WitnessAddress(name, "", str(key)), key)

    def answer(body: bytes) -> Any:
        seen.bodies.append(body)
        return own.add_checkpoint(body)

    server = await WitnessServer(answer).start("127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen.address = WitnessAddress(name, f"http://127.0.0.1:{port}/", str(key))
    try:
        yield seen
    finally:
        server.close()
        memory.close()


async def test_a_witness_cosigns_and_the_cosigned_note_goes_out(w: World, tmp_path: Path) -> None:
    made = await sealed(w)
    async with witness(w, tmp_path) as one, witness(w, tmp_path, "second") as two, receiving(says(OK)) as receiver:
        await configure(w, url=f"http://127.0.0.1:{receiver.port}/", witnesses=(one.address, two.address))
        done = await publisher(w).publish(TENANT)
    assert done is not None
    assert not done.failed
    note = (await kept(w, made.size)).note
    assert receiver.bodies == [note.encode()]
    assert set(verified_by(parse_note(note), [one.key, two.key])) == {one.key, two.key}
    assert await is_signed(w, note)


async def test_a_witness_is_asked_from_the_size_that_it_last_acknowledged(w: World, tmp_path: Path) -> None:
    out = publisher(w)
    async with witness(w, tmp_path) as one:
        await configure(w, witnesses=(one.address,))
        sizes = []
        for _ in range(3):
            sizes.append((await sealed(w)).size)
            done = await out.publish(TENANT)
            assert done is not None
            assert not done.failed
    assert one.olds() == [f"old {size}".encode() for size in (0, *sizes[:2])]


async def test_a_witness_that_knows_more_than_we_remember_is_asked_from_there(w: World, tmp_path: Path) -> None:
    out = publisher(w)
    async with witness(w, tmp_path) as one:
        await configure(w, witnesses=(one.address,))
        first = await sealed(w)
        await out.publish(TENANT)
        await w.write(lambda tx: tx.tenants.set_setting(TENANT, "publishing.state", "{}"))
        await sealed(w)
        done = await out.publish(TENANT)
    assert done is not None
    assert not done.failed
    assert one.olds() == [b"old 0", b"old 0", f"old {first.size}".encode()]


async def test_a_witness_that_has_seen_a_longer_log_is_told_to_the_admins(w: World, tmp_path: Path) -> None:
    await sealed(w)
    reply = b"HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\nContent-Length: 5\r\n\r\n9999\n"
    async with witness(w, tmp_path) as one, receiving(says(reply)) as liar:
        address = WitnessAddress("ahead", f"http://127.0.0.1:{liar.port}", str(one.key))
        await configure(w, witnesses=(address,))
        done = await publisher(w).publish(TENANT)
    assert done is not None
    assert (done.failed, done.cosignatures) == (("witness",), ())
    assert liar.connections == 1
    assert any("witness" in text for text in await notices(w))


@pytest.mark.parametrize("answer", ["other key", "other text", "garbage", "empty", "binary"])
async def test_what_is_not_the_witnesss_own_signature_is_not_taken(w: World, tmp_path: Path, answer: str) -> None:
    made = await sealed(w)
    key, other = make_key(tmp_path / "a", "witness"), make_key(tmp_path / "b", "witness")
    body = _wrong_answers(tmp_path, key, other, made)[answer]
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with receiving(says(reply)) as receiver:
        await configure(w, witnesses=(WitnessAddress("w", f"http://127.0.0.1:{receiver.port}", str(key)),))
        done = await publisher(w).publish(TENANT)
    assert done is not None
    assert (done.failed, done.acknowledged) == (("witness",), {})
    assert (await kept(w, made.size)).note == made.note


def _wrong_answers(folder: Path, key: VerifierKey, other: VerifierKey, made: Checkpoint) -> dict[str, bytes]:
    from stacksona_gate.domain.signed_notes import cosignature

    text = parse_note(made.note).text
    _, sign = read_key(folder / "a")
    _, foreign = read_key(folder / "b")
    return {
        "other key": str(cosignature(text, other, foreign, 1)).encode(),
        "other text": str(cosignature(text.replace("stacksona", "stacksina"), key, sign, 1)).encode(),
        "garbage": b"<html>",
        "empty": b"",
        "binary": b"\xff\xfe",
    }


# Mail


@dataclass
class Box:
    """What a mail server took."""

    messages: list[Any] = field(default_factory=list)
    tls: list[bool] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    refuse: str = ""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address == self.refuse:
            return "550 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.messages.append((envelope.mail_from, list(envelope.rcpt_tos), parsed))
        self.tls.append(session.ssl is not None)
        return "250 OK"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"s3cret")


@asynccontextmanager
async def mailing(
    box: Box, tls: ssl.SSLContext | None = None, *, needs_login: bool = False, in_the_clear: bool = False
) -> AsyncIterator[int]:
    """A real SMTP server on loopback; offers STARTTLS when it has a certificate. Its port."""

    def served() -> SMTP:
        return SMTP(
            box,
            hostname="mail.test",
            tls_context=tls,
            authenticator=box.login,
            auth_required=needs_login,
            auth_require_tls=not in_the_clear,
        )

    server = await asyncio.get_running_loop().create_server(served, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def server_at(port: int, *, user: str = "", password: str = "") -> MailServer:
    return MailServer("127.0.0.1", port, False, user, password, "gate@example.com")


async def test_a_checkpoint_goes_out_by_mail(w: World) -> None:
    made = await sealed(w)
    await configure(w, mail=("audit@example.com", "second@example.org"))
    box = Box()
    async with mailing(box) as port:
        done = await publisher(w, post=Post(server_at(port))).publish(TENANT)
    assert done is not None
    assert not done.failed
    ((sender, to, message),) = box.messages
    assert (sender, to) == ("gate@example.com", ["audit@example.com", "second@example.org"])
    assert message["Subject"] == f"Checkpoint of the audit log: {made.size} entries"
    assert message.get_content().replace("\r\n", "\n") == made.note
    assert await is_signed(w, message.get_content().replace("\r\n", "\n"))


async def test_where_tls_is_offered_it_is_used_and_the_password_goes_over_it(tmp_path: Path) -> None:
    authority, box = Authority(tmp_path), Box()
    async with mailing(box, authority.serving("127.0.0.1"), needs_login=True) as port:
        post = Post(server_at(port, user="gate", password="s3cret"), context=authority.trusting())
        await post.send(["audit@example.com"], "subject", "text\n")
    assert (box.tls, box.logins) == ([True], [(b"gate", b"s3cret")])


async def test_a_server_that_cannot_be_trusted_gets_neither_mail_nor_password(tmp_path: Path) -> None:
    box = Box()
    async with mailing(box, Authority(tmp_path).serving("127.0.0.1")) as port:
        post = Post(server_at(port, user="gate", password="s3cret"))
        with pytest.raises(MailRefused):
            await post.send(["audit@example.com"], "subject", "text\n")
    assert (box.messages, box.logins) == ([], [])


async def test_a_password_is_not_sent_in_the_clear() -> None:
    box = Box()
    async with mailing(box, in_the_clear=True) as port:
        post = Post(server_at(port, user="gate", password="s3cret"))
        with pytest.raises(MailRefused) as refused:
            await post.send(["audit@example.com"], "subject", "text\n")
    assert (box.messages, box.logins) == ([], [])
    assert "s3cret" not in str(refused.value)


async def test_one_address_that_is_refused_counts_as_a_failure() -> None:
    box = Box(refuse="nobody@example.com")
    async with mailing(box) as port:
        with pytest.raises(MailRefused):
            await Post(server_at(port)).send(["audit@example.com", "nobody@example.com"], "subject", "text\n")


async def test_a_mail_server_that_is_not_there_is_told_to_the_admins(w: World) -> None:
    await sealed(w)
    await configure(w, mail=("audit@example.com",))
    done = await publisher(w, post=Post(server_at(1))).publish(TENANT)
    assert done is not None
    assert done.failed == ("mail",)
    assert any("mail" in text for text in await notices(w))


@pytest.mark.parametrize(
    ("url", "server"),
    [
        (
            "smtp://mail.example.com",
            MailServer("mail.example.com", 587, False, "", "", "stacksona-gate@mail.example.com"),
        ),
        ("smtps://a%40b.com:p%2Fw@m.example:99", MailServer("m.example", 99, True, "a@b.com", "p/w", "a@b.com")),
        ("smtp://m.example:25?from=gate@x.org", MailServer("m.example", 25, False, "", "", "gate@x.org")),
    ],
)
def test_a_mail_servers_address_is_read(url: str, server: MailServer) -> None:
    assert mail_server(url) == server


@pytest.mark.parametrize(
    "url",
    ["http://s3cret@m", "smtp://", "smtp://u:s3cret@m:port", "smtp://u:s3cret@m/path", "smtp://u:s3cret@m?from=a%0ab"],
)
def test_an_address_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError) as refused:
        mail_server(url)
    assert "s3cret" not in str(refused.value)
