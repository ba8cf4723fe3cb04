"""The OpenAPI document put in the order that a person reads it: areas, operations, fields, an example to paste."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from stacksona_gate.api.errors import TITLES

Json = dict[str, Any]
Pieces = tuple[tuple[bool, str], ...]

_EXAMPLES: Final[Json] = {
    "tool_name": "issue_refund",
    "subject": "Refund order 8821",
    "payload": {"amount": 500, "currency": "EUR"},
    "risk_level": "high",
    "signature": "$APPROVAL_TOKEN",
    "task_id": "task-refund-8821",
    "thread_id": "THR-01KB3YQ6ZC9R4V7T2M8N5P0XWD",
    "event_type": "task.started",
    "event_summary": "Checking the order",
    "status": "executed",
    "verdict": "approve",
    "revision": 1,
    "message": "Checked against the order",
    "text": "Called the customer",
    "name": "Refunds over 250",
    "type": "upper_limit",
    "parameter": "amount",
    "action": "review",
    "limit": "250",
    "tool": "issue_refund",
    "tools": ["issue_refund"],
    "default": "review",
    "email": "rita@example.com",
    "role": "reviewer",
    "password": "a long sentence of your own",
    "overlap": 3600,
    "version": 1,
    "unknown_tool": "review",
    "enabled": False,
    "requests_per_second": 20,
    "agent_id": "support-bot",
    "verifier_id": "payments",
    "user_id": "me",
    "rule_id": "rul_5f0d3c9e1b7a2d48",
    "attachment_id": "att_01KB3YQ6ZC9R4V7T2M8N5P0XWD",
    "token_id": "tok_01KB3YQ6ZC9R4V7T2M8N5P0XWD",
    "from": 1,
    "delivery_id": "msg_01KB3YQ6ZC9R4V7T2M8N5P0XWD",
    "tenant": "acme",
    "notice_id": "ntc_01KB3YQ6ZC9R4V7T2M8N5P0XWD",
    "url": "https://ops.example.com/stacksona",
}
_BY_BODY: Final[dict[str, Json]] = {
    "NewAgent": {"name": "support-bot"},
    "NewTenant": {"name": "acme"},
    "TenantPatch": {"name": "acme-eu"},
    "AgentPatch": {"requests_per_second": 20},
    "NewVerifier": {"name": "payments", "tools": ["issue_refund"]},
    "VerifierPatch": {"enabled": False},
    "KeyRotation": {"overlap": 3600},
    "SecretRotation": {"overlap": 86400},
    "Replay": {"state": "dead", "agent": "support-bot", "limit": 100},
    "NewToken": {"name": "nightly report"},
    "UserPatch": {"role": "auditor"},
    "RulePatch": {"limit": "300"},
    "ToolSettings": {"default": "review", "strict_binding": True},
    "OutcomeBody": {"status": "executed", "thread_id": "THR-01KB3YQ6ZC9R4V7T2M8N5P0XWD"},
    "PolicyDocument": {"version": 1, "tools": {"issue_refund": {"default": "review"}}},
    "NewRule": {
        "tool": "issue_refund",
        "name": "Refunds over 250",
        "type": "upper_limit",
        "parameter": "amount",
        "limit": "250",
        "action": "review",
    },
}
_OFTEN: Final = ("payload", "message", "event_summary", "tool_name")
_TITLES: Final = {
    "agentKey": ("agent key", "$STACKSONA_API_KEY"),
    "personalToken": ("personal token or session", "$STACKSONA_TOKEN"),
    "operatorKey": ("operator's key", "$STACKSONA_OPERATOR_KEY"),
}
_CODE: Final = re.compile(r"`([^`]*)`")


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field of a body or an answer, or a parameter."""

    name: str
    type: Pieces
    """Pieces that are names of shapes are told apart."""
    required: bool
    text: Pieces
    place: str = ""


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One status of an operation."""

    status: str
    text: Pieces
    media_types: tuple[str, ...]
    headers: tuple[str, ...]
    fields: tuple[FieldRow, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation. ``paragraphs`` and texts are pieces: (is code, text)."""

    id: str
    method: str
    path: str
    title_pieces: Pieces
    paragraphs: tuple[Pieces, ...]
    access: str
    parameters: tuple[FieldRow, ...]
    body_types: tuple[str, ...]
    body_text: str
    body: tuple[FieldRow, ...]
    example: str
    answers: tuple[AnswerRow, ...]
    errors: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A struct that bodies or answers hold."""

    name: str
    text: Pieces
    fields: tuple[FieldRow, ...]


@dataclass(frozen=True, slots=True)
class Area:
    """Operations that belong together."""

    id: str
    name: str
    entries: tuple[Entry, ...]


def sections(document: Json, public_url: str) -> tuple[Area, ...]:
    """The document's operations by tag, in its order."""
    reader = _Reader(document, public_url)
    entries: dict[str, list[Entry]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            entries[operation["tags"][0]].append(reader.entry(path, method.upper(), operation))
    return tuple(Area(_slug(name), name, tuple(found)) for name, found in entries.items())


def shapes(document: Json) -> tuple[Shape, ...]:
    """Every named struct, by name."""
    reader = _Reader(document, "")
    named = sorted(document["components"]["schemas"].items())
    return tuple(Shape(name, pieces(_flat(one)), tuple(reader.fields(one))) for name, one in named)


def _flat(schema: Json) -> str:
    return " ".join(schema.get("description", "").split())


def pieces(text: str) -> Pieces:
    """Prose with its ``code`` told apart."""
    return tuple((at % 2 == 1, part) for at, part in enumerate(_CODE.split(text)) if part)


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


@dataclass(frozen=True, slots=True)
class _Reader:
    document: Json
    public_url: str

    def entry(self, path: str, method: str, operation: Json) -> Entry:
        content = operation.get("requestBody", {}).get("content", {})
        body = self.struct(next(iter(content.values()))["schema"]) if content else {}
        answers = tuple(self.answer(*item) for item in operation["responses"].items() if item[0] < "400")
        errors = tuple((status, TITLES[int(status)]) for status in operation["responses"] if status >= "400")
        paragraphs = _rest(operation["description"]).split("\n\n")
        return Entry(
            operation["operationId"],
            method,
            path,
            pieces(operation["summary"]),
            tuple(pieces(" ".join(paragraph.split())) for paragraph in paragraphs if paragraph),
            _access(operation),
            tuple(self.parameter(parameter) for parameter in operation.get("parameters", ())),
            tuple(content),
            body.get("description", ""),
            tuple(self.fields(body)),
            self.example(path, method, operation, body),
            answers,
            errors,
        )

    def struct(self, schema: Json) -> Json:
        """The schema behind a reference."""
        found: Json = schema
        if "$ref" in schema:
            found = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found

    def parameter(self, parameter: Json) -> FieldRow:
        kind = self.linked(self.type_of(parameter["schema"]))
        return FieldRow(
            parameter["name"], kind, parameter["required"], pieces(parameter["description"]), parameter["in"]
        )

    def fields(self, schema: Json) -> Iterator[FieldRow]:
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            yield FieldRow(name, self.linked(self.type_of(field)), name in required, pieces(self.limits(field)))

    def type_of(self, schema: Json) -> str:
        """A type in few words."""
        if "$ref" in schema:
            return str(schema["$ref"].rpartition("/")[2])
        if "enum" in schema:
            return " | ".join(json.dumps(value) for value in schema["enum"] if value != "")
        if "anyOf" in schema:
            return " | ".join(dict.fromkeys(self.type_of(option) for option in schema["anyOf"]))
        if schema.get("type") == "array":
            return f"list of {self.type_of(schema.get('items', {}))}"
        return str(schema.get("type", "any"))

    def linked(self, text: str) -> Pieces:
        """A type with the names of shapes told apart."""
        shapes_named = self.document["components"]["schemas"]
        return tuple((part in shapes_named, part) for part in re.split(r"(\w+)", text) if part)

    def limits(self, schema: Json) -> str:
        """What a value has to keep to."""
        options = [schema, *schema.get("anyOf", ())]
        found = {key: option[key] for option in reversed(options) for key in _LIMITS if key in option}
        parts = [_LIMITS[key].format(_shown(found[key])) for key in _LIMITS if key in found]
        default = schema.get("default")
        return ", ".join([*parts, *([f"default {json.dumps(default)}"] if default not in (None, [], {}, "") else [])])

    def answer(self, status: str, response: Json) -> AnswerRow:
        content = response.get("content", {})
        schema = self.struct(next(iter(content.values()))["schema"]) if content else {}
        text, headers = pieces(response["description"]), tuple(response.get("headers", ()))
        return AnswerRow(status, text, tuple(content), headers, tuple(self.fields(schema)))

    def example(self, path: str, method: str, operation: Json, body: Json) -> str:
        """A call to paste into a shell."""
        filled = re.sub(r"\{([a-z_]+)\}", lambda found: str(_EXAMPLES.get(found[1], "1")), path)
        if path.startswith("/api/admin/tools/"):
            filled = "/api/admin/tools/issue_refund"
        wanted = [p for p in operation.get("parameters", ()) if p["in"] == "query" and p["required"]]
        query = "&".join(f"{p['name']}={_EXAMPLES.get(p['name'], 1)}" for p in wanted)
        if path == "/api/agent/decisions" or path.endswith("/decisions/stream"):
            query = f"thread_id={_EXAMPLES['thread_id']}"
        lines = [f'curl "$STACKSONA_GATE_URL{filled}{"?" + query if query else ""}"']
        lines += [] if method == "GET" else [f"-X {method}"]
        lines += _authorization(operation)
        if body:
            lines += ["-H 'Content-Type: application/json'", f"-d '{_pretty(self.example_body(body))}'"]
        return " \\\n  ".join(lines)

    def example_body(self, body: Json) -> Json:
        if body.get("title") in _BY_BODY:
            return _BY_BODY[body["title"]]
        names = [name for name in body.get("properties", {}) if name in body.get("required", ()) or name in _OFTEN]
        return {name: _EXAMPLES[name] for name in names if name in _EXAMPLES}


_LIMITS: Final = {
    "description": "{}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "maxLength": "up to {} characters",
    "maxItems": "up to {}",
    "maxProperties": "up to {} keys",
    "minLength": "at least {}",
    "format": "{}",
}


def _pretty(value: Json) -> str:
    """One line while it is short."""
    line = json.dumps(value)
    return line if len(line) <= 60 else json.dumps(value, indent=2)


def _rest(text: str) -> str:
    """A description without its first sentence, which is the title already."""
    parts = re.split(r"(?<=[.:;])\s", text, maxsplit=1)
    rest = parts[1] if len(parts) > 1 else ""
    return rest[:1].upper() + rest[1:]


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _access(operation: Json) -> str:
    names = [name for scheme in operation["security"] for name in scheme]
    return _TITLES[names[0]][0] if names else "open"


def _authorization(operation: Json) -> list[str]:
    names = [name for scheme in operation["security"] for name in scheme]
    return [f'-H "Authorization: Bearer {_TITLES[names[0]][1]}"'] if names else []
