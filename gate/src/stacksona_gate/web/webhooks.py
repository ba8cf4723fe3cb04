"""What admins do about webhooks from a page: take a notice off, switch an endpoint on, send a delivery again."""

from __future__ import annotations

import json
from collections.abc import Callable

from starlette.requests import Request as Call
from starlette.responses import Response

from stacksona_gate.domain.audit import Actor
from stacksona_gate.domain.errors import Conflict
from stacksona_gate.service import deliveries, endpoints
from stacksona_gate.service.administration import acting_admin
from stacksona_gate.service.gate import Gate
from stacksona_gate.service.notices import dismiss_notice, list_notices
from stacksona_gate.service.people import still
from stacksona_gate.service.transactions import Tx
from stacksona_gate.service.webhooks import SWITCHED_OFF
from stacksona_gate.web.pages import see_other
from stacksona_gate.web.thread import Threads, Typed
from stacksona_gate.web.visitors import signed_in, submitted


class Webhooks:
    """The forms."""

    def __init__(self, gate: Gate, threads: Threads) -> None:
        self._gate = gate
        self._threads = threads

    async def dismiss(self, request: Call) -> Response:
        """``/notices/{notice_id}/dismissal``."""
        env, notice_id = self._gate.env, request.path_params["notice_id"]
        await self._change(request, lambda tx, actor, tenant: dismiss_notice(tx, env, actor, tenant, notice_id))
        return see_other("/inbox")

    async def switch_on(self, request: Call) -> Response:
        """``/webhooks/{endpoint_id}/switch-on``: the notice that said it was off goes with it."""
        env, endpoint_id = self._gate.env, request.path_params["endpoint_id"]

        def unit(tx: Tx, actor: Actor, tenant: str) -> None:
            endpoint = endpoints.switch_on(tx, env, actor, tenant, endpoint_id)
            for notice in list_notices(tx, tenant):
                if notice.kind == SWITCHED_OFF and endpoint.id in json.loads(notice.objects).values():
                    dismiss_notice(tx, env, actor, tenant, notice.id)

        await self._change(request, unit)
        return see_other("/inbox")

    async def replay(self, request: Call) -> Response:
        """``/inbox/{thread_id}/deliveries/{delivery_id}/replay``."""
        env, delivery_id = self._gate.env, request.path_params["delivery_id"]
        try:
            await self._change(
                request, lambda tx, actor, tenant: deliveries.replay(tx, env, actor, tenant, delivery_id)
            )
        except Conflict as error:
            person = await signed_in(self._gate, request)
            return await self._threads.page(person, request, Typed(error=error), status=409)
        return see_other(f"/inbox/{request.path_params['thread_id']}#sent-title")

    async def _change(self, request: Call, unit: Callable[[Tx, Actor, str], object]) -> None:
        """Raises Forbidden for who does not administer, also when that changed a moment ago."""
        person = await signed_in(self._gate, request)
        await submitted(self._gate, request, person)
        change = still(self._gate.env, person, lambda tx, user: unit(tx, acting_admin(user), user.tenant_id))
        await self._gate.store.write(change)
