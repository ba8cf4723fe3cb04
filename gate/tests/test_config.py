"""Settings about outgoing calls: what is taken, and what stops the command."""

from __future__ import annotations

import pytest

from stacksona_gate.config import read_settings
from stacksona_gate.domain.errors import Invalid


@pytest.mark.parametrize("hosts", ["hooks.internal", "a, B-2.test,c_d", "localhost", "10.0.0.5"])
def test_names_of_allowed_hosts_are_taken(hosts: str) -> None:
    assert read_settings({"STACKSONA_ALLOWED_HOSTS": hosts}).allowed_hosts == hosts


@pytest.mark.parametrize("hosts", ["http://a", "a:80", "a/b", "a..b", "*.a", "a b", "ä.test", "-a", "a,[::1]", "a@b"])
def test_what_is_no_host_name_is_refused(hosts: str) -> None:
    with pytest.raises(Invalid, match="STACKSONA_ALLOWED_HOSTS"):
        read_settings({"STACKSONA_ALLOWED_HOSTS": hosts})


@pytest.mark.parametrize(
    "proxy", ["http://proxy:3128", "http://10.0.0.5", "http://[::1]:3128/", "http://user:pass@proxy:3128"]
)
def test_a_proxy_is_taken(proxy: str) -> None:
    assert read_settings({"STACKSONA_OUTGOING_PROXY": proxy}).outgoing_proxy == proxy


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy:3128",
        "https://user:hunter2@proxy",
        "socks5://user:hunter2@proxy",
        "http://",
        "http://proxy:3128/path",
        "http://proxy:no",
        "http://user:hunter2@",
        "http://user:hunter2@proxy/?a",
    ],
)
def test_another_proxy_is_refused_and_its_password_not_repeated(proxy: str) -> None:
    with pytest.raises(Invalid, match="STACKSONA_OUTGOING_PROXY") as refused:
        read_settings({"STACKSONA_OUTGOING_PROXY": proxy})
    assert "hunter2" not in str(refused.value)


def test_the_time_to_drain_may_be_none_and_no_count_of_what_is_needed_may() -> None:
    assert read_settings({"STACKSONA_DRAIN_SECONDS": "0"}).drain_seconds == 0
    with pytest.raises(Invalid, match="STACKSONA_HELD_REQUESTS is a whole number from 1"):
        read_settings({"STACKSONA_HELD_REQUESTS": "0"})


@pytest.mark.parametrize("name", ["REQUESTS_PER_SECOND", "PENDING_THREADS", "STORED_REQUESTS", "STORED_MEGABYTES"])
def test_no_limit_of_workspaces_may_be_written_as_zero(name: str) -> None:
    settings = read_settings({f"STACKSONA_TENANT_{name}": "0"})
    assert getattr(settings, f"tenant_{name.lower()}") == 0
