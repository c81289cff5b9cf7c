-- What PostgreSQL alone can do of a scan, asked by pgbench: the statements of `scan::service::redeem`, with nobody to
-- tell and nothing to decide. `tests/load/run floor` fills the tables and runs it.
\set cart random(1, 10000)
\set now 1900000000000
BEGIN;
SELECT a.full_name, (SELECT s.id FROM sessions s WHERE s.customer_id = a.id AND s.ended_at IS NULL) AS open
  FROM accounts a WHERE a.id = :cart FOR KEY SHARE OF a;
UPDATE carts SET pairing_epoch = pairing_epoch + 1, updated_at = :now WHERE num = :cart
  RETURNING *, EXISTS (SELECT 1 FROM cart_claims k WHERE k.cart_num = carts.num) AS occupied,
    (SELECT settings FROM stores t WHERE t.id = carts.store_id) AS settings,
    EXISTS (SELECT 1 FROM webhooks w WHERE w.removed_at IS NULL AND (w.store_id IS NULL OR w.store_id = carts.store_id)) AS hooked;
-- Ended at once, so that the next round may have the same cart and customer.
WITH s AS (
    INSERT INTO sessions (cart_num, store_id, customer_id, scan_epoch, check_code, status, phase, acked, version, created_at,
      activity_at, updated_at, due_at, ended_at)
    VALUES (:cart, 1, :cart, 1, '42', 'active', 'pairing', FALSE, 1, :now, :now, :now, :now, :now) RETURNING id
  ), k AS (
    INSERT INTO cart_claims (cart_num, session_id) SELECT :cart, id FROM s
    ON CONFLICT (cart_num) DO UPDATE SET session_id = excluded.session_id
  ) SELECT id FROM s;
WITH h AS (
    INSERT INTO channel_heads (channel, epoch, seq, dropped) VALUES ('cart:' || :cart, 'abcdefgh', 1, 0)
    ON CONFLICT (channel) DO UPDATE SET seq = channel_heads.seq + 1 RETURNING epoch, seq
  ), e AS (
    INSERT INTO events (channel, seq, session_id, audience, kind, data, created_at)
    SELECT 'cart:' || :cart, h.seq, 1, 'all', 'session-started', repeat('x', 230), :now FROM h
  ) SELECT epoch, seq FROM h;
COMMIT;
