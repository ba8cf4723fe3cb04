from pathlib import Path

import pytest

from stacksona_gate.policy.cases import read_cases, run_cases

FOLDER = Path(__file__).parents[3] / "conformance" / "policy"
FILES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_case_of_the_file_gets_the_answer_it_expects(file: Path) -> None:
    results = run_cases(read_cases(file.read_text(encoding="utf-8")))
    assert results
    assert [
        f"{file.name}:{result.line} {result.name} {result.differences}" for result in results if not result.passed
    ] == []


def test_there_are_well_over_a_hundred_cases() -> None:
    assert sum(len(read_cases(file.read_text(encoding="utf-8")).cases) for file in FILES) >= 150


def test_the_names_of_the_cases_in_a_file_are_different() -> None:
    for file in FILES:
        names = [case.name for case in read_cases(file.read_text(encoding="utf-8")).cases]
        assert len(names) == len(set(names)), file.name


def test_the_readme_lists_every_file() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [file.name for file in FILES if f"`{file.name}`" not in readme] == []
