"""What the pages say about themselves: links, blocks, and nothing of the place where they were written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gate.tests.docs.pages import ROOT, anchors, blocks, links, page, pages

from stacksona_gate.policy.cases import read_cases, run_cases
from stacksona_gate.policy.parse import parse_policy

PAGES = pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))


@PAGES
def test_every_relative_link_and_image_leads_somewhere(path: Path) -> None:
    for link in links(path.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target.read_text()), link


@PAGES
def test_no_page_names_a_registry_or_a_path_of_somebodys_machine(path: Path) -> None:
    found = re.search(r"/(?:work|root|home)/|pypi|npmjs|pythonhosted|ghcr|docker\.io", path.read_text(), re.IGNORECASE)
    assert not found, found


@PAGES
def test_every_fence_is_closed(path: Path) -> None:
    assert len(re.findall(r"^ *```", path.read_text(), re.MULTILINE)) % 2 == 0


@PAGES
def test_policies_and_cases_in_examples_are_read_and_hold(path: Path) -> None:
    """Cases without a policy of their own are about the policy before them on the page."""
    policy = None
    for text in blocks(path.read_text(), "yaml"):
        if "cases:" not in text:
            policy = parse_policy(text)
            continue
        read = read_cases(text)
        for result in run_cases(read, None if read.policy else policy):
            assert result.passed, (result.name, result.differences)


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    for path in pages():
        shell = "\n".join((*blocks(path.read_text(), "sh"), *re.findall(r"`(make [a-z]+)`", path.read_text())))
        assert set(re.findall(r"^make ([a-z]+)", shell, re.MULTILINE)) <= targets, path


def test_the_readme_shows_the_guides_own_call() -> None:
    guide = page("gate/src/stacksona_gate/demo/curl.txt")
    assert guide in blocks(page("README.md"), "sh")


def test_the_index_lists_every_guide_and_every_reference_page() -> None:
    listed = {link.partition("#")[0] for link in links(page("docs/index.md"))}
    written = {str(path.relative_to(ROOT / "docs")) for path in pages() if path.is_relative_to(ROOT / "docs")}
    assert {name for name in written if not name.startswith("adr/")} - {"index.md"} <= listed


def test_what_does_not_work_yet_is_said_with_its_id() -> None:
    manifest = page("gate/tests/promises.yaml").partition("\nnot_yet:\n")[2]
    ids = re.findall(r"^  ([a-z.\-]+):", manifest, re.MULTILINE)
    assert ids
    told = page("docs/limits.md")
    assert [one for one in ids if f"| `{one}` |" not in told] == []
    assert set(re.findall(r"^\| `([a-z.\-]+)` \|", told, re.MULTILINE)) == set(ids)


def test_the_benchmarks_page_keeps_the_place_for_the_table() -> None:
    told = page("docs/benchmarks.md")
    assert told.index("<!-- bench -->") < told.index("<!-- /bench -->")


def test_the_licence_is_apache_2() -> None:
    licence = page("LICENSE")
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
