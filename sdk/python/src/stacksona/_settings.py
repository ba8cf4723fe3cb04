"""Where the gate is and who asks. The key is kept so that nothing prints it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from stacksona._errors import ConfigurationError

URL_VARIABLE: Final = "STACKSONA_GATE_URL"
KEY_VARIABLE: Final = "STACKSONA_API_KEY"
_KEY: Final = re.compile(r"[!-~]{1,500}")
_REDACTED: Final = "[key]"


@dataclass(frozen=True)
class Settings:
    """``url`` without a slash at its end."""

    url: str
    api_key: str = field(repr=False)

    @property
    def authorization(self) -> str:
        return f"Bearer {self.api_key}"

    def without_key(self, text: str) -> str:
        """The text, should something on the way have put the key into it."""
        return text.replace(self.api_key, _REDACTED)

    def body_without_key(self, body: bytes) -> bytes:
        return body.replace(self.api_key.encode(), _REDACTED.encode())


def settings(url: str | None, api_key: str | None) -> Settings:
    """What is not given comes from the environment. Raises ConfigurationError."""
    url = url or os.environ.get(URL_VARIABLE, "")
    api_key = (api_key or os.environ.get(KEY_VARIABLE, "")).strip()
    if not url:
        raise ConfigurationError(f"the gate's address is missing: pass url or set {URL_VARIABLE}")
    if not api_key:
        raise ConfigurationError(f"the agent's key is missing: pass api_key or set {KEY_VARIABLE}")
    if not _KEY.fullmatch(api_key):
        raise ConfigurationError("the key has characters that no key has")
    return Settings(_checked(url), api_key)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        is_bare = parts.username is None and not parts.query and not parts.fragment
    except ValueError:
        is_address = is_bare = False
    if not is_address or not is_bare:
        raise ConfigurationError("the gate's address is like https://gate.example.com, without user, query or fragment")
    return url.strip().rstrip("/")
