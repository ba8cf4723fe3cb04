-- Workspaces that an operator makes, suspends and limits; the operator's own keys; and how often each node is asked for
-- what a limit on calls is about, so that nodes share it out.

ALTER TABLE tenants ADD COLUMN suspended_at BIGINT;
ALTER TABLE tenants ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
-- Names are written in commands and at sign-in: the first workspace's is its id.
UPDATE tenants SET name = id;
CREATE UNIQUE INDEX tenants_by_name ON tenants (name);
CREATE TABLE operator_keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  hint TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  revoked_at BIGINT
);
CREATE TABLE demands (
  subject TEXT NOT NULL,
  node TEXT NOT NULL,
  asked BIGINT NOT NULL,
  until BIGINT NOT NULL,
  PRIMARY KEY (subject, node)
);
CREATE UNIQUE INDEX setup_codes_by_hash ON setup_codes (hash);
