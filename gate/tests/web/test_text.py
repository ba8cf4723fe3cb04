"""Text from agents stays text: escaped, isolated, whole, with nothing hidden in it."""

from __future__ import annotations

import html

import pytest
from gate.tests.factories import thread_of
from gate.tests.web.browsing import TAG, visiting, words

from stacksona_gate.domain.canonical import canonicalize
from stacksona_gate.domain.display import reveal, warnings
from stacksona_gate.service.requests import Ask, File
from stacksona_gate.web import lines, payloads, text

HOSTILE = {
    "override": ("pay \u202ecod.exe\u202c now", "⟦U+202E⟧"),
    "isolate": ("a\u2066b\u2069", "⟦U+2066⟧"),
    "zero width": ("pay\u200bpal", "⟦U+200B⟧"),
    "tags": ("hi\U000e0041\U000e0042", "⟦U+E0041 U+E0042⟧"),
    "nul": ("a\x00b", "⟦U+0000⟧"),
    "space": ("a\u00a0b", "␣"),
    "script": ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    "attribute": ("\" onmouseover=alert(1) x='", "\" onmouseover=alert(1) x='"),
    "template": ("{{ 7 * 7 }}{% raw %}", "{{ 7 * 7 }}{% raw %}"),
    "entity": ("&lt;b&gt;&#x202e;", "&lt;b&gt;&#x202e;"),
    "textarea": ("</textarea></title><img src=x onerror=alert(1)>", "</textarea></title><img src=x onerror=alert(1)>"),
}


@pytest.mark.parametrize(("hostile", "seen"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_text_is_shown_as_text_wherever_an_agent_can_put_it(hostile: str, seen: str) -> None:
    async with visiting() as guest:
        ask = everywhere(hostile)
        answer = await guest.w.ask(ask=ask)
        rita = await guest.as_(guest.w.reviewer)
        listed, opened = await rita.get("/inbox"), await rita.get(f"/inbox/{thread_of(answer)}")
        assert words(listed).count(seen) >= 2
        assert words(opened).count(seen) >= 9
        assert "<script>alert" not in opened.text
        assert "<img src=x" not in opened.text
        assert not {"\u202e", "\u2066", "\u200b", "\x00"} & set(TAG.sub("", opened.text))


def everywhere(hostile: str) -> Ask:
    return Ask(
        "wire_transfer",
        hostile,
        workflow_name=hostile,
        task_label=hostile,
        preview=hostile,
        summary=(hostile,),
        payload={"a": hostile, "nested": {hostile: 1}},
        metadata={hostile: hostile},
        attachments=(File(hostile, hostile, b"data"),),
    )


async def test_what_people_type_is_text_too() -> None:
    async with visiting() as guest:
        answer = await guest.w.ask()
        rita = await guest.as_(guest.w.reviewer)
        path = f"/inbox/{thread_of(answer)}"
        await rita.post(f"{path}/notes", {"note": "</div><script>alert(1)</script>\u202e"})
        page = await rita.get(path)
        assert "<script>alert" not in page.text
        assert "⟦U+202E⟧" in page.text


async def test_a_search_cannot_leave_its_field() -> None:
    async with visiting() as guest:
        rita = await guest.as_(guest.w.reviewer)
        page = await rita.get('/inbox?q="><script>alert(1)</script>&tool="><b>&agent="><i>')
        assert "<script>alert" not in page.text
        assert "<b>" not in page.text.replace("<b>Gate</b>", "")


async def test_a_megabyte_is_folded_and_all_of_it_is_there() -> None:
    async with visiting() as guest:
        huge = "x" * 999_999 + "\u202e"
        answer = await guest.w.ask(ask=Ask("wire_transfer", "long", payload={"text": huge}))
        page = await (await guest.as_(guest.w.reviewer)).get(f"/inbox/{thread_of(answer)}")
        assert "Show the other 998,000 characters" in page.text
        assert page.text.count("x" * 1000) >= 900
        assert "⟦U+202E⟧" in page.text


def test_a_long_line_says_how_much_of_it_is_not_shown() -> None:
    shown = text.line("a" * 300)
    assert "+140 characters" in shown


def test_each_value_is_isolated_from_the_next() -> None:
    assert text.shown("שלום") == "<bdi>שלום</bdi>"


def test_a_number_and_the_text_of_it_are_told_apart() -> None:
    rows = payloads.table(canonicalize({"a": 500, "b": "500"}).decode()).rows
    assert [(row.kind, row.text) for row in rows] == [("number", "500"), ("text", "500")]


@pytest.mark.parametrize(("value", "written"), [(1e21, "1e+21"), (0.1, "0.1"), (1.0, "1"), (-0.0, "0"), (1e-7, "1e-7")])
def test_numbers_are_written_as_their_canonical_form_writes_them(value: float, written: str) -> None:
    assert payloads.table(canonicalize({"n": value}).decode()).rows[0].text == written


def test_keys_cannot_pass_for_paths() -> None:
    payload = canonicalize({"a": {"b": [1]}, "a.b[0]": 2, "": 3}).decode()
    assert [row.path for row in payloads.table(payload).rows] == ['[""]', "a.b[0]", '["a.b[0]"]']


def test_a_table_with_too_many_rows_says_so() -> None:
    table = payloads.table(canonicalize({"list": [0] * 1001}).decode())
    assert (len(table.rows), table.is_complete) == (1000, False)


def test_what_hides_is_escaped_where_it_can_be_edited() -> None:
    edited = payloads.editable(canonicalize({"a": "x\u202ey\u007f", "b": "ü"}).decode())
    assert edited == '{\n  "a": "x\\u202ey\\u007f",\n  "b": "ü"\n}'


def test_only_what_a_form_can_carry_is_offered_for_editing() -> None:
    assert payloads.editable(canonicalize({"a": "x" * 250_000}).decode()) is not None
    assert payloads.editable(canonicalize({"a": "\u202e" * 80_000}).decode()) is not None
    assert payloads.editable(canonicalize({"a": [0] * 120_000}).decode()) is None


def test_a_difference_names_each_place_once() -> None:
    old, new = canonicalize({"a": 1, "b": 2, "c": 3}).decode(), canonicalize({"a": "1", "b": 2, "d": 4}).decode()
    found = [(one.path, one.what, one.kinds) for one in payloads.differences(old, new)]
    assert found == [("a", "changed", "number → text"), ("d", "added", "number"), ("c", "removed", "number")]


def test_printable_ascii_needs_no_second_look() -> None:
    every = "".join(map(chr, range(0x20, 0x7F)))
    assert (warnings(every), [piece.kind for piece in reveal(every)]) == ((), ["plain"])


@pytest.mark.parametrize(("hostile", "seen"), HOSTILE.values(), ids=HOSTILE)
def test_a_line_of_arguments_shows_hostile_ones_and_their_paths_as_text(hostile: str, seen: str) -> None:
    shown = lines.values([payloads.Value(hostile, "text", hostile), payloads.Value("n", "number", hostile)])
    assert html.unescape(TAG.sub("", shown)).count(seen) == 3
    assert {tag.strip("</>").partition(" ")[0] for tag in TAG.findall(shown)} == {"p", "span", "bdi"}
