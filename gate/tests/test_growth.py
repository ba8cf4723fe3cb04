"""What the tests of growth rest on: that quadratic work is told from linear work."""

from __future__ import annotations

from gate.tests.growth import LINEAR, growth


def nothing_twice(texts: list[str]) -> list[str]:
    """Quadratic: each is looked for among all before it."""
    kept: list[str] = []
    for text in texts:
        if text not in kept:
            kept.append(text)
    return kept


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_quadratic_work_is_found() -> None:
    assert growth(nothing_twice, numbers, 4000) > LINEAR


def test_linear_work_is_let_through() -> None:
    assert growth("".join, numbers, 4000) < LINEAR


def test_work_that_takes_nothing_is_let_through() -> None:
    assert growth(len, numbers, 4000) < LINEAR
