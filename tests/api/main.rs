//! What the world sees, on a real server with a real database and our clock: one binary, the same tests on SQLite
//! and on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod helpers;

mod accounts;
mod admin_sessions;
mod carts;
mod checkout;
mod codes;
mod commands;
mod control;
mod crash;
mod decoders;
mod floor;
mod forging;
mod idempotency;
mod lan;
mod life;
mod limits;
mod operators;
mod pickup;
mod privacy;
mod qr;
mod roles;
mod routes;
mod scan;
mod session_streams;
mod staff;
mod stats;
mod stream_life;
mod streams;
mod tickets;
mod tls;
mod transfer;
mod walk;
mod webhooks;
