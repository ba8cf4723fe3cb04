-- Delivery: what is sent, each attempt, and what tells when to stop.

CREATE TABLE webhook_endpoints (
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  id TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('agent', 'workspace')),
  url TEXT,
  secret TEXT,
  previous_secret TEXT,
  previous_until BIGINT,
  failing_since BIGINT,
  switched_off_at BIGINT,
  switched_off_because TEXT,
  PRIMARY KEY (tenant_id, id)
);
INSERT INTO webhook_endpoints (tenant_id, id, kind, url, secret)
  SELECT tenant_id, id, 'agent', webhook_url, webhook_secret FROM agents WHERE webhook_secret IS NOT NULL;
ALTER TABLE agents DROP COLUMN webhook_secret;

CREATE TABLE deliveries (
  seq {serial},
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  request_id TEXT,
  thread_id TEXT,
  event TEXT NOT NULL,
  body TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'superseded', 'dead')),
  attempts BIGINT NOT NULL,
  tries BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  due_at BIGINT,
  leased_until BIGINT,
  fence BIGINT NOT NULL,
  finished_at BIGINT,
  CHECK ((state = 'pending') = (due_at IS NOT NULL)),
  CHECK ((state = 'pending') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX deliveries_by_id ON deliveries (tenant_id, id);
CREATE INDEX deliveries_due ON deliveries (tenant_id, endpoint_id, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_of_thread ON deliveries (tenant_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX deliveries_by_endpoint ON deliveries (tenant_id, endpoint_id, seq);
CREATE INDEX deliveries_dead ON deliveries (tenant_id, seq) WHERE state = 'dead';

CREATE TABLE delivery_attempts (
  seq {serial},
  tenant_id TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  attempt BIGINT NOT NULL,
  at BIGINT NOT NULL,
  duration BIGINT NOT NULL,
  status BIGINT,
  error TEXT,
  answer TEXT NOT NULL
);
CREATE INDEX delivery_attempts_by_delivery ON delivery_attempts (tenant_id, delivery_id, seq);

-- What admins are told, until one of them has read it.
CREATE TABLE notices (
  seq {serial},
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  objects TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  dismissed_at BIGINT,
  dismissed_by TEXT
);
CREATE UNIQUE INDEX notices_by_id ON notices (tenant_id, id);
CREATE INDEX notices_open ON notices (tenant_id, seq) WHERE dismissed_at IS NULL;

-- Work that one process at a time does. A holder that is gone is replaced when its time is over; the fence tells the
-- two apart.
CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until BIGINT NOT NULL,
  fence BIGINT NOT NULL
);

-- The sealed log: a Merkle tree per tenant (RFC 6962), kept as tiles of 256 hashes.

CREATE TABLE log_keys (
  kid TEXT PRIMARY KEY,
  public TEXT NOT NULL,
  private TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT
);
CREATE TABLE log_tiles (
  tenant_id TEXT NOT NULL,
  level BIGINT NOT NULL,
  number BIGINT NOT NULL,
  hashes {blob} NOT NULL,
  PRIMARY KEY (tenant_id, level, number)
);
CREATE TABLE checkpoints (
  tenant_id TEXT NOT NULL,
  size BIGINT NOT NULL,
  root TEXT NOT NULL,
  note TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  published_at BIGINT,
  PRIMARY KEY (tenant_id, size)
);
CREATE INDEX audit_unsealed ON audit (tenant_id, seq) WHERE leaf_index IS NULL;
CREATE UNIQUE INDEX audit_by_leaf ON audit (tenant_id, leaf_index) WHERE leaf_index IS NOT NULL;
CREATE INDEX audit_by_time ON audit (tenant_id, at);

-- Content at rest is encrypted by a key of its tenant's own, which rests wrapped by the root secret.
CREATE TABLE data_keys (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL PRIMARY KEY,
  wrapped TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT
);
CREATE UNIQUE INDEX data_keys_in_use ON data_keys (tenant_id) WHERE retired_at IS NULL;

-- Time: what is due next. Outcome: the newest that was reported. Erased: content is gone, proofs are not.
ALTER TABLE requests ADD COLUMN remind_at BIGINT;
ALTER TABLE requests ADD COLUMN reminders BIGINT NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN outcome TEXT;
ALTER TABLE requests ADD COLUMN erased_at BIGINT;
CREATE INDEX threads_by_reminder ON requests (remind_at) WHERE status = 'pending_review' AND remind_at IS NOT NULL;
CREATE INDEX requests_without_outcome ON requests (tenant_id, redeemed_at)
  WHERE redeemed_at IS NOT NULL AND outcome IS NULL;
