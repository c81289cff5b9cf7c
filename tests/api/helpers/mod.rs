//! A world to test in: a server of its own on a database of its own, and actors who use it.

mod actors;
mod ports;
mod program;
mod rows;
mod screen;
mod server;

pub use actors::{Answer, Cart, Phone, Service, Staff};
pub use ports::free_port;
pub use program::{Lines, Program, curl, signal};
pub use rows::{every_row, write};
pub use screen::{Frame, Screen};
pub use server::{Backend, World};

/// Runs the same test on both databases: `both! { async fn name(world: World) { … } }`.
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($world:ident: World) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$meta])*
            async fn run($world: World) $body

            #[tokio::test]
            async fn on_sqlite() {
                run(World::start(crate::helpers::Backend::Sqlite).await).await;
            }

            #[tokio::test]
            async fn on_postgresql() {
                run(World::start(crate::helpers::Backend::Postgres).await).await;
            }
        }
    )*};
}
pub(crate) use both;
