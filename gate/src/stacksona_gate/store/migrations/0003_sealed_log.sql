-- Which leaf of the sealed log an audit entry is. Beside the entries and not among them: to give an entry its index in
-- its own row writes the whole row anew (docs/adr/0007). The column audit.leaf_index stays empty.

CREATE TABLE log_leaves (
  seq {serial},
  tenant_id TEXT NOT NULL,
  leaf_index BIGINT
);
INSERT INTO log_leaves (seq, tenant_id) SELECT seq, tenant_id FROM audit;
CREATE INDEX log_unsealed ON log_leaves (tenant_id, seq) WHERE leaf_index IS NULL;
CREATE UNIQUE INDEX log_by_leaf ON log_leaves (tenant_id, leaf_index) WHERE leaf_index IS NOT NULL;
DROP INDEX audit_unsealed;
DROP INDEX audit_by_leaf;

-- An entry waits to be sealed from the moment that it is there, whoever wrote it.
{after_audit};
