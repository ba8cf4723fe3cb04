"""Answers whose header lines are written before they are sent."""

import pytest

from stacksona_gate.api.http import Reply

CONTROLS = [*range(9), *range(10, 32), 127]


@pytest.mark.parametrize("code", CONTROLS)
def test_no_control_character_gets_into_a_header_that_is_written(code: int) -> None:
    with pytest.raises(ValueError, match="control character"):
        Reply(b"", headers=((b"x-note", b"a%cb" % code),)).written()


def test_a_written_head_has_every_field_on_a_line_of_its_own() -> None:
    reply = Reply(b"{}", headers=((b"x-note", b"a\tb"),)).written()
    assert reply.head == (
        b"content-type: application/json\r\ncontent-length: 2\r\nx-content-type-options: nosniff\r\n"
        b"cache-control: no-store\r\nx-note: a\tb\r\n"
    )
