"""The words of the generated pages. A test fails when one is missing, or when one is about nothing."""

from __future__ import annotations

from typing import Final

SETTINGS: Final = """\
Every setting is an environment variable. `serve` and every other command read the same ones. A value that is not
allowed stops the command, and the message says what is allowed.

`STACKSONA_ALLOWED_NETWORKS`, `STACKSONA_ALLOWED_HOSTS` and `STACKSONA_OUTGOING_PROXY` are about the calls that the gate
itself makes, such as [webhooks](../how-to/webhooks.md). An address that is not public is refused unless one of the
first two names it. Through the proxy, https goes by CONNECT and http with the whole URL, both to the address that was
checked; the `Host` header and the name in the TLS handshake are the receiver's. A proxy that writes the `Host` header
anew from the URL makes plain http work only for receivers that answer to their bare address. The proxy's own address
is not checked. Proxies in other variables, such as `HTTPS_PROXY`, are not used.

Behind [PgBouncer](../how-to/pgbouncer.md) in transaction mode, where notifications do not arrive,
`STACKSONA_LISTEN_URL` is an address of the same database without it. Without one a node looks for changes every 200 ms.
"""

COMMAND_LINE: Final = """\
After `make setup` the command is `.venv/bin/stacksona-gate`. It works whether or not a server runs on the database:
what it changes holds in the server at once. With `--json` it prints JSON for programs.

Exit code 0: done. 1: refused, or different from what was expected. 2: the command line itself is wrong.
"""

AUDIT: Final = """\
Each decision, review, note, key, policy, user, token and redemption writes a row, in the transaction of what it
records. Rows are never changed and never deleted. Read them with `GET /api/admin/audit` (admin or auditor); a thread's
own rows are part of its export.

What the operator does to a workspace is in that workspace's log.

A flood of the same refusal makes at most one row a minute for each cause. `stands_for` in such a row says how many
refusals it counts.
"""

LEAF: Final = """\
## The format of a row

A row has a `leaf` and `private` values.

`leaf` is an object in its RFC 8785 form. It never changes:

| field | meaning |
| --- | --- |
| `v` | version of this format: `1` |
| `id` | `aud_` and 32 hexadecimal digits, random |
| `tenant` | the tenant |
| `event` | one of the events above |
| `at` | time, RFC 3339, UTC |
| `actor` | `kind` (`agent`, `verifier`, `user`, `operator`, `command_line`, `gate` or `unknown`) and `id` |
| `objects` | ids by kind: `request`, `thread`, `task`, `agent` and so on |
| `policy_version`, `status`, `reason_code` | where the event has them |
| `commitments` | for every private value: its name, and SHA-256 over salt and value in hexadecimal |

`private` maps the same names to `{"salt", "value"}`. The salt is 32 random bytes in hexadecimal. To check a
commitment, take SHA-256 over the salt's bytes followed by the value's RFC 8785 form. Texts, payloads, addresses, mail
addresses and names are private values: erasing one leaves the leaf as it was.

Within a second each row gets its place in the workspace's sealed log, a Merkle tree with signed checkpoints: see
[verifying the log](../how-to/verify-the-audit-log.md).
"""

