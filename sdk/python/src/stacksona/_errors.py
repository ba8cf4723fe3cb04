"""What can go wrong, split by what the caller can do about it. Whatever is raised: nothing of ours ran the action,
unless the error says so.

* GateError
  x ConfigurationError     the client cannot be made so: address, key, secret
  x InvalidRequest         refused here, before anything was sent
  x Refused                the answer is no
    + Rejected             by a rule or by a person
      - Expired            nobody decided in time
      - Cancelled          the agent took its question back
      - AgentPaused        the agent was paused while it waited
    + ArgumentsRefused     what was approved does not fit the function; the approval is unused
    + RedemptionRefused    the approval is not good: ``reason`` says why
  x PendingReview          people have not decided yet: come back with the thread's id
    + ChangesRequested     a reviewer wants a revision first
  x RedemptionLost         the approval may be used up, nobody knows by whom: the action was not run
  x WaitStopped            ``should_stop`` said so
  x GateUnavailable        no answer, or none but faults, for as long as patience lasts
  x UnexpectedAnswer       an answer that is none: a proxy's page, a redirect, other ids, an unknown status
  x CallRefused            the gate refuses the call itself
    + Unauthenticated, Forbidden, NotFound, Conflict
  x ApprovalInvalid        ``verify_approval``: not an approval of this
  x WebhookRefused         ``WebhookVerifier``: not a delivery of the gate
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stacksona._decisions import Decision


class GateError(Exception):
    """Every error of this package. ``decision`` is the last one known, if there was one by then."""

    decision: Decision | None = None

    @property
    def thread_id(self) -> str | None:
        """The thread to come back to, if there is one."""
        return None if self.decision is None else self.decision.thread_id


class ConfigurationError(GateError, ValueError):
    """The client or verifier cannot be made like this."""


class InvalidRequest(GateError, ValueError):
    """The gate would refuse this, so it was not sent."""


class Refused(GateError):
    """The answer is no: the action was not run."""


class Rejected(Refused):
    """A rule or a person refused. ``decision.message`` has their words."""


class Expired(Rejected):
    """Nobody decided in time."""


class Cancelled(Rejected):
    """The agent took its question back."""


class AgentPaused(Rejected):
    """The agent was paused while the question waited."""


class ArgumentsRefused(Refused):
    """The approved payload does not fit the function's parameters. The approval was not used."""


class RedemptionRefused(Refused):
    """The gate refuses to redeem the approval.

    ``reason`` is the gate's: ``already_used``, ``expired``, ``wrong_task``, ``wrong_tool``, ``wrong_agent``,
    ``payload_mismatch``, ``payload_required``, ``bad_signature``, ``revoked``, ``unknown``; or ``no_token``: the
    decision came without one.
    """

    reason: str = "unknown"


class PendingReview(GateError):
    """People have not decided yet. ``decision`` says where they look; ``thread_id`` is what to come back with."""


class ChangesRequested(PendingReview):
    """A reviewer asks for a revision: ``decision.feedback`` says which. Send it with ``log_revision``."""


class RedemptionLost(GateError):
    """The redemption was sent and its answer was lost: the action was not run.

    ``is_spent``: the gate says that the approval was redeemed, by that lost call or by another process; it never says
    which. Otherwise nobody knows whether it was, and ``resume`` may be tried again.
    """

    is_spent: bool = False


class WaitStopped(GateError):
    """``should_stop`` ended the wait."""


class GateUnavailable(GateError):
    """No usable answer for as long as patience lasts."""


class UnexpectedAnswer(GateError):
    """Something answered, and it is not what the gate answers."""


class CallRefused(GateError):
    """The gate refuses the call. ``code`` is the cause's name, ``errors`` the fields it is about (422)."""

    status: int = 0
    code: str = ""
    errors: Sequence[Mapping[str, str]] = ()


class Unauthenticated(CallRefused):
    """401: the key is missing, unknown or replaced."""


class Forbidden(CallRefused):
    """403: the agent is paused, or its key does not allow this."""


class NotFound(CallRefused):
    """404: no such thing, or not this agent's."""


class Conflict(CallRefused):
    """409: the thing is not in the state that the call is about."""


class ApprovalInvalid(GateError):
    """The token is no approval of this tool with this payload."""


class WebhookRefused(GateError):
    """The delivery is not the gate's, or too old."""
