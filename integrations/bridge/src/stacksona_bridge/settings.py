"""Settings, read from the environment. The table in the README is tested against the descriptions here.

Each may also be named with ``_FILE`` at its end: then it is the path of a file that holds the value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from stacksona_bridge.addresses import AddressGuard
from stacksona_bridge.apps import App, read_apps
from stacksona_bridge.reading import Malformed

PREFIX: Final = "BRIDGE_"
TOKEN_LEAST: Final = 24
SIGNING_KEY_LEAST: Final = 32

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN: Final = re.compile(r"[!-+\--~]{24,500}")


class Invalid(Exception):
    """A setting cannot be used. The message names it and shows no secret."""


@dataclass(frozen=True)
class Prefix:
    """Addresses below one: the same scheme, host and port, and a path that starts with these segments."""

    scheme: str
    host: str
    port: int
    path: str


def _setting(default: object, description: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"description": description, "secret": secret}, repr=not secret)


@dataclass(frozen=True)
class Settings:
    """One value per environment variable, as text: ``gate_url`` is ``BRIDGE_GATE_URL``. ``read_settings`` checks."""

    gate_url: str = _setting("", "Address of the gate. Required")
    gate_key: str = _setting("", "Key of the agent that the bridge asks as (`sg_…`). Required", secret=True)
    webhook_secrets: str = _setting(
        "", "Webhook secrets of that agent (`whsec_…`), two while one is replaced", secret=True
    )
    callers: str = _setting(
        "",
        "Who may call the bridge: `name:token`, several with commas; a token has at least 24 characters. Required",
        secret=True,
    )
    host: str = _setting("127.0.0.1", "Address to listen on")
    port: str = _setting("8421", "Port to listen on")
    dify_url: str = _setting("", "Address of Dify's Service API without `/v1`; no Dify without it")
    dify_apps: str = _setting("", "Dify's apps as JSON: see below", secret=True)
    dify_triggers: str = _setting(
        "",
        "Webhook triggers of Dify: `name=address`, several with commas; a name is what metadata may say",
        secret=True,
    )
    resume_urls: str = _setting(
        "", "Addresses that a thread's `resume_url` may begin with, several with commas; none without it"
    )
    allowed_networks: str = _setting(
        "", "Networks (CIDR, with commas) that a `resume_url` may reach although they are not public"
    )
    signing_keys: str = _setting(
        "",
        "Keys that sign what the bridge puts into metadata, at least 32 characters each, several with commas: the first"
        " signs, all are believed; the same for all bridges",
        secret=True,
    )
    require_signed: str = _setting("no", "`yes`: threads that were not asked through the bridge wake nothing")
    gatekeeper_key: str = _setting(
        "", "Key of the agent for the gatekeeper mode, which must be another one; none without it", secret=True
    )
    gatekeeper_webhook_secrets: str = _setting("", "Webhook secrets of that agent", secret=True)
    hold_seconds: str = _setting("45", "How long a blocking call to Dify waits for people, 0 to 600")
    held_calls: str = _setting("500", "Calls that wait for people at once")
    body_most: str = _setting("1048576", "Bytes of a body to or from a workflow at most, except streams")
    drain_seconds: str = _setting("20", "How long calls under way get when the process is told to end")
    log_level: str = _setting("info", "`debug`, `info`, `warning` or `error`")


@dataclass(frozen=True)
class Config:
    """Settings that were checked and taken apart."""

    gate_url: str
    gate_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    callers: Mapping[str, bytes] = field(repr=False)
    """Names, and the SHA-256 of their tokens."""
    host: str
    port: int
    dify_url: str | None
    apps: Mapping[str, App] = field(repr=False)
    triggers: Mapping[str, str] = field(repr=False)
    resume_urls: tuple[Prefix, ...]
    guard: AddressGuard = field(repr=False)
    signing_keys: tuple[bytes, ...] = field(repr=False)
    require_signed: bool
    gatekeeper_key: str | None = field(repr=False)
    gatekeeper_webhook_secrets: tuple[str, ...] = field(repr=False)
    hold_seconds: int
    held_calls: int
    body_most: int
    drain_seconds: int
    log_level: str


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def read_settings(environ: Mapping[str, str]) -> Config:
    """Raises Invalid for what is missing, malformed or contradicts itself, and for a name that is none."""
    known = {variable(one.name): one.name for one in fields(Settings)}
    values: dict[str, str] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or not value:
            continue
        setting = known.get(name) or known.get(name.removesuffix("_FILE"))
        if setting is None:
            raise Invalid(f"{name} is no setting of the bridge")
        if setting in values:
            raise Invalid(f"{variable(setting)} is given twice: as itself and as a file")
        values[setting] = value if name in known else _in_file(name, value)
    return _config(Settings(**values))


def _in_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeError):
        raise Invalid(f"{name} names a file that cannot be read") from None


def _config(given: Settings) -> Config:
    apps, callers = _apps(given), _callers(given.callers)
    config = Config(
        gate_url=_address("gate_url", given.gate_url),
        gate_key=_required("gate_key", given.gate_key),
        webhook_secrets=_list(given.webhook_secrets),
        callers=callers,
        host=given.host,
        port=_whole("port", given.port, 0, 65_535),
        dify_url=_address("dify_url", given.dify_url) if given.dify_url else None,
        apps=apps,
        triggers=_triggers(given.dify_triggers),
        resume_urls=tuple(_prefix(one) for one in _list(given.resume_urls)),
        guard=_guard(given.allowed_networks),
        signing_keys=tuple(_signing_key(one) for one in _list(given.signing_keys)),
        require_signed=_yes("require_signed", given.require_signed),
        gatekeeper_key=given.gatekeeper_key or None,
        gatekeeper_webhook_secrets=_list(given.gatekeeper_webhook_secrets),
        hold_seconds=_whole("hold_seconds", given.hold_seconds, 0, 600),
        held_calls=_whole("held_calls", given.held_calls, 1, 100_000),
        body_most=_whole("body_most", given.body_most, 1024, 100 * 1024 * 1024),
        drain_seconds=_whole("drain_seconds", given.drain_seconds, 0, 600),
        log_level=_one_of("log_level", given.log_level, ("debug", "info", "warning", "error")),
    )
    _agree(config)
    return config


def _agree(config: Config) -> None:
    """What no setting can say alone."""
    if config.apps and config.dify_url is None:
        raise Invalid(f"{variable('dify_apps')} needs {variable('dify_url')}")
    if config.require_signed and not config.signing_keys:
        raise Invalid(f"{variable('require_signed')} needs {variable('signing_keys')}")
    for name, app in config.apps.items():
        unknown = set(app.callers) - set(config.callers)
        if unknown:
            raise Invalid(f"{variable('dify_apps')}: {name} names callers that {variable('callers')} does not have")
    if any(app.nodes for app in config.apps.values()):
        _gatekeeping(config)


def _gatekeeping(config: Config) -> None:
    for name in ("gatekeeper_key", "gatekeeper_webhook_secrets", "signing_keys"):
        if not getattr(config, name):
            raise Invalid(f"{variable('dify_apps')} has nodes to keep, which needs {variable(name)}")
    if config.gatekeeper_key == config.gate_key:
        raise Invalid(
            f"{variable('gatekeeper_key')} is the key of the other agent: whoever asks through the bridge could then"
            " redeem what the gatekeeper asked"
        )
    if set(config.gatekeeper_webhook_secrets) & set(config.webhook_secrets):
        raise Invalid(f"{variable('gatekeeper_webhook_secrets')} and {variable('webhook_secrets')} share a secret")


def _apps(given: Settings) -> Mapping[str, App]:
    try:
        return read_apps(given.dify_apps) if given.dify_apps else {}
    except (Malformed, ValueError) as error:
        raise Invalid(f"{variable('dify_apps')}: {error}") from None


def _callers(text: str) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for one in _list(_required("callers", text)):
        name, _, token = one.partition(":")
        if not _NAME.fullmatch(name) or not _TOKEN.fullmatch(token):
            raise Invalid(
                f"{variable('callers')} is name:token with commas between; a token has at least {TOKEN_LEAST} visible"
                " characters and no comma"
            )
        found[name] = hashlib.sha256(token.encode()).digest()
    if len(found) != len(_list(text)) or len(set(found.values())) != len(found):
        raise Invalid(f"{variable('callers')} has a name or a token twice")
    return found


def _triggers(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for one in _list(text):
        name, _, url = one.partition("=")
        if not _NAME.fullmatch(name) or name in found:
            raise Invalid(f"{variable('dify_triggers')} is name=address with commas between, each name once")
        found[name] = _address("dify_triggers", url)
    return found


def _prefix(text: str) -> Prefix:
    parts = urlsplit(_address("resume_urls", text))
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.query:
        raise Invalid(f"{variable('resume_urls')}: leave the query out")
    return Prefix(parts.scheme, (parts.hostname or "").lower(), port, parts.path)


def _guard(text: str) -> AddressGuard:
    try:
        return AddressGuard.of(text)
    except ValueError:
        raise Invalid(f"{variable('allowed_networks')} holds what is no network in CIDR form") from None


def _signing_key(text: str) -> bytes:
    if len(text) < SIGNING_KEY_LEAST:
        raise Invalid(f"{variable('signing_keys')} has a key with under {SIGNING_KEY_LEAST} characters")
    return text.encode()


def _address(name: str, text: str) -> str:
    """Without a slash at its end."""
    try:
        parts = urlsplit(_required(name, text))
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_address = False
    if not is_address or "@" in parts.netloc or parts.fragment or not text.isascii():
        raise Invalid(f"{variable(name)} is http:// or https:// and a host, without user and fragment")
    return text.rstrip("/")


def _required(name: str, text: str) -> str:
    if not text:
        raise Invalid(f"{variable(name)} is missing")
    return text


def _list(text: str) -> tuple[str, ...]:
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise Invalid(f"{variable(name)} is a whole number from {least} to {most}")
    return int(text)


def _yes(name: str, text: str) -> bool:
    return _one_of(name, text, ("yes", "no")) == "yes"


def _one_of(name: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise Invalid(f"{variable(name)} is one of {', '.join(choices)}")
    return text