EVENTS: Final = {
    "webhook.delivered": "A webhook's receiver answered 2xx.",
    "webhook.dead": "A webhook was given up: its retries are used up, or its endpoint was switched off.",
    "webhook.replayed": "Somebody sent a webhook once more.",
    "webhook.secret_rotated": "An endpoint got a new webhook secret; the old one signs beside it for a while.",
    "webhook.switched_off": "An endpoint was switched off: it answered 410, failed for five days, or somebody did it.",
    "webhook.switched_on": "Somebody switched an endpoint on again.",
    "webhook.tested": "Somebody sent a test webhook.",
    "thread.reminded": "Reviewers were reminded of a thread that still waits.",
    "thread.escalated": "A thread that still waits was escalated before its time is over.",
    "notice.dismissed": "An admin took a notice off the list.",
    "log_key.created": "A key to sign checkpoints with was made.",
    "log_key.rotated": "Checkpoints are signed with another key from now on.",
    "audit.exported": "Audit entries were exported, by whom and which.",
    "content.erased": "Somebody's data was erased. Entries and proofs stay.",
    "content.expired": "Content older than the workspace keeps it was removed. Entries and proofs stay.",
    "data_key.rotated": "Content is encrypted with another key from now on.",
    "agent.changed": "An agent's settings were changed.",
    "agent.created": "An agent was made.",
    "agent.paused": "An agent was paused: its open threads were rejected, its unredeemed approvals revoked.",
    "agent.resumed": "A paused agent may ask again.",
    "approval.redeemed": "An approval was redeemed, the one time that there is.",
    "approval.refused": "A redemption was refused; `reason_code` says why.",
    "calls.refused": "Calls without a good key or a readable body were refused, or calls over a limit: `reason_code`.",
    "installation.created": "The database was made.",
    "key.created": "An agent or a verifier got a key.",
    "key.revoked": "Reserved: no row is written yet. An old key's end is part of `key.rotated`.",
    "key.rotated": "An agent's old keys were ended, at once or after an overlap.",
    "outcome.reported": "An agent said what became of an action.",
    "policy.changed": "A new version of the policy is in force.",
    "policy.reverted": "An earlier version of the policy is in force again, as a new version.",
    "request.decided": "A request was answered at once, with `allow` or `reject`.",
    "session.ended": "Somebody signed out.",
    "session.refused": "A sign-in failed.",
    "session.started": "Somebody signed in.",
    "settings.changed": "A workspace's setting was changed; `setting` says which.",
    "signing_key.created": "The first key that signs approvals was made.",
    "signing_key.rotated": "Another key signs approvals from now on.",
    "task.event": "An agent put an event on a task's timeline.",
    "thread.agent_paused": "A thread was rejected because its agent was paused.",
    "thread.approved": "A person approved a thread.",
    "thread.cancelled": "An agent took its question back.",
    "thread.changes_requested": "A person asked the agent for changes.",
    "thread.claimed": "A person took a thread on.",
    "thread.expired": "A thread was rejected because nobody decided in time.",
    "thread.exported": "A person exported a thread.",
    "thread.noted": "A person wrote a note on a thread.",
    "thread.opened": "A request waits for people.",
    "thread.rejected": "A person rejected a thread, or the policy rejected its new revision.",
    "thread.released": "A person let go of a thread.",
    "thread.revised": "An agent sent a new revision.",
    "tenant.created": "The workspace was made, with a key for its content and this log.",
    "tenant.renamed": "The workspace has another name.",
    "tenant.limited": "The workspace's limits were set.",
    "tenant.suspended": "The workspace was suspended: nothing is decided in it.",
    "tenant.resumed": "The workspace goes on.",
    "tenant.invited": "Another link for the workspace's first admin was made.",
    "operator_key.created": "A key for the operator's API was made. In the first workspace's log.",
    "operator_key.revoked": "A key for the operator's API was ended. In the first workspace's log.",
    "token.created": "A person got a personal token.",
    "token.revoked": "A personal token was revoked.",
    "tool.discovered": "Reserved: no row is written yet. `GET /api/admin/tools` lists discovered tools.",
    "user.changed": "A user's name, role, password or access was changed.",
    "user.created": "A user was made.",
    "verifier.changed": "A verifier's tools were changed, or it was switched off or on.",
    "verifier.created": "A verifier was made.",
    "webhook.changed": "The address of an agent's webhook, or of the workspace's own, was set or taken away.",
}

ERRORS: Final = """\
Every error is a problem document (RFC 9457) with the content type `application/problem+json`:

| field | meaning |
| --- | --- |
| `type` | `urn:stacksona:problem:` and the code |
| `title` | the status in words |
| `status` | the HTTP status |
| `detail` | what is wrong, and what to do next |
| `code` | the one cause; it never changes its meaning |
| `http_request_id` | the same as the header `X-Request-Id` |
| `errors` | with 422: a list of `field` and `message` |
| `valid`, `reason` | with a refused redemption only |

**No error allows anything.** No error carries `X-Gate-Decision`. 429 and 503 may carry `Retry-After`, in seconds.
A 429 about a limit also names it: `RateLimit-Policy: "workspace";q=100;w=1` and `RateLimit: "workspace";r=0;t=1`
(draft-ietf-httpapi-ratelimit-headers). Nothing was decided; send the same call again later.
After a 503 nothing was decided, unless its `detail` or its `code` (`done_not_shown`) says otherwise: the same call may
be sent again. When no answer came at all, send the call again with the same `Idempotency-Key`: the first decision comes
back if there was one.
"""

