"""Mail through the operator's server: plain text, one message, TLS wherever the server offers it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

SECONDS: Final = 15.0
SUBMISSION: Final = 587
TLS_SUBMISSION: Final = 465


class MailRefused(Exception):
    """No mail went out. The message names neither server nor password."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """``smtp://`` upgrades by STARTTLS where the server offers it; ``smtps://`` is TLS from the first byte."""

    host: str
    port: int
    tls: bool
    user: str
    password: str
    sender: str


def mail_server(url: str) -> MailServer:
    """``smtp[s]://[user:password@]host[:port][?from=address]``. Raises ValueError, which does not quote it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("not an address") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("not smtp:// or smtps:// and a host")
    tls, user = parts.scheme == "smtps", unquote(parts.username or "")
    sender = parse_qs(parts.query).get("from", [user if "@" in user else f"stacksona-gate@{parts.hostname}"])[0]
    if not sender.isascii() or not sender.isprintable() or sender.count("@") != 1:
        raise ValueError("from= is no mail address")
    default = TLS_SUBMISSION if tls else SUBMISSION
    return MailServer(parts.hostname, port or default, tls, user, unquote(parts.password or ""), sender)


class Post:
    """Sends mail, in a thread."""

    def __init__(self, server: MailServer, *, context: ssl.SSLContext | None = None) -> None:
        """``context``: whom TLS trusts."""
        self._server = server
        self._context = context

    async def send(self, to: Sequence[str], subject: str, text: str) -> None:
        """Returns when the server has taken it for every address. Raises MailRefused."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._server.sender, ", ".join(to), subject
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="stacksona-gate.invalid")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text, charset="utf-8")
        try:
            async with asyncio.timeout(4 * SECONDS):
                await asyncio.to_thread(self._send, message)
        except OSError as error:  # the library's own errors are among them
            raise MailRefused(f"the mail server did not take it ({type(error).__name__})") from None

    def _send(self, message: EmailMessage) -> None:
        import smtplib  # with the first mail, and not with the gate

        server = self._server
        context = self._context or ssl.create_default_context()
        if server.tls:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS, context=context)
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=SECONDS)
        with connection:
            connection.ehlo()
            if not server.tls and connection.has_extn("starttls"):
                connection.starttls(context=context)
                connection.ehlo()
            elif not server.tls and server.user:
                raise smtplib.SMTPNotSupportedError("a password is sent over TLS only")
            if server.user:
                connection.login(server.user, server.password)
            refused = connection.send_message(message)
            if refused:
                raise smtplib.SMTPRecipientsRefused(refused)
