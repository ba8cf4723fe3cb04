"""One connection for one call, to an address and not to a name: what the HTTP library does and does not get to decide.

Importing this loads the HTTP library, a quarter of a second: the sender does it in a thread, with the first call.
"""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httpcore2
import httpx2
from httpcore2 import AnyIOBackend, AsyncConnectionPool, AsyncHTTPProxy, AsyncNetworkBackend, AsyncNetworkStream

BODY_MOST: Final = 1024
"""Bytes of an answer's body that are read and kept."""
ANSWER_MOST: Final = 128 * 1024
"""Bytes of an answer as it comes over the wire, headers, interim answers and chunk framing included."""
READ_MOST: Final = 16 * 1024
"""Bytes at once."""

CONNECT_SECONDS: Final = 5.0
"""For one address, and again for its TLS handshake."""

type Fields = list[tuple[bytes, bytes]]

# At level debug it would write addresses and signatures into the log.
logging.getLogger("httpcore2").setLevel(logging.WARNING)


class TooLarge(Exception):
    """The answer is over ANSWER_MOST bytes."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart, once, by the library that also writes the request."""

    scheme: bytes
    host: str
    """As the guard takes it: ASCII, lower case, no brackets."""
    port: int
    path: bytes
    """With the query, percent-encoded."""
    authority: bytes
    """What the Host header says."""


def target(url: str) -> Target | None:
    """None for what is no http or https address, or carries a user or a password."""
    try:
        read = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError):
        return None
    port = read.port if read.port is not None else {"https": 443, "http": 80}.get(read.scheme, 0)
    if read.scheme not in ("http", "https") or not read.raw_host or read.userinfo or not 1 <= port <= 65_535:
        return None
    return Target(read.raw_scheme, read.raw_host.decode("ascii"), port, read.raw_path, read.netloc)


def default_context() -> ssl.SSLContext:
    """Trusts what the machine trusts, or what ``SSL_CERT_FILE`` names. Takes some 30 ms: one for all calls."""
    return ssl.create_default_context()


@dataclass(slots=True)
class Heard:
    """The answer as far as it has come."""

    status: int | None = None
    retry_after: str | None = None
    body: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent, and by which ways."""

    method: str
    to: Target
    fields: Fields
    body: bytes
    context: ssl.SSLContext
    """Whom TLS trusts."""
    proxy: str | None

    async def exchange(self, addresses: Sequence[str], heard: Heard) -> None:
        """Fills ``heard`` from the first of the addresses that lets itself be reached. Raises what ``fault`` names.

        The next address is tried only while nothing was sent.
        """
        for address in addresses[:-1]:
            try:
                return await self._exchange(address, heard)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        await self._exchange(addresses[-1], heard)

    async def _exchange(self, address: str, heard: Heard) -> None:
        async with self._pool() as pool:
            response = await pool.handle_async_request(self._request(address))
            heard.status = response.status
            named = (value for name, value in response.headers if name.lower() == b"retry-after")
            heard.retry_after = next(named, b"").decode("latin-1") or None
            async with aclosing(
                cast("AsyncGenerator[bytes]", aiter(cast("AsyncIterable[bytes]", response.stream)))
            ) as read:
                async for chunk in read:
                    heard.body += chunk[: BODY_MOST - len(heard.body)]
                    if len(heard.body) >= BODY_MOST:
                        break

    def _pool(self) -> AsyncConnectionPool:
        """For one connection: nothing is kept for a next call, so that each goes to the address checked for it."""
        if self.proxy is None:
            return AsyncConnectionPool(ssl_context=self.context, network_backend=Bounded())
        through = httpx2.Proxy(self.proxy)
        return AsyncHTTPProxy(
            proxy_url=httpcore2.URL(str(through.url)),
            proxy_auth=through.raw_auth,
            ssl_context=self.context,
            network_backend=Bounded(),
        )

    def _request(self, address: str) -> httpcore2.Request:
        """To the address, for the host: its name is in the Host header, and in the TLS handshake, which verifies it."""
        bracketed = self.proxy is not None and ":" in address  # a proxy reads it in a URL, a socket does not
        return httpcore2.Request(
            self.method,
            httpcore2.URL(
                scheme=self.to.scheme,
                host=f"[{address}]" if bracketed else address,
                port=self.to.port,
                target=self.to.path,
            ),
            headers=[(b"Host", self.to.authority), *self.fields],
            content=self.body,
            extensions={"timeout": {"connect": CONNECT_SECONDS}, "sni_hostname": self.to.host},
        )


class Bounded(AsyncNetworkBackend):
    """Connections that give at most ANSWER_MOST bytes."""

    def __init__(self) -> None:
        self._under = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        return BoundedStream(await self._under.connect_tcp(host, port, timeout, local_address, socket_options))


class BoundedStream(AsyncNetworkStream):
    def __init__(self, under: AsyncNetworkStream) -> None:
        self._under = under
        self._left = ANSWER_MOST

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        read = await self._under.read(min(max_bytes, READ_MOST), timeout)
        self._left -= len(read)
        if self._left < 0:
            raise TooLarge
        return read

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._under.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._under.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncNetworkStream:
        try:
            return BoundedStream(await self._under.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:  # the library closes it after an error, and leaves it open when the call is over
            await self._under.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._under.get_extra_info(info)


_SYSTEM: Final[Mapping[int | None, str]] = {
    errno.ECONNREFUSED: "connection refused",
    errno.ENETUNREACH: "network unreachable",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ETIMEDOUT: "timed out",
}


_ENDED_EARLY: Final = ("Server disconnected", "peer closed connection", "peer unexpectedly closed connection")
"""How the library's messages begin, which has no types for it."""


def fault(error: Exception, *, proxied: bool = False) -> str:
    """What went wrong, as a short stable phrase. Nothing of the error's own text, which may quote the call."""
    if isinstance(error, TooLarge):
        return "answer too large"
    if isinstance(error, TimeoutError | httpcore2.TimeoutException):
        return "timed out"
    if isinstance(error, httpcore2.ProxyError):
        return "refused by the outgoing proxy"
    if isinstance(error, httpcore2.ConnectError):
        said = _connect_fault(error)
        return said if said.startswith("TLS") or not proxied else f"outgoing proxy: {said}"
    if isinstance(error, httpcore2.RemoteProtocolError) and not str(error).startswith(_ENDED_EARLY):
        return "malformed answer"
    if isinstance(error, httpcore2.NetworkError | httpcore2.RemoteProtocolError):
        return "connection closed before the whole answer"
    return "not sent"


def _connect_fault(error: BaseException) -> str:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {_certificate_fault(cause)}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {(cause.reason or 'handshake failed').replace('_', ' ').lower()}"
        if isinstance(cause, OSError) and cause.errno in _SYSTEM:
            return _SYSTEM[cause.errno]
    return "connection failed"


def _certificate_fault(error: ssl.SSLCertVerificationError) -> str:
    """The library's words quote the host and, for some causes, the certificate."""
    if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return "the certificate is for another host"
    if error.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
        return "the certificate has expired"
    return "the certificate is not trusted"


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
