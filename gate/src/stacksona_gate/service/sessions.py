"""Sign-in cookies and cross-site protection, as rules over values: the pages and the people API share them."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Final
from urllib.parse import urlsplit

from stacksona_gate.domain.errors import Forbidden
from stacksona_gate.domain.people import Session

CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf"


def is_https(public_url: str) -> bool:
    return urlsplit(public_url).scheme == "https"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def cookie_name(public_url: str) -> str:
    """``__Host-`` binds the cookie to this host and to https; browsers refuse the prefix on plain http."""
    return "__Host-stacksona_session" if is_https(public_url) else "stacksona_session"


def session_cookie(public_url: str, value: str, seconds: int) -> str:
    """The value of a ``Set-Cookie`` header. ``seconds`` 0 deletes the cookie."""
    secure = "; Secure" if is_https(public_url) else ""
    return f"{cookie_name(public_url)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"


def require_safe_transport(public_url: str, served_on: str) -> None:
    """Raises Forbidden where a password or a cookie would cross a network in the clear.

    ``served_on``: the address of this end of the connection.
    """
    if is_https(public_url):
        return
    host = urlsplit(public_url).hostname or ""
    if not (is_loopback(host) and is_loopback(served_on)):
        raise Forbidden(
            "signing in over plain http is refused outside loopback: put TLS in front and set"
            " STACKSONA_PUBLIC_URL to the https address",
            code="insecure_transport",
        )


def require_same_site(public_url: str, origin: str | None, sec_fetch_site: str | None) -> None:
    """Raises Forbidden for a call that another site's page made."""
    if sec_fetch_site is not None:
        if sec_fetch_site not in ("same-origin", "none"):
            raise Forbidden("this call came from another site's page", code="cross_site")
        return
    parts = urlsplit(public_url)
    if origin is not None and origin != f"{parts.scheme}://{parts.netloc}":
        raise Forbidden("this call came from another site's page", code="cross_site")


def require_csrf(
    session: Session, token: str | None, *, public_url: str, origin: str | None, sec_fetch_site: str | None
) -> None:
    """Raises Forbidden unless a changing call of a signed-in browser carries its session's token."""
    require_same_site(public_url, origin, sec_fetch_site)
    if token is None or not hmac.compare_digest(token.encode(), session.csrf.encode()):
        raise Forbidden("the form is out of date: reload the page and try again", code="csrf")
