//! What goes wrong in a store's back room, on the real program as a process of its own: crashes, a database that hangs, a
//! full disk, a network that drops packets, clients that never read, proxies that restart. The claim is always the same:
//! each client's ids have no gap, no repeat and no disorder, what was answered with success is never lost, and afterwards
//! everything goes on without help.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod follower;
mod load;
mod namespace;
mod program;

mod crashes;
mod cycles;
mod database;
mod disk;
mod network;
#[path = "../api/helpers/ports.rs"]
mod ports;
mod proxies;
mod readers;