CODES_ABOUT: Final = "`invalid_<field>` stands for one code per field of a query, such as `invalid_limit`."

CODES: Final = {
    "agent_rate": "The agent asks more often than it may. Wait as long as `Retry-After` says.",
    "agent_paused": "The agent is paused. Its GETs still answer.",
    "already_decided": "The thread is no longer pending.",
    "api_access_off": "API access is switched off for this agent.",
    "approval_refused": "The redemption is refused; `reason` says why. Nothing was used up.",
    "approval_revoked": "This `Idempotency-Key` got an `allow` that a pause has revoked. Ask with a new key.",
    "claimed": "Another person has taken the thread on.",
    "conflict": "The thing is not in the state that the call is about, or was changed at the same time.",
    "cross_site": "The call came from another site's page.",
    "csrf": "The session's `X-CSRF-Token` is missing or out of date.",
    "done_not_shown": "The change was made and is kept; the store went away, or the caller's key was replaced, before"
    " it could be shown. Read it again.",
    "draining": "The process is about to end. `/readyz` only.",
    "edit_not_approved": "The payload on the page was edited, and then approved with the button for the agent's own.",
    "edit_unreadable": "The edited payload on the page is not a JSON object.",
    "email_taken": "There is a user with this mail address.",
    "fault": "A fault in the gate. Nothing was allowed; the log says more.",
    "forbidden": "The key, the token or the role does not allow this.",
    "idempotency_mismatch": "The `Idempotency-Key` was used for another body.",
    "has_admin": "The workspace has an admin: no link makes another first one.",
    "in_flight": "The webhook is on its way: it is replayed when its answer is there.",
    "insecure_transport": "Signing in over plain http is refused outside loopback.",
    "invalid": "A field's value is not allowed; `errors` names the fields.",
    "invalid_<field>": "A field of the query has a value that is not allowed.",
    "invalid_cursor": "`cursor` is not the `next_cursor` of such a page.",
    "invalid_from": "`from` is missing (the version to compare with), or is no time with its zone (an export).",
    "invalid_id": "The task id has other characters than those allowed, or is too long.",
    "invalid_idempotency_key": "The `Idempotency-Key` is empty or too long.",
    "invalid_note": "The note about a policy is too long.",
    "invalid_q": "`q`, the text to look for, is too long.",
    "invalid_redeemable": "`redeemable` is not `true`.",
    "invalid_redeemed": "`redeemed` is not `true` or `false`.",
    "invalid_since": "`since` is not a time.",
    "invalid_status": "`status` is not one of the five.",
    "malformed": "The call cannot be read, or can be read in two ways.",
    "masked_value": "An edited payload moves, forges or cuts the placeholder of a value that the reviewer may not see.",
    "method_not_allowed": "The address does not take this method; `Allow` lists those it takes.",
    "name_taken": "There is a thing with this name.",
    "no_webhook": "The agent has no webhook: it polls.",
    "not_found": "There is no such thing, or none that the caller may know of.",
    "nothing_to_revise": "A revision without any field to change.",
    "one_id": "Name exactly one of the ids.",
    "policy_invalid": "The policy cannot be read; `errors` names every cause with its line.",
    "precondition_failed": "`If-Match` names an older state: somebody changed it since.",
    "refused_by_rule": "The policy rejects the edited payload. The thread is still pending.",
    "revision_moved": "There is a newer revision than the one that the reviewer saw.",
    "sign_in_throttled": "Too many failed sign-ins.",
    "thread_id_missing": "A revision without its thread.",
    "too_large": "The body is over its limit.",
    "too_many": "A limit on calls or on held answers is reached.",
    "unauthenticated": "The key or token is missing, malformed, unknown, replaced or revoked; or a password is wrong.",
    "unavailable": "The store cannot be written, or there is no key to sign with. Nothing was decided.",
    "unsupported_media_type": "A content type that this operation does not read.",
    "workspace_busy": "Too many calls of this workspace wait for the ones before them.",
    "workspace_pending_threads": "As many threads of the workspace wait for people as may. `allow` and `reject` go on.",
    "workspace_rate": "The workspace's agents and verifiers call more often than they may.",
    "workspace_stored_megabytes": "The workspace keeps as much content as it may.",
    "workspace_stored_requests": "The workspace keeps as many requests as it may.",
    "workspace_suspended": "The workspace is suspended. Nothing is decided in it until the operator resumes it.",
    "webhook_off": "The endpoint is switched off, or has no address. Switch it on first.",
}

