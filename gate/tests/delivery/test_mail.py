"""Checkpoints by mail: what is sent, to whom, and how it is kept from others."""

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
from gate.tests.delivery.publishers import configure, is_signed, notices, publisher, sealed
from gate.tests.delivery.receivers import Authority
from gate.tests.factories import TENANT, World

from stacksona_gate.delivery.mail import MailRefused, MailServer, Post, mail_server


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
