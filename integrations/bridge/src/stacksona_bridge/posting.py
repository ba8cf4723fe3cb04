"""Posts a wake-up to an address: one that the settings name, or one of a thread that passes the guard."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import httpx2

from stacksona_bridge.addresses import AddressGuard, AddressRefused
from stacksona_bridge.settings import Prefix

SECONDS: Final = 5.0
ADDRESSES_TRIED: Final = 2
URL_MOST: Final = 1000
_PLAIN: Final = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?(?:\?[!-\[\]-~]*)?")


class NotAllowed(Exception):
    """The address is on no list, or not public. Trying again does not help."""


class NotReached(Exception):
    """No answer that says yes. ``status`` is None when there was none at all."""

    def __init__(self, status: int | None) -> None:
        super().__init__("no answer" if status is None else f"it answers {status}")
        self.status = status


def allowed(text: str, prefixes: Sequence[Prefix]) -> httpx2.URL:
    """The address, written plainly and below one of the prefixes. Raises NotAllowed.

    What is compared is what is called: the library has taken ``..`` out of the path by then.
    """
    if len(text) > URL_MOST or not _PLAIN.fullmatch(text):
        raise NotAllowed("the address is not written plainly")
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, UnicodeError):
        raise NotAllowed("the address is none") from None
    if not any(_is_below(url, prefix) for prefix in prefixes):
        raise NotAllowed("the address is not on the list BRIDGE_RESUME_URLS")
    return url


def _is_below(url: httpx2.URL, prefix: Prefix) -> bool:
    port = url.port or (443 if url.scheme == "https" else 80)
    if (url.scheme, url.host.lower(), port) != (prefix.scheme, prefix.host, prefix.port):
        return False
    return url.path == prefix.path or url.path.startswith(prefix.path.rstrip("/") + "/")


class Poster:
    """``client`` follows no redirects and uses no proxy of the environment."""

    def __init__(self, client: httpx2.AsyncClient, guard: AddressGuard) -> None:
        self._client = client
        self._guard = guard

    async def post(self, url: str, body: bytes) -> None:
        """To an address of the settings. Raises NotReached."""
        await self._post(httpx2.URL(url), body, {}, {})

    async def post_guarded(self, url: httpx2.URL, body: bytes) -> None:
        """To exactly the address that the guard has checked. Raises NotAllowed, NotReached."""
        host = url.host
        try:
            addresses = await self._guard.addresses(host, url.port or (443 if url.scheme == "https" else 80))
        except AddressRefused as error:
            raise NotAllowed(str(error)) from None
        tried: NotReached | None = None
        for address in addresses[:ADDRESSES_TRIED]:
            there = url.copy_with(host=address)
            try:
                return await self._post(there, body, {"host": url.netloc.decode("ascii")}, {"sni_hostname": host})
            except NotReached as error:
                if error.status is not None:
                    raise
                tried = error
        raise tried or NotReached(None)

    async def _post(self, url: httpx2.URL, body: bytes, headers: dict[str, str], extensions: dict[str, str]) -> None:
        headers = {"content-type": "application/json", "accept-encoding": "identity", **headers}
        try:
            async with (
                asyncio.timeout(SECONDS),
                self._client.stream("POST", url, content=body, headers=headers, extensions=extensions) as response,
            ):
                status = response.status_code
        except (httpx2.HTTPError, TimeoutError):
            raise NotReached(None) from None
        if not 200 <= status < 300:
            raise NotReached(status)
