"""Draws each workflow template as an SVG, top to bottom. usage: python integrations/dify/draw.py

Writes docs/images/dify-*.svg from the YAML; a test holds them against it.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Final

import yaml

HERE: Final = Path(__file__).resolve().parent
WORKFLOWS: Final = HERE / "workflows"
IMAGES: Final = HERE.parents[1] / "docs" / "images"
ACROSS, DOWN = 218 / 170, 92 / 310
"""The canvas runs left to right, a page top to bottom: its y becomes x, its x becomes y."""
WIDTH, HEIGHT, MARGIN = 192, 50, 24
PAD: Final = 18
COLOURS: Final = {
    "http-request": "#7a5af8",
    "if-else": "#0891b2",
    "end": "#e8590c",
    "start": "#2563eb",
    "trigger-webhook": "#2563eb",
    "trigger-schedule": "#2563eb",
    "human-input": "#b45309",
    "variable-aggregator": "#64748b",
    "assigner": "#64748b",
    "loop": "#0d9488",
}
KINDS: Final = {
    "http-request": "HTTP request",
    "if-else": "if / else",
    "end": "end",
    "start": "start",
    "trigger-webhook": "webhook trigger",
    "trigger-schedule": "schedule trigger",
    "human-input": "Human Input",
    "variable-aggregator": "variable aggregator",
    "assigner": "variable assigner",
}

Json = dict[str, Any]
Box = tuple[float, float, float, float]
"""x, y, width, height."""


def draw(document: Json) -> str:
    """The picture of one template."""
    graph = document["workflow"]["graph"]
    nodes: dict[str, Json] = {node["id"]: node for node in graph["nodes"] if node["data"]["type"] != "loop-start"}
    edges: list[Json] = [edge for edge in graph["edges"] if edge["source"] in nodes]
    boxes = _boxes(nodes)
    left, top = (min(box[axis] for box in boxes.values()) - MARGIN for axis in (0, 1))
    right = max(box[0] + box[2] for box in boxes.values()) + MARGIN
    bottom = max(box[1] + box[3] for box in boxes.values()) + MARGIN
    title = escape(document["app"]["name"])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} {top:.0f} {right - left:.0f} {bottom - top:.0f}" '
        f'width="{right - left:.0f}" height="{bottom - top:.0f}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{title}</title>",
        f"<desc>{escape(document['app']['description'])}</desc>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>',
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" height="{bottom - top:.0f}" fill="#fff"/>',
    ]
    parts += [_loop(node, boxes[name]) for name, node in nodes.items() if node["data"]["type"] == "loop"]
    parts += [_edge(edge, boxes, edges) for edge in edges]
    parts += [_node(node, boxes[name]) for name, node in nodes.items() if node["data"]["type"] != "loop"]
    return "\n".join([*parts, "</svg>\n"])


def _boxes(nodes: dict[str, Json]) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    for name, node in nodes.items():
        place = node["positionAbsolute"]
        boxes[name] = (place["y"] * ACROSS, place["x"] * DOWN, WIDTH, HEIGHT)
    for name, node in nodes.items():
        if node["data"]["type"] == "loop":
            inside = [boxes[child] for child, other in nodes.items() if other.get("parentId") == name]
            boxes[name] = _around(inside)
    return boxes


def _around(inside: list[Box]) -> Box:
    left, top = min(box[0] for box in inside) - PAD, min(box[1] for box in inside) - PAD - 14
    right = max(box[0] + box[2] for box in inside) + PAD
    bottom = max(box[1] + box[3] for box in inside) + PAD
    return left, top, right - left, bottom - top


def _loop(node: Json, box: Box) -> str:
    x, y, width, height = box
    count = node["data"]["loop_count"]
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="12" fill="#f0fdfa" '
        f'stroke="#0d9488" stroke-dasharray="5 4"/><text x="{x + 12:.0f}" y="{y + 18:.0f}" fill="#0f766e">'
        f"loop, at most {count} times</text>"
    )


def _node(node: Json, box: Box) -> str:
    data = node["data"]
    x, y, width, height = box
    colour = COLOURS[data["type"]]
    strong = ' stroke-width="2.5"' if node["id"] in ("gate", "redeem", "act") else ""
    kind = KINDS[data["type"]]
    under = kind if data["type"] == "end" else f"{node['id']} · {kind}"
    return (
        f'<g><rect x="{x:.0f}" y="{y:.0f}" width="{width}" height="{height}" rx="9" fill="#fff" '
        f'stroke="{colour}"{strong}/><rect x="{x:.0f}" y="{y + 8:.0f}" width="4" height="{height - 16}" '
        f'fill="{colour}"/><text x="{x + 13:.0f}" y="{y + 21:.0f}" fill="#0f172a" font-weight="600">'
        f'{escape(data["title"])}</text><text x="{x + 13:.0f}" y="{y + 38:.0f}" fill="#475569" '
        f'font-size="11">{escape(under)}</text></g>'
    )


def _edge(edge: Json, boxes: dict[str, Box], edges: list[Json]) -> str:
    from_x, from_y, from_width, from_height = boxes[edge["source"]]
    to_x, to_y, to_width, _ = boxes[edge["target"]]
    x1, y1, x2, y2 = from_x + from_width / 2, from_y + from_height, to_x + to_width / 2, to_y - 1
    if x2 - x1 > from_width / 2:  # leaves on the right, past what stands below
        x1, y1 = from_x + from_width, from_y + from_height / 2
        path = f"M{x1:.0f} {y1:.0f} C{x2:.0f} {y1:.0f} {x2:.0f} {y1:.0f} {x2:.0f} {y2:.0f}"
    else:
        bend = max(18.0, (y2 - y1) / 2)
        path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
    line = f'<path d="{path}" fill="none" stroke="#64748b" stroke-width="1.3" marker-end="url(#tip)"/>'
    words = {"source": "", "false": "else", "fail-branch": "fault", "__timeout": "timeout"}
    word = words.get(edge["sourceHandle"], edge["sourceHandle"])
    if not word:
        return line
    ends = (edge["source"], edge["target"])
    beside = [one["sourceHandle"] for one in edges if (one["source"], one["target"]) == ends]
    sideways = x1 == from_x + from_width
    x, y = (x2, y2 - 16) if sideways else ((x1 + x2) / 2, (y1 + y2) / 2)
    shift = 52 * beside.index(edge["sourceHandle"]) - 26 * (len(beside) - 1)
    return (
        f'{line}<text x="{x + shift:.0f}" y="{y + 4:.0f}" text-anchor="middle" fill="#334155" font-size="11" '
        f'stroke="#fff" stroke-width="3" paint-order="stroke">{escape(word)}</text>'
    )


def picture_of(template: Path) -> Path:
    return IMAGES / f"dify-{template.stem.removeprefix('gate-')}.svg"


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    for template in sorted(WORKFLOWS.glob("*.yml")):
        picture_of(template).write_text(draw(yaml.safe_load(template.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
