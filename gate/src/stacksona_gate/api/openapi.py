"""The OpenAPI 3.1 document, made from the tables that are served: what is not in them is not described, and the other
way round."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from stacksona_gate.api.agent.answers import Decision, DecisionPage, PolledDecision
from stacksona_gate.api.errors import PROBLEM_TYPE, TITLES, Problem
from stacksona_gate.api.metrics import VERSION
from stacksona_gate.api.routing import Operation
from stacksona_gate.domain.ids import TASK_ID
from stacksona_gate.service.sessions import CSRF_HEADER, cookie_name

Json = dict[str, Any]

FORM: Final = "application/x-www-form-urlencoded"
YAML: Final = "application/yaml"
_PATH_FIELD: Final = re.compile(r"\{([a-z_]+)(?::[a-z]+)?\}")
_REF: Final = "#/components/schemas/{name}"
_TEXT: Final[Json] = {"type": "string"}
_BYTES: Final[Json] = {"type": "string", "format": "binary"}
_RAW: Final = {"application/octet-stream": _BYTES, "text/event-stream": _TEXT}
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON_TYPES: Final = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))


@dataclass(frozen=True, slots=True)
class Variant:
    """An answer that an operation gives besides its own. ``answer`` None: no body."""

    status: int
    answer: Any = None
    media_type: str = "application/json"


class JwkSet(msgspec.Struct):
    """Public keys (RFC 7517, RFC 8037)."""

    keys: list[dict[str, str]]


class GateStatus(msgspec.Struct):
    """The process answers."""

    status: str


class GateVersion(msgspec.Struct):
    """The gate's version."""

    version: str


_VARIANTS: Final[dict[tuple[str, str], tuple[Variant, ...]]] = {
    ("GET", "/api/agent/decisions"): (Variant(304),),
    ("POST", "/api/agent/tasks/{task_id}/events"): (Variant(200, PolledDecision),),
    ("POST", "/api/agent/approvals/validate"): (
        Variant(200, dict[str, Any], "application/vnd.stacksona.payload+json"),
    ),
    ("GET", "/api/review/threads/{thread_id}/export"): (Variant(200, str, "text/html"),),
    ("GET", "/api/admin/audit/export"): (Variant(200, str, "text/csv"),),
    ("GET", "/api/admin/policy"): (Variant(200, str, YAML),),
    ("GET", "/api/admin/policy/versions/{version}"): (Variant(200, str, YAML),),
}
_ANSWERS: Final[dict[str, Any]] = {
    "/.well-known/jwks.json": JwkSet,
    "/healthz": GateStatus,
    "/readyz": GateStatus,
    "/version": GateVersion,
}
_TEXT_BODIES: Final = {("PUT", "/api/admin/policy"): YAML}
_OPTIONAL_BODIES: Final = {("POST", "/api/admin/agents/{agent_id}/key")}
_PATH_FIELDS: Final[dict[str, tuple[str, Json]]] = {
    "task_id": (
        "The agent's own id for a piece of work",
        {"type": "string", "minLength": 1, "maxLength": 200, "pattern": f"^{TASK_ID.pattern}$"},
    ),
    "thread_id": ("A thread, as in `THR-01K…`", _TEXT),
    "attachment_id": ("An attachment of the thread", _TEXT),
    "agent_id": ("An agent, by id or name", _TEXT),
    "verifier_id": ("A verifier, by id or name", _TEXT),
    "name": ("A tool's name; `/` may stand in it as it is", _TEXT),
    "rule_id": ("A rule", _TEXT),
    "user_id": ("A user, by id or mail address", _TEXT),
    "token_id": ("A personal token", _TEXT),
    "tenant": ("A workspace, by id or name", _TEXT),
    "delivery_id": ("A delivery: the `webhook-id` that its receiver sees", _TEXT),
    "notice_id": ("A notice", _TEXT),
    "version": ("A version of the policy", {"type": "integer", "minimum": 0, "maximum": 2**31}),
}
_DECISION_HEADERS: Final[Json] = {
    "X-Gate-Decision": {"description": "The status, to branch on without parsing", "schema": _TEXT},
    "X-Gate-Task-Id": {"description": "The task, to redeem with", "schema": _TEXT},
    "X-Gate-Request-Id": {"description": "The request, to report with", "schema": _TEXT},
    "X-Gate-Payload-Digest": {"description": "The payload's digest as it stands, to redeem with", "schema": _TEXT},
    "X-Gate-Thread-Id": {"description": "The thread, when there is one", "schema": _TEXT},
    "X-Gate-Approval-Token": {"description": "The approval token, when there is one", "schema": _TEXT},
    "Retry-After": {"description": "Seconds to let pass, while people look", "schema": {"type": "integer"}},
    "ETag": {"description": "Changes with the decision, not with the token", "schema": _TEXT},
}
_NEXT_CURSOR: Final[Json] = {
    "X-Gate-Next-Cursor": {
        "description": "The cursor of the next page, when there is one. A page of `limit=1` has its decision's headers",
        "schema": _TEXT,
    }
}
_REQUEST_ID: Final[Json] = {
    "description": "Yours when it was well formed, else a new one",
    "schema": _TEXT,
    "required": True,
}
_EVERY_ANSWER: Final[Json] = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
_ETAG: Final[Json] = {"ETag": {"description": "To send back as If-Match", "schema": _TEXT}}
_QUOTA: Final[Json] = {
    "RateLimit-Policy": {
        "description": "The quota that is used up, where it is one",
        "schema": _TEXT,
    },
    "RateLimit": {"description": "What is left of it, and in how many seconds there is more", "schema": _TEXT},
}
_DESCRIPTION: Final = """\
Ask before acting. An agent may run an action only on `allow` or `approved`; every other value, and every failure, \
means that it may not.

Agents hold a key `sg_…`, tools' verifiers a key `sv_…`, people sign in or use a personal token `sp_…`, the \
installation's operator has a key `so_…`. They never open each other's doors. Errors are problem documents (RFC 9457): \
`code` never changes its meaning and `detail` says what to do next.
"""


