-- What is taken away with a request, and what agents said outside of any.
CREATE INDEX deliveries_by_request ON deliveries (tenant_id, request_id);
CREATE INDEX task_events_loose ON task_events (tenant_id, created_at)
  WHERE request_id IS NULL AND event_type <> 'erased';
