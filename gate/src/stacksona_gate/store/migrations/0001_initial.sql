-- {serial}: an ascending number given by the database. {blob}: bytes. Everything else is common to both databases.

CREATE TABLE installation (
  id TEXT PRIMARY KEY,
  secret_check TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE signing_keys (
  kid TEXT PRIMARY KEY,
  public TEXT NOT NULL,
  private TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT
);

CREATE TABLE tenants (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  config_version BIGINT NOT NULL,
  policy_version BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE settings (
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (tenant_id, name)
);

CREATE TABLE agents (
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'paused')),
  api_access INTEGER NOT NULL CHECK (api_access IN (0, 1)),
  signed_approvals INTEGER NOT NULL CHECK (signed_approvals IN (0, 1)),
  transport TEXT NOT NULL CHECK (transport IN ('polling', 'webhook')),
  webhook_url TEXT,
  webhook_secret TEXT,
  expires_in BIGINT,
  requests_per_second BIGINT,
  generation BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name)
);

CREATE TABLE agent_reviewers (
  tenant_id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  PRIMARY KEY (tenant_id, agent_id, user_id)
);

CREATE TABLE verifiers (
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  tools TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  disabled_at BIGINT,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name)
);

CREATE TABLE keys (
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  id TEXT NOT NULL,
  owner_kind TEXT NOT NULL CHECK (owner_kind IN ('agent', 'verifier')),
  owner_id TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  hint TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  revoked_at BIGINT,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX keys_by_owner ON keys (tenant_id, owner_id);

CREATE TABLE policies (
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  version BIGINT NOT NULL,
  document TEXT NOT NULL,
  note TEXT NOT NULL,
  actor_kind TEXT NOT NULL,
  actor_id TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, version)
);

CREATE TABLE discovered_tools (
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  first_seen_at BIGINT NOT NULL,
  first_agent_id TEXT NOT NULL,
  PRIMARY KEY (tenant_id, name)
);

-- No foreign keys on the three tables that every decision writes: their rows come from values checked in the same batch.
CREATE TABLE requests (
  seq {serial},
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  thread_id TEXT,
  tool_name TEXT NOT NULL,
  workflow_name TEXT,
  task_label TEXT,
  subject TEXT NOT NULL,
  risk_level TEXT NOT NULL CHECK (risk_level IN ('low', 'medium', 'high', 'critical')),
  preview TEXT,
  summary TEXT NOT NULL,
  payload TEXT NOT NULL,
  payload_digest TEXT NOT NULL,
  metadata TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('allow', 'reject', 'pending_review', 'approved', 'rejected')),
  reason_code TEXT NOT NULL,
  message TEXT NOT NULL,
  rule TEXT,
  policy_version BIGINT NOT NULL,
  revision BIGINT NOT NULL CHECK (revision >= 1),
  revision_requested INTEGER NOT NULL CHECK (revision_requested IN (0, 1)),
  feedback TEXT,
  edited INTEGER NOT NULL CHECK (edited IN (0, 1)),
  strict_binding INTEGER NOT NULL CHECK (strict_binding IN (0, 1)),
  created_at BIGINT NOT NULL,
  decided_at BIGINT,
  expires_at BIGINT,
  required_approvals BIGINT NOT NULL CHECK (required_approvals >= 1),
  approval_valid_for BIGINT NOT NULL,
  claimed_by TEXT,
  claimed_at BIGINT,
  approval_id TEXT,
  approval_expires_at BIGINT,
  approved_by BIGINT NOT NULL,
  generation BIGINT NOT NULL,
  redeemed_at BIGINT,
  redeemed_by TEXT,
  CHECK ((status IN ('pending_review', 'approved', 'rejected')) = (thread_id IS NOT NULL)),
  CHECK ((status = 'pending_review') = (decided_at IS NULL)),
  CHECK (status <> 'pending_review' OR expires_at IS NOT NULL),
  CHECK (status <> 'approved' OR approved_by >= required_approvals),
  CHECK (approval_id IS NULL OR status IN ('allow', 'approved')),
  CHECK (redeemed_at IS NULL OR approval_id IS NOT NULL)
);
-- Ids sort by time, so their unique indexes grow at one end; the index over the agents' own task ids is the one that does not.
CREATE UNIQUE INDEX requests_by_id ON requests (tenant_id, id);
CREATE INDEX requests_by_task ON requests (tenant_id, agent_id, task_id);
CREATE UNIQUE INDEX threads_by_id ON requests (tenant_id, thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX threads_by_status ON requests (tenant_id, status, seq) WHERE thread_id IS NOT NULL;
CREATE INDEX threads_by_agent ON requests (tenant_id, agent_id, seq) WHERE thread_id IS NOT NULL;
CREATE INDEX threads_new ON requests (tenant_id, seq) WHERE status = 'pending_review' AND claimed_by IS NULL;
CREATE INDEX threads_reviewing ON requests (tenant_id, seq) WHERE status = 'pending_review' AND claimed_by IS NOT NULL;
CREATE INDEX threads_by_expiry ON requests (expires_at) WHERE status = 'pending_review';

CREATE TABLE revisions (
  tenant_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  revision BIGINT NOT NULL,
  subject TEXT NOT NULL,
  preview TEXT,
  summary TEXT NOT NULL,
  payload TEXT NOT NULL,
  payload_digest TEXT NOT NULL,
  reason_code TEXT NOT NULL,
  message TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, request_id, revision)
);

