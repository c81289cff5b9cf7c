//! What staff see and do across the other nouns.

pub mod attention;
pub mod audit;
pub mod csv;
pub mod floor;
pub mod scope;
pub mod sessions;
pub mod stats;
