"""The operator's table. It takes operators' keys only."""

from __future__ import annotations

from typing import Final

from stacksona_gate.api.installation import tenants
from stacksona_gate.api.routing import Operation, Parameter

_TENANTS: Final = "/api/installation/tenants"
_TENANT: Final = _TENANTS + "/{tenant}"
_TAG: Final = "Installation"
_MATCH: Final = Parameter("If-Match", "header", "The ETag that you read; another state is 412", {"type": "string"})
_CHANGE: Final = (400, 401, 404, 409, 412, 413, 415, 422, 503)
_SWITCH: Final = (401, 404, 409, 412, 422, 503)

INSTALLATION_OPERATIONS: Final = (
    Operation("GET", _TENANTS, tenants.get_tenants, _TAG, "operator", answer=tenants.TenantList, errors=(401, 503)),
    Operation(
        "POST",
        _TENANTS,
        tenants.create_tenant,
        _TAG,
        "operator",
        body=tenants.NewTenant,
        answer=tenants.TenantCreated,
        status=201,
        errors=(400, 401, 409, 413, 415, 422, 503),
    ),
    Operation(
        "GET", _TENANT, tenants.get_tenant, _TAG, "operator", answer=tenants.TenantAnswer, errors=(401, 404, 503)
    ),
    Operation(
        "PATCH",
        _TENANT,
        tenants.change_tenant,
        _TAG,
        "operator",
        body=tenants.TenantPatch,
        answer=tenants.TenantAnswer,
        errors=_CHANGE,
        parameters=(_MATCH,),
    ),
    Operation(
        "PUT",
        _TENANT + "/limits",
        tenants.put_limits,
        _TAG,
        "operator",
        body=tenants.LimitsBody,
        answer=tenants.TenantAnswer,
        errors=_CHANGE,
        parameters=(_MATCH,),
    ),
    Operation(
        "PUT",
        _TENANT + "/suspension",
        tenants.suspend,
        _TAG,
        "operator",
        answer=tenants.TenantAnswer,
        errors=_SWITCH,
        parameters=(_MATCH,),
    ),
    Operation(
        "DELETE",
        _TENANT + "/suspension",
        tenants.resume,
        _TAG,
        "operator",
        answer=tenants.TenantAnswer,
        errors=_SWITCH,
        parameters=(_MATCH,),
    ),
    Operation(
        "POST",
        _TENANT + "/setup-link",
        tenants.create_setup_link,
        _TAG,
        "operator",
        answer=tenants.SetupLink,
        status=201,
        errors=(401, 404, 409, 503),
    ),
)