CREATE TABLE attachments (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  revision BIGINT NOT NULL,
  position BIGINT NOT NULL,
  name TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size BIGINT NOT NULL,
  digest TEXT NOT NULL,
  data {blob} NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX attachments_by_request ON attachments (tenant_id, request_id, revision, position);

CREATE TABLE reviews (
  seq {serial},
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  revision BIGINT NOT NULL,
  user_id TEXT NOT NULL,
  reviewer TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('approve', 'reject', 'request_changes')),
  message TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX reviews_by_request ON reviews (tenant_id, request_id);
CREATE UNIQUE INDEX one_final_review_per_person ON reviews (tenant_id, request_id, revision, user_id)
  WHERE verdict <> 'request_changes';

CREATE TABLE notes (
  seq {serial},
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  author TEXT NOT NULL,
  text TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX notes_by_request ON notes (tenant_id, request_id);

CREATE TABLE task_events (
  seq {serial},
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  request_id TEXT,
  event_type TEXT NOT NULL,
  summary TEXT NOT NULL,
  payload TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX task_events_by_task ON task_events (tenant_id, agent_id, task_id);

CREATE TABLE outcomes (
  seq {serial},
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('executed', 'failed', 'skipped')),
  detail TEXT,
  payload_digest TEXT,
  flag TEXT,
  created_at BIGINT NOT NULL
);
CREATE INDEX outcomes_by_request ON outcomes (tenant_id, request_id);
CREATE INDEX outcomes_flagged ON outcomes (tenant_id, seq) WHERE flag IS NOT NULL;

CREATE TABLE users (
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  id TEXT NOT NULL,
  email TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('admin', 'reviewer', 'auditor')),
  password_hash TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('active', 'disabled')),
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, email)
);

CREATE TABLE sessions (
  tenant_id TEXT NOT NULL,
  id_hash TEXT NOT NULL PRIMARY KEY,
  user_id TEXT NOT NULL,
  csrf TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id);

CREATE TABLE personal_tokens (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL,
  revoked_at BIGINT,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);

CREATE TABLE setup_codes (
  tenant_id TEXT NOT NULL PRIMARY KEY,
  hash TEXT NOT NULL,
  expires_at BIGINT NOT NULL
);

CREATE TABLE sign_in_failures (
  tenant_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  at BIGINT NOT NULL
);
CREATE INDEX sign_in_failures_by_subject ON sign_in_failures (tenant_id, subject, at);

-- By day, so that a day's keys can go at once.
CREATE TABLE replays (
  tenant_id TEXT NOT NULL,
  day BIGINT NOT NULL,
  scope TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  answer TEXT NOT NULL,
  PRIMARY KEY (tenant_id, day, scope)
);

CREATE TABLE audit (
  seq {serial},
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  event TEXT NOT NULL,
  at BIGINT NOT NULL,
  actor_kind TEXT NOT NULL,
  actor_id TEXT NOT NULL,
  request_id TEXT,
  thread_id TEXT,
  leaf TEXT NOT NULL,
  private TEXT NOT NULL,
  leaf_index BIGINT
);
CREATE INDEX audit_by_thread ON audit (tenant_id, request_id) WHERE thread_id IS NOT NULL;
