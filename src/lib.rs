//! cartlink: puts a customer on a smart cart in one second.
//!
//! A folder is a noun of the domain; inside it the file name is the layer: `mod.rs` rules,
//! `store.rs` rows, `service.rs` steps, `http.rs` wire. Imports go down only: wire → steps → rows →
//! rules. Three ideas carry the rest:
//!
//! 1. The event log is the truth ([`event`]), a push is only a wake-up ([`broadcast`]).
//! 2. A row and its event are born in one transaction, and told after its COMMIT ([`db`]).
//! 3. Rules are functions of what they are told: [`scan::admit`], [`session::next`].
//!
//! The main job, a phone scanning a cart's code, starts in [`scan::service::redeem`].

pub mod account;
pub mod admin;
pub mod app;
pub mod app_links;
pub mod auth;
pub mod body;
pub mod broadcast;
pub mod cart;
pub mod checkout;
pub mod clock;
pub mod config;
pub mod control;
pub mod db;
pub mod demo;
pub mod error;
pub mod event;
pub mod failure;
pub mod health;
pub mod idempotency;
pub mod ids;
pub mod limits;
pub mod openapi;
pub mod pages;
pub mod password;
pub mod principal;
pub mod qr;
pub mod retention;
pub mod scan;
pub mod server;
pub mod session;
pub mod start;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod webhook;
