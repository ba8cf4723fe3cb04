"""Settings, read from the environment. The reference page is made from the descriptions here."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from stacksona_gate.domain.errors import Invalid

PREFIX = "STACKSONA_"
SECRET_LEAST = 32
"""Bytes of a root secret."""
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*")


def _setting(default: object, description: str, *, least: int = 1) -> object:
    """``least``: of whole numbers."""
    return field(default=default, metadata={"description": description, "least": least})


@dataclass(frozen=True, slots=True)
class Settings:
    """One value per environment variable: ``database_url`` is ``STACKSONA_DATABASE_URL``."""

    database_url: str = _setting(  # type: ignore[assignment]
        "sqlite:///gate.db",
        "Where decisions are kept: sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/database",
    )
    public_url: str = _setting("", "What links point to; default: the address served")  # type: ignore[assignment]
    secret_key: str = _setting(  # type: ignore[assignment]
        "", "Root secret, at least 32 characters; default: made on first start in a file beside the SQLite file"
    )
    secret_key_file: str = _setting("", "A file that holds the root secret")  # type: ignore[assignment]
    allowed_networks: str = _setting(  # type: ignore[assignment]
        "", "Networks (CIDR, comma separated) that outgoing calls may reach although they are not public"
    )
    allowed_hosts: str = _setting(  # type: ignore[assignment]
        "", "Host names (comma separated) that outgoing calls may reach whatever their addresses are"
    )
    outgoing_proxy: str = _setting(  # type: ignore[assignment]
        "", "Proxy (http://host:port) that every outgoing call goes through"
    )
    checkpoint_folder: str = _setting(  # type: ignore[assignment]
        "", "Folder in which workspaces may publish checkpoints of their logs as files; none without it"
    )
    smtp_url: str = _setting(  # type: ignore[assignment]
        "", "Mail server: smtp[s]://[user:password@]host[:port][?from=address]; no mail without it"
    )
    listen_url: str = _setting(  # type: ignore[assignment]
        "", "Direct PostgreSQL address for LISTEN behind a transaction-mode pooler; unused on SQLite"
    )
    log_level: str = _setting("info", "debug, info, warning or error")  # type: ignore[assignment]
    log_format: str = _setting("json", "json or console")  # type: ignore[assignment]
    access_log: str = _setting(  # type: ignore[assignment]
        "failures", "Calls that get a log line: failures (status 500 and above), all or none"
    )
    held_requests: int = _setting(1000, "Answers held open at once per agent, by all nodes together")  # type: ignore[assignment]
    discovered_tools: int = _setting(500, "Unknown tool names kept per workspace")  # type: ignore[assignment]
    tenant_requests_per_second: int = _setting(  # type: ignore[assignment]
        0,
        "Calls per second of a workspace's agents and verifiers together, unless it has a limit of its own; 0: none",
        least=0,
    )
    tenant_pending_threads: int = _setting(  # type: ignore[assignment]
        0,
        "Threads of a workspace that wait for people at once, unless it has a limit of its own; 0: none",
        least=0,
    )
    tenant_stored_requests: int = _setting(  # type: ignore[assignment]
        0,
        "Requests that a workspace keeps with their content, unless it has a limit of its own; 0: none",
        least=0,
    )
    tenant_stored_megabytes: int = _setting(  # type: ignore[assignment]
        0,
        "Their content and attachments in units of 1,000,000 bytes, unless it has a limit of its own; 0: none",
        least=0,
    )
    deliveries_per_endpoint: int = _setting(  # type: ignore[assignment]
        4, "Webhooks on their way at once to one endpoint, from one process"
    )
    deliveries_at_once: int = _setting(200, "Webhooks on their way at once, from one process")  # type: ignore[assignment]
    drain_seconds: int = _setting(  # type: ignore[assignment]
        5, "Seconds that a process that was told to end (SIGTERM) serves on, saying that it is not ready", least=0
    )
    partition_rows: int = _setting(  # type: ignore[assignment]
        2_000_000, "On PostgreSQL: rows beyond which a table is partitioned by time, and of one partition"
    )
    forwarded_allow: str = _setting(  # type: ignore[assignment]
        "127.0.0.1", "Proxies (addresses or networks, comma separated) whose X-Forwarded-For is believed"
    )


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def read_settings(environ: Mapping[str, str] | None = None, **given: str | None) -> Settings:
    """Settings of the environment; ``given`` (a command line's options) wins. Raises Invalid."""
    source = os.environ if environ is None else environ
    values: dict[str, object] = {}
    for setting in fields(Settings):
        raw = given.get(setting.name) or source.get(variable(setting.name))
        if raw:
            is_whole = isinstance(setting.default, int)
            values[setting.name] = _whole(setting.name, raw, setting.metadata["least"]) if is_whole else raw
    settings = Settings(**values)  # type: ignore[arg-type]
    _check(settings)
    return settings


def _whole(name: str, raw: str, least: int) -> int:
    if not raw.isascii() or not raw.isdigit() or not least <= int(raw) <= 10_000_000:
        raise Invalid(f"{variable(name)} is a whole number from {least} to 10,000,000, not {raw!r}")
    return int(raw)


def _check(settings: Settings) -> None:
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise Invalid(f"{variable('log_level')} is debug, info, warning or error, not {settings.log_level!r}")
    if settings.log_format not in ("json", "console"):
        raise Invalid(f"{variable('log_format')} is json or console, not {settings.log_format!r}")
    if settings.access_log not in ("failures", "all", "none"):
        raise Invalid(f"{variable('access_log')} is failures, all or none, not {settings.access_log!r}")
    if settings.public_url and not _is_origin(settings.public_url):
        raise Invalid(
            f"{variable('public_url')} is https:// or http:// and a host, without a path, not {settings.public_url!r}"
        )
    if settings.outgoing_proxy and not _is_proxy(settings.outgoing_proxy):
        raise Invalid(f"{variable('outgoing_proxy')} is http:// and a host, with a port or without, and no path")
    for host in filter(None, settings.allowed_hosts.split(",")):
        if not _HOST.fullmatch(host.strip()):
            raise Invalid(
                f"{variable('allowed_hosts')} holds {host!r}, which is no host name: leave scheme and port out"
            )
    for network in filter(None, settings.allowed_networks.split(",")):
        try:
            ipaddress.ip_network(network.strip())
        except ValueError:
            raise Invalid(
                f"{variable('allowed_networks')} holds {network!r}, which is no network in CIDR form"
            ) from None


def _is_proxy(url: str) -> bool:
    """It may carry a user and a password, so that nobody quotes it."""
    scheme, _, rest = url.partition("://")
    return scheme == "http" and url.isascii() and _is_origin(f"http://{rest.rpartition('@')[2]}")


def _is_origin(url: str) -> bool:
    """Every page and link is below it, so that it has no path of its own."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    beside = (parts.path.rstrip("/"), parts.query, parts.fragment)
    return parts.scheme in ("http", "https") and bool(host) and "@" not in parts.netloc and beside == ("", "", "")


def is_postgresql(database_url: str) -> bool:
    """Whether the address is a PostgreSQL server's."""
    return database_url.startswith(("postgresql://", "postgres://"))


def check_database(database_url: str) -> None:
    """Raises Invalid for what is no database address."""
    if not is_postgresql(database_url):
        sqlite_path(database_url)


def shown_address(database_url: str) -> str:
    """The address without whatever may be a secret in it: for messages."""
    scheme, _, rest = database_url.partition("://")
    if not is_postgresql(database_url):
        return database_url
    before, _, options = rest.partition("?")
    if "@" in options and "@" not in before:
        return f"{scheme}://…"  # a password with a question mark in it, more likely than an option with an @
    place = before.rpartition("@")
    user = place[0].partition(":")[0]
    return f"{scheme}://{user}{place[1]}{place[2]}"


def sqlite_path(database_url: str) -> str:
    """The file of an SQLite address. Raises Invalid for anything else, quoting it as it may be shown."""
    path = database_url.removeprefix("sqlite:///")
    if path == database_url or not path or "?" in path:
        raise Invalid(
            f"not a database address: {shown_address(database_url)!r}; use sqlite:///relative.db,"
            " sqlite:////absolute.db or postgresql://user@host/database"
        )
    return path


def root_secret(settings: Settings, *, make: bool) -> bytes:
    """The root secret: from the environment, a named file, or the file beside the SQLite file.

    ``make``: the database is new, so a secret that is missing is made; for any other it is lost, and said to be.
    Raises Invalid when it is unreadable or too short.
    """
    if settings.secret_key:
        return settings.secret_key.encode()
    if settings.secret_key_file:
        return _secret_in(Path(settings.secret_key_file))
    if is_postgresql(settings.database_url):
        raise Invalid(
            f"a gate on PostgreSQL needs its root secret from {variable('secret_key_file')} or"
            f" {variable('secret_key')}, the same on every node: for a new database, make one with"
            " `openssl rand -hex 32`"
        )
    beside = Path(sqlite_path(settings.database_url) + ".key")
    if make and not beside.exists():
        _make_secret(beside)
    return _secret_in(beside)


def _secret_in(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise Invalid(
            f"cannot read the root secret in {path}: {error.strerror};"
            " a database opens only with the one it was made with"
        ) from None
    if len(secret) < SECRET_LEAST:
        raise Invalid(
            f"the root secret in {path} has {len(secret)} bytes and needs at least {SECRET_LEAST}: put back the one"
            " that the database was made with; for a new database, make one with `openssl rand -hex 32`"
        )
    return secret


def _make_secret(path: Path) -> None:
    """Complete or not there at all: a half-written secret would lock the database out."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(os.urandom(32).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)  # fails when another process was faster: its secret counts
    except FileExistsError:
        pass
    finally:
        os.unlink(partial)