def openapi_document(operations: Iterable[Operation], public_url: str) -> Json:
    """The whole document. ``operations`` in the order in which they are to be read."""
    table = tuple(operations)
    structs = tuple(dict.fromkeys(_structs(table)))
    refs, components = msgspec.json.schema_components(structs, schema_hook=_any_value, ref_template=_REF)
    schemas = dict(zip(structs, refs, strict=True))
    paths: dict[str, Json] = {}
    for operation in table:
        described = _operation(operation, schemas)
        paths.setdefault(path_of(operation), {})[operation.method.lower()] = described
    document: Json = {
        "openapi": "3.1.0",
        "info": {"title": "Stacksona Gate", "version": VERSION, "description": _DESCRIPTION},
        "servers": [{"url": public_url}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in table)],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {_problem_name(status): _problem(status, schemas[Problem]) for status in TITLES},
            "headers": {"X-Request-Id": _REQUEST_ID},
            "securitySchemes": _security_schemes(public_url),
        },
    }
    _type_enums(document["components"]["schemas"])
    return document


def _any_value(kind: type) -> Json:
    """What bodies call ``object`` is any JSON value."""
    if kind is object:
        return {"description": "Any JSON value"}  # an empty schema counts as none to msgspec
    raise TypeError(f"{kind} has no JSON schema")


def path_of(operation: Operation) -> str:
    """The path as OpenAPI writes it: without the router's hints."""
    return _PATH_FIELD.sub(r"{\1}", operation.path)


def operation_id(operation: Operation) -> str:
    """Unique: handlers of different areas may share a name."""
    parts = operation.path.split("/")
    area = parts[2] if parts[1] == "api" else "gate"
    return f"{area}_{getattr(operation.handler, '__name__', 'handler')}"


def _structs(table: tuple[Operation, ...]) -> Iterator[Any]:
    """Every type that a body or an answer has."""
    yield Problem
    for operation in table:
        yield from (kind for kind in (operation.body, _answer(operation)) if kind is not None)
        yield from (variant.answer for variant in _variants(operation) if variant.answer is not None)


def _answer(operation: Operation) -> Any:
    return operation.answer or _ANSWERS.get(operation.path)


def _variants(operation: Operation) -> tuple[Variant, ...]:
    return _VARIANTS.get((operation.method, path_of(operation)), ())


def _operation(operation: Operation, schemas: dict[Any, Json]) -> Json:
    text = inspect.cleandoc(operation.handler.__doc__ or "")
    described: Json = {
        "operationId": operation_id(operation),
        "summary": first_sentence(text),
        "description": text,
        "tags": [operation.tag],
        "security": _security(operation),
        "responses": _responses(operation, schemas),
    }
    parameters = [*_path_parameters(operation), *_parameters(operation)]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = _request_body(operation, schemas[operation.body])
    return described


def first_sentence(text: str) -> str:
    """A docstring's first sentence, on one line, without its stop."""
    sentence = re.split(r"(?<=[.:;])\s", " ".join(text.split()), maxsplit=1)[0]
    return sentence.rstrip(".:;")


def _security(operation: Operation) -> list[Json]:
    if operation.security == "agent":
        return [{"agentKey": []}]
    if operation.security == "operator":
        return [{"operatorKey": []}]
    return [{"personalToken": []}, {"sessionCookie": []}] if operation.security == "person" else []


