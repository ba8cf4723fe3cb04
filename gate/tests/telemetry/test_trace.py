"""What a caller says of itself is taken in its exact form or not at all."""

from __future__ import annotations

import pytest

from stacksona_gate.telemetry.trace import Trace, traced

ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{ID}-{PARENT}-01"


def trace_of(*fields: tuple[str, str]) -> Trace:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    return traced(dict(raw), raw)


@pytest.mark.parametrize("flags", ["00", "01", "ff"])
def test_a_traceparent_of_version_00_is_taken_as_it_is(flags: str) -> None:
    assert trace_of(("traceparent", f"00-{ID}-{PARENT}-{flags}")).traceparent == f"00-{ID}-{PARENT}-{flags}"


@pytest.mark.parametrize(("given", "flags"), [("cc-{}-{}-01-what-comes", "01"), ("01-{}-{}-fe", "00")])
def test_a_version_of_the_future_is_read_as_far_as_it_is_known(given: str, flags: str) -> None:
    assert trace_of(("traceparent", given.format(ID, PARENT))).traceparent == f"00-{ID}-{PARENT}-{flags}"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00",
        GIVEN.upper(),
        f"ff-{ID}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID}-{PARENT}-01-more",
        f"00-{ID}-{PARENT}-1",
        f"00-{ID[:-1]}-{PARENT}-01",
        f"0g-{ID}-{PARENT}-01",
        f"{GIVEN} ",
        f" {GIVEN}",
        f"{GIVEN}, {GIVEN}",
        f"{GIVEN}\r\nx-evil: 1",
        f"cc-{ID}-{PARENT}-01-" + "x" * 1000,
        "\xe9" * 55,
    ],
)
def test_any_other_traceparent_is_dropped(given: str) -> None:
    assert trace_of(("traceparent", given)).traceparent is None


def test_two_traceparents_are_none() -> None:
    other = f"00-{ID[::-1]}-{PARENT}-01"
    assert trace_of(("traceparent", GIVEN), ("traceparent", other)).traceparent is None


def test_a_well_formed_request_id_is_kept() -> None:
    assert trace_of(("x-request-id", "run-7:a.b_c")).http_request_id == "run-7:a.b_c"


@pytest.mark.parametrize("given", ["", "a b", "a\n", '"}{', "x" * 129, "\xe9"])
def test_any_other_request_id_is_replaced_by_one_of_ours(given: str) -> None:
    made = trace_of(("x-request-id", given)).http_request_id
    assert made is not None
    assert made != given
    assert len(made) == 32


def test_a_line_names_what_is_known_and_nothing_else() -> None:
    trace = Trace("call-1", GIVEN, "default", {"request_id": "req_1", "thread_id": None})
    assert trace.fields() == {
        "http_request_id": "call-1",
        "trace_id": ID,
        "span_id": PARENT,
        "tenant_id": "default",
        "request_id": "req_1",
    }
    assert Trace().fields() == {}
