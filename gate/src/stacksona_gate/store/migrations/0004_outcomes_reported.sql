-- What was reported before requests kept it themselves: an execution if there is one, else the newest.
UPDATE requests SET outcome = (
  SELECT o.status FROM outcomes o WHERE o.tenant_id = requests.tenant_id AND o.request_id = requests.id
  ORDER BY CASE o.status WHEN 'executed' THEN 0 ELSE 1 END, o.seq DESC LIMIT 1
) WHERE outcome IS NULL AND EXISTS (
  SELECT 1 FROM outcomes o WHERE o.tenant_id = requests.tenant_id AND o.request_id = requests.id
);
