-- A past: so many sessions (:count) of the last weeks, spread over the carts and customers that are there, with what they
-- left in the log. For a store that has had none yet.
BEGIN;
INSERT INTO sessions (id, cart_num, store_id, customer_id, scan_epoch, check_code, status, phase, reason, acked, version,
    created_at, fetched_at, ended_at, activity_at, updated_at)
  WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count),
    carts_in_all (carts) AS (SELECT count(*) FROM carts),
    guests (customers, lowest) AS (SELECT count(*), min(id) FROM accounts WHERE email IS NULL),
    moments (i, at) AS (SELECT i, strftime('%s', 'now') * 1000 - 86400000 - (:count - i) * (1600000000 / :count) FROM n)
  SELECT i + 1, 1 + i % carts, 1, lowest + i % customers, -1 - i / carts, '42', 'completed', NULL, 'cancelled-by-customer', TRUE, 4,
    at, at + 500, at + 900000, at + 800000, at + 900000
  FROM moments, carts_in_all, guests;
INSERT INTO events (channel, seq, session_id, audience, kind, data, created_at)
  SELECT h.channel, last + 1 + 2 * (-1 - s.scan_epoch) + k.k, s.id, '*', k.kind,
    '{"session_id":' || s.id || ',"cart_id":' || (s.cart_num - 1) || ',"status":"' || k.status || '","version":1}',
    s.created_at + 900000 * k.k
  FROM sessions s
  JOIN (SELECT c.channel, COALESCE((SELECT max(e.seq) FROM events e WHERE e.channel = c.channel), c.dropped) AS last
    FROM channel_heads c) h ON h.channel = 'cart/' || s.cart_num,
  (SELECT 0 AS k, 'session-started' AS kind, 'active' AS status UNION ALL SELECT 1, 'session-ended', 'completed') k;
COMMIT;
