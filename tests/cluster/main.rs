//! Several nodes of the real program on one PostgreSQL and one NATS, all processes of the tests' own, and what happens
//! to clients while those are killed, stopped, replaced and cut off from each other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod helpers;

mod breaking;
mod deploying;
mod healing;
mod limiting;
mod operating;
mod retrying;
mod secured;
mod slow;
mod together;
mod wiring;