REFUSED: Final = """\
`POST /api/agent/approvals/validate` answers 403 with `"code": "approval_refused"`, `"valid": false` and a `reason`.
A refusal never uses the approval up.
"""

REASONS: Final = {
    "already_used": "The approval was redeemed before.",
    "bad_signature": "This is no token of this gate, or it was changed.",
    "expired": "The token is over (15 minutes) or its approval is. Read the decision again for a fresh token.",
    "payload_mismatch": "The payload or its digest is not the approved one.",
    "payload_required": "This approval needs `tool_name` and the payload or its digest.",
    "revoked": "The agent was paused after the approval was given, or a newer revision replaced it.",
    "unknown": "There is no such approval.",
    "wrong_agent": "The approval was given to another agent.",
    "wrong_task": "The approval is for another task.",
    "wrong_tool": "The approval is for another tool, or for one that this verifier does not serve.",
}

API: Final = """\
A running gate describes itself: `/docs` is the reference to read, `/openapi.json` the OpenAPI 3.1 document. This page
is the short list.

Keys go in `Authorization: Bearer …`. Answers are UTF-8 JSON. Every answer has `X-Request-Id`. A decision has
`X-Gate-Decision`, `X-Gate-Task-Id`, `X-Gate-Request-Id` and `X-Gate-Payload-Digest`, and `X-Gate-Thread-Id` and
`X-Gate-Approval-Token` where there is one; so has a page of threads with `limit=1`, and `X-Gate-Next-Cursor` where more
follow. See [statuses](statuses.md) and [errors](errors.md).

POSTs of the agent API take JSON or `application/x-www-form-urlencoded`. In a form, `payload[amount:number]=500` is the
number 500 and `payload[currency]=usd` the text `usd`; `:boolean` and `:json` are the other types. Grammar and examples:
[forms as bodies](../../conformance/forms/README.md).
"""

METRICS: Final = """\
`GET /metrics` answers Prometheus in its text format, or in OpenMetrics where `Accept` asks for it. It is open to
loopback. Elsewhere it takes `Authorization: Bearer …` with a personal token (`sp_…`) of an admin of the first
workspace, or an operator's key (`so_…`). Every node is scraped by itself.

`of` says whose number it is. Of a `process`: each node counts its own, so add them up. Of the `database`: every node
tells the same, so take the largest; it is missing while `stacksona_gate_database_up` is 0.

What to watch, with objectives and alerts: [Objectives and alerts](../how-to/slo.md).
"""

METRICS_LABELS: Final = """\
Beside them are `process_…`: memory, CPU time, file descriptors and start of the process.

## Labels

No label's value comes from a caller.

- `status` of decisions and `reason_code`: as in [statuses](statuses.md). `status` of calls: the HTTP status.
- `route`: `ask` (a question), `poll` and `wait` (a decision read back, at once or held), `stream`, `validate`, `agent`
  (the rest of the agent API), `review`, `admin`, `pages`, `operation` (health, metrics and the like).
- `limit`: the [error code](errors.md) of the 429.
- `cause`: what was refused, and why.
- `kind` of leases: `seal`, `publish`, `clock` and the like: what one node at a time does.
- `outcome` of webhook attempts: `delivered`, `failed` (it is sent again), `dead` (it is not), `stale` (another node had
  taken it over).
"""
