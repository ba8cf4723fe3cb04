"""Deliveries of the gate, checked before anything starts; and where they go, set and taken away at the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import gate_admin
from dify_plugin.entities import I18nObject, ParameterOption
from dify_plugin.entities.provider_config import CredentialType
from dify_plugin.entities.trigger import EventDispatch, Subscription, UnsubscribeResult
from dify_plugin.errors.trigger import SubscriptionError, TriggerProviderCredentialValidationError
from dify_plugin.interfaces.trigger import Trigger, TriggerSubscriptionConstructor
from stacksona import ConfigurationError, WebhookEvent, WebhookRefused, WebhookVerifier
from werkzeug import Request, Response

DECIDED: Final = ("decision.approved", "decision.rejected", "decision.revision_requested")
_FOR_EVER: Final = -1


class StacksonaGateTrigger(Trigger):
    """A good delivery starts workflows that look at the gate. It is a wake-up, never authority: one that arrives
    twice starts a run that finds the approval used."""

    def _dispatch_event(self, subscription: Subscription, request: Request) -> EventDispatch:
        if request.method != "POST":
            return _answer(405, "deliveries are POSTs")
        try:
            event = _verifier(subscription).verify(list(request.headers.items()), request.get_data())
        except ConfigurationError:
            return _answer(401, "this subscription has no usable secret")
        except WebhookRefused as error:
            # No error of the plugin's: Dify would answer 500, as if something were broken here.
            return _answer(401, str(error))
        if event.event not in DECIDED or event.thread_id is None:
            # A test, or an event of a later gate: taken, so that it is not sent again.
            return _answer(200, "nothing starts on this event")
        return _answer(200, "taken", event)


def _verifier(subscription: Subscription) -> WebhookVerifier:
    """Two secrets with a space between, while one is replaced by hand. Raises ConfigurationError."""
    return WebhookVerifier(*str(subscription.properties.get("webhook_secret") or "").split())


def _answer(status: int, text: str, event: WebhookEvent | None = None) -> EventDispatch:
    response = Response(text + "\n", status=status, content_type="text/plain; charset=utf-8")
    if event is None:
        return EventDispatch(events=[], response=response)
    return EventDispatch(events=["decision_made"], response=response, payload=event.data | {"webhook_id": event.id})


class StacksonaGateSubscription(TriggerSubscriptionConstructor):
    """The agent's webhook at the gate: given this subscription's address, and taken away again."""

    def _validate_api_key(self, credentials: Mapping[str, Any]) -> None:
        try:
            with gate_admin.Admin(credentials) as admin:
                admin.check()
        except gate_admin.AdminFault as error:
            raise TriggerProviderCredentialValidationError(str(error)) from None

    def _create_subscription(
        self,
        endpoint: str,
        parameters: Mapping[str, Any],
        credentials: Mapping[str, Any],
        credential_type: CredentialType,
    ) -> Subscription:
        reference = str(parameters.get("agent") or "")
        if not reference or not gate_admin.is_address(endpoint):
            raise SubscriptionError("an agent and an http address of Dify are needed")
        try:
            with gate_admin.Admin(credentials) as admin:
                agent = admin.agent(reference)
                secret = _taken(admin, agent, endpoint, may_replace=parameters.get("replace") in (True, 1, "true"))
        except gate_admin.AdminFault as error:
            raise SubscriptionError(str(error)) from None
        properties = {"webhook_secret": secret, "agent_id": agent.id}
        return Subscription(expires_at=_FOR_EVER, endpoint=endpoint, parameters=parameters, properties=properties)

    def _delete_subscription(
        self, subscription: Subscription, credentials: Mapping[str, Any], credential_type: CredentialType
    ) -> UnsubscribeResult:
        try:
            with gate_admin.Admin(credentials) as admin:
                agent = admin.agent(_agent_of(subscription))
                if agent.webhook_url != subscription.endpoint:
                    return UnsubscribeResult(success=True, message="the agent's webhook does not come here any more")
                admin.set_webhook(agent, None)
        except gate_admin.AdminFault as error:
            return UnsubscribeResult(success=False, message=f"the agent may still send its webhooks here: {error}")
        return UnsubscribeResult(success=True, message="the agent has no webhook any more")

    def _refresh_subscription(
        self, subscription: Subscription, credentials: Mapping[str, Any], credential_type: CredentialType
    ) -> Subscription:
        """Nothing expires. Switches the webhook on again that the gate switched off after days of failure."""
        try:
            with gate_admin.Admin(credentials) as admin:
                agent = admin.agent(_agent_of(subscription))
                if agent.webhook_url != subscription.endpoint:
                    raise gate_admin.AdminFault("the agent's webhook goes elsewhere: subscribe again")
                if agent.is_switched_off:
                    admin.switch_on(agent)
        except gate_admin.AdminFault as error:
            raise SubscriptionError(str(error)) from None
        return subscription

    def _fetch_parameter_options(
        self, parameter: str, credentials: Mapping[str, Any], credential_type: CredentialType
    ) -> list[ParameterOption]:
        if parameter != "agent":
            return []
        with gate_admin.Admin(credentials) as admin:
            agents = admin.agents()
        return [ParameterOption(value=one.id, label=I18nObject(en_US=one.name)) for one in agents]


def _taken(admin: gate_admin.Admin, agent: gate_admin.Agent, endpoint: str, *, may_replace: bool) -> str:
    """The secret that signs from now on. What was changed is put back when no secret can be had."""
    before = agent.webhook_url
    if before not in (None, endpoint) and not may_replace:
        raise gate_admin.AdminFault("this agent's webhook goes to another address: replace it, or take another agent")
    secret = admin.set_webhook(agent, endpoint)
    try:
        if agent.is_switched_off and before == endpoint:
            admin.switch_on(agent)
        return secret or admin.new_secret(agent)
    except gate_admin.AdminFault:
        admin.set_webhook(admin.agent(agent.id), before)
        raise


def _agent_of(subscription: Subscription) -> str:
    reference = subscription.properties.get("agent_id") or (subscription.parameters or {}).get("agent")
    if not isinstance(reference, str) or not reference:
        raise gate_admin.AdminFault("the subscription was made by hand: change the agent's webhook at the gate")
    return reference