def _path_parameters(operation: Operation) -> Iterator[Json]:
    for name in _PATH_FIELD.findall(operation.path):
        description, schema = _PATH_FIELDS[name]
        yield {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _parameters(operation: Operation) -> Iterator[Json]:
    for parameter in operation.parameters:
        yield {
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.required,
            "description": parameter.description,
            "schema": parameter.schema,
        }
    if operation.security == "person" and operation.method in _CHANGING:
        description = "The session's token; only calls that a cookie authenticates need it"
        yield {"name": CSRF_HEADER, "in": "header", "required": False, "description": description, "schema": _TEXT}


def _request_body(operation: Operation, schema: Json) -> Json:
    content: Json = {"application/json": {"schema": schema}}
    if operation.forms and operation.body is not None:
        content[FORM] = {"schema": schema, "encoding": _form_encoding(operation.body)}
    other = _TEXT_BODIES.get((operation.method, operation.path))
    if other is not None:
        content[other] = {"schema": _TEXT}
    return {"required": (operation.method, operation.path) not in _OPTIONAL_BODIES, "content": content}


def _form_encoding(body: type[msgspec.Struct]) -> Json:
    """Objects travel as ``payload[a][b]``, which OpenAPI calls a deep object."""
    deep = [name for name in ("payload", "metadata") if name in body.__struct_fields__]
    return {name: {"style": "deepObject", "explode": True} for name in deep}


def _responses(operation: Operation, schemas: dict[Any, Json]) -> Json:
    responses: Json = {str(operation.status): _success(operation, schemas)}
    for variant in _variants(operation):
        known = responses.setdefault(str(variant.status), _bare(variant.status, _headers(operation, variant.answer)))
        if variant.answer is not None:
            known.setdefault("content", {})[variant.media_type] = {"schema": schemas[variant.answer]}
    for status in sorted({*operation.errors, 405}):
        responses[str(status)] = {"$ref": f"#/components/responses/{_problem_name(status)}"}
    return dict(sorted(responses.items()))


def _success(operation: Operation, schemas: dict[Any, Json]) -> Json:
    answer = _answer(operation)
    success = _bare(operation.status, _headers(operation, answer))
    success["description"] = inspect.cleandoc(answer.__doc__ or "") if answer is not None else "As described"
    schema = schemas[answer] if answer is not None else _RAW.get(operation.media_type, _TEXT)
    success["content"] = {operation.media_type: {"schema": schema}}
    return success


def _bare(status: int, headers: Json) -> Json:
    return {"description": "Nothing changed" if status == 304 else "Another form of the answer", "headers": headers}


def _headers(operation: Operation, answer: Any) -> Json:
    if answer in (Decision, PolledDecision):
        return {**_EVERY_ANSWER, **_DECISION_HEADERS}
    if answer is DecisionPage:
        return {**_EVERY_ANSWER, **_NEXT_CURSOR}
    tagged = (
        operation.path.startswith(("/api/admin/", "/api/installation/")) and operation.media_type == "application/json"
    )
    return {**_EVERY_ANSWER, **_ETAG} if tagged else _EVERY_ANSWER


def _problem_name(status: int) -> str:
    return f"Problem{status}"


def _problem(status: int, schema: Json) -> Json:
    headers = dict(_EVERY_ANSWER)
    if status in (429, 503):
        headers["Retry-After"] = {"description": "Seconds after which trying again may help", "schema": _TEXT}
    if status == 429:
        headers |= _QUOTA
    if status == 405:
        headers["Allow"] = {"description": "The methods that this address takes", "schema": _TEXT}
    content = {PROBLEM_TYPE.decode(): {"schema": schema}}
    return {"description": TITLES[status], "headers": headers, "content": content}


def _security_schemes(public_url: str) -> Json:
    cookie = "A signed-in browser's cookie. Changing calls also need the header X-CSRF-Token"
    return {
        "agentKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "An agent's key `sg_…`, or a verifier's `sv_…`",
        },
        "operatorKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of the installation's operator `so_…`: makes workspaces and looks into none",
        },
        "personalToken": {"type": "http", "scheme": "bearer", "description": "A person's token `sp_…`"},
        "sessionCookie": {"type": "apiKey", "in": "cookie", "name": cookie_name(public_url), "description": cookie},
    }


def _type_enums(node: Any) -> None:
    """msgspec leaves the type of an enumeration out; generators and readers want it."""
    if isinstance(node, dict):
        if isinstance(node.get("enum"), list) and "type" not in node:
            node["type"] = _type_of(node["enum"])
        for child in node.values():
            _type_enums(child)
    elif isinstance(node, list):
        for child in node:
            _type_enums(child)


def _type_of(values: list[object]) -> str | list[str]:
    names = dict.fromkeys(_type_name(value) for value in values)
    return next(iter(names)) if len(names) == 1 else list(names)


def _type_name(value: object) -> str:
    return next((name for kind, name in _JSON_TYPES if isinstance(value, kind)), "null")
