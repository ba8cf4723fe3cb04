-- The call that opened a thread, so that a webhook can be followed back to it. Nothing is looked up by it.
ALTER TABLE requests ADD COLUMN http_request_id TEXT;
ALTER TABLE requests ADD COLUMN traceparent TEXT;
ALTER TABLE deliveries ADD COLUMN http_request_id TEXT;
ALTER TABLE deliveries ADD COLUMN traceparent TEXT;
