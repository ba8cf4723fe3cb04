"""The one chart of the documentation: how many times as fast as each peer the gate is, on a logarithmic scale.

It is SVG by hand: readable on light and dark grounds, told in words for those who do not see it, no fonts from outside.
Shapes tell the two series apart, not colours alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from bench.report import Finding

_LABELS: Final = 410
_PLOT: Final = 380
_RIGHT: Final = 30
_TOP: Final = 64
_ROW: Final = 26
_BOTTOM: Final = 16
_WIDTH: Final = _LABELS + _PLOT + _RIGHT

_STYLE: Final = """
    .ground { fill: #ffffff } .ink { fill: #1f2328 } .grid { stroke: #d0d7de } .even { stroke: #1f2328 }
    .library { fill: #0a53be; stroke: #0a53be } .server { fill: #ffffff; stroke: #a63d00 }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #0d1117 } .ink { fill: #e6edf3 } .grid { stroke: #3d444d } .even { stroke: #e6edf3 }
      .library { fill: #79b8ff; stroke: #79b8ff } .server { fill: #0d1117; stroke: #ffa657 }
    }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: one work beside one peer. ``server`` None: there is no HTTP in this work."""

    label: str
    library: Finding
    server: Finding | None


def draw(bars: Sequence[Bar], title: str) -> str:
    """The picture. ``bars`` is not empty."""
    height = _TOP + _ROW * len(bars) + _BOTTOM
    scale = _Scale.over(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-labelledby="title told" font-family="system-ui, sans-serif" font-size="13">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="told">{escape(_told(bars))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
        *_legend(),
        *scale.grid(height - _BOTTOM),
    ]
    for number, bar in enumerate(bars):
        parts += _row(bar, scale, _TOP + _ROW * number + _ROW / 2)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _told(bars: Sequence[Bar]) -> str:
    """The chart in words."""
    return " ".join(f"{bar.label}: {_ratio(bar)}." for bar in bars)


def _ratio(bar: Bar) -> str:
    if bar.server is None:
        return f"{short(bar.library.value)} times"
    return f"{short(bar.library.value)} times in process, {short(bar.server.value)} times over HTTP"


def short(value: float) -> str:
    """Two digits that count."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Decades, from 10 to the power ``low`` to 10 to the power ``high``."""

    low: int
    high: int

    @classmethod
    def over(cls, bars: Sequence[Bar]) -> _Scale:
        found = [each for bar in bars for each in (bar.library, bar.server) if each is not None]
        low = math.floor(math.log10(min(each.low for each in found)))
        return cls(min(low, -1), max(math.ceil(math.log10(max(each.high for each in found))), 1))

    def x(self, value: float) -> float:
        return round(_LABELS + _PLOT * (math.log10(value) - self.low) / (self.high - self.low), 1)

    def grid(self, bottom: float) -> Iterator[str]:
        for power in range(self.low, self.high + 1):
            x, kind = self.x(10.0**power), "even" if power == 0 else "grid"
            yield f'<line class="{kind}" x1="{x}" x2="{x}" y1="{_TOP - 6}" y2="{bottom}"/>'
            yield f'<text class="ink" x="{x}" y="{_TOP - 12}" text-anchor="middle">{10.0**power:g}</text>'


def _legend() -> Iterator[str]:
    yield '<text class="ink" x="10" y="20" font-weight="600">The gate\'s speed divided by the peer\'s</text>'
    yield f'<text class="ink" x="{_LABELS}" y="20">right of 1: the gate is faster</text>'
    yield f'<circle class="library" cx="{_LABELS + 222}" cy="16" r="5"/>'
    yield f'<text class="ink" x="{_LABELS + 234}" y="20">in process</text>'
    yield f'<rect class="server" x="{_LABELS + 317}" y="11" width="10" height="10" stroke-width="2"/>'
    yield f'<text class="ink" x="{_LABELS + 334}" y="20">over HTTP</text>'


def _row(bar: Bar, scale: _Scale, y: float) -> Iterator[str]:
    yield f'<text class="ink" x="{_LABELS - 12}" y="{y + 4}" text-anchor="end">{escape(bar.label)}</text>'
    if bar.server is not None:
        yield _range(bar.server, scale, "server", y + 4)
        x = scale.x(bar.server.value)
        yield f'<rect class="server" x="{x - 5:.1f}" y="{y - 1}" width="10" height="10" stroke-width="2"/>'
    yield _range(bar.library, scale, "library", y - 4)
    yield f'<circle class="library" cx="{scale.x(bar.library.value)}" cy="{y - 4}" r="5"/>'


def _range(finding: Finding, scale: _Scale, kind: str, y: float) -> str:
    low, high = scale.x(finding.low), scale.x(finding.high)
    return f'<line class="{kind}" x1="{low}" x2="{high}" y1="{y}" y2="{y}" stroke-width="2"/>'
