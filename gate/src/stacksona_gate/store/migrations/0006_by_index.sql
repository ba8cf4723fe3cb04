-- What is over is found by when it ended; approvals that nobody has used, by when they end.
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX threads_redeemable ON requests (tenant_id, agent_id, approval_expires_at)
  WHERE thread_id IS NOT NULL AND redeemed_at IS NULL AND approval_expires_at IS NOT NULL;
-- The same as deliveries_of_thread, and of what is about no thread, which nobody looks up.
DROP INDEX deliveries_by_request;
