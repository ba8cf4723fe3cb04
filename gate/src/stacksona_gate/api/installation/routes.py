"""The operator's table. It takes operators' keys only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

from stacksona_gate.api.http import Call, Reply
from stacksona_gate.api.installation import tenants
from stacksona_gate.api.installation.tenants import InstallationContext
from stacksona_gate.api.routing import IF_MATCH, Operation

_Handler = Callable[[InstallationContext, Call], Awaitable[Reply]]

_TENANTS: Final = "/api/installation/tenants"
_TENANT: Final = _TENANTS + "/{tenant}"
_TAG: Final = "Installation"
_LIST: Final = (401, 503)
_READ: Final = (401, 404, 503)
_CREATE: Final = (400, 401, 409, 413, 415, 422, 503)
_INVITE: Final = (401, 404, 409, 503)
_CHANGE: Final = (400, 401, 404, 409, 412, 413, 415, 422, 503)
_SWITCH: Final = (401, 404, 409, 412, 422, 503)


def _get(path: str, handler: _Handler, answer: Any, errors: tuple[int, ...]) -> Operation:
    return Operation("GET", path, handler, _TAG, "operator", answer=answer, errors=errors)


def _create(
    path: str, handler: _Handler, answer: Any, errors: tuple[int, ...], body: type[Struct] | None = None
) -> Operation:
    return Operation("POST", path, handler, _TAG, "operator", body=body, answer=answer, status=201, errors=errors)


def _change(method: str, path: str, handler: _Handler, body: type[Struct] | None = None) -> Operation:
    return Operation(
        method,
        path,
        handler,
        _TAG,
        "operator",
        body=body,
        answer=tenants.TenantAnswer,
        errors=_SWITCH if body is None else _CHANGE,
        parameters=(IF_MATCH,),
    )


INSTALLATION_OPERATIONS: Final = (
    _get(_TENANTS, tenants.get_tenants, tenants.TenantList, _LIST),
    _create(_TENANTS, tenants.create_tenant, tenants.TenantCreated, _CREATE, tenants.NewTenant),
    _get(_TENANT, tenants.get_tenant, tenants.TenantAnswer, _READ),
    _change("PATCH", _TENANT, tenants.change_tenant, tenants.TenantPatch),
    _change("PUT", _TENANT + "/limits", tenants.put_limits, tenants.LimitsBody),
    _change("PUT", _TENANT + "/suspension", tenants.suspend),
    _change("DELETE", _TENANT + "/suspension", tenants.resume),
    _create(_TENANT + "/setup-link", tenants.create_setup_link, tenants.SetupLink, _INVITE),
)
