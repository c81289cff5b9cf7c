//! Who calls, and what they may do: as facts, however they proved it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AccountId, CartId, CartNum, SessionId, SignInId, StoreId};
use crate::token::{Access, Buyer, CartSessionToken};

/// What every device key begins with.
pub const DEVICE_KEY: &str = "ck_";

/// How late a revocation may be noticed.
pub const STANDING_AGE: Duration = Duration::from_secs(1);

/// What staff may do: each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// End sessions, put carts into maintenance.
    Operator,
    /// Carts, staff and settings of a store.
    Manager,
    /// Everything; made by the command line first.
    Admin,
}

impl Role {
    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Manager, Self::Admin].into_iter().find(|role| role.as_str() == text)
    }

    /// As in the row and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Manager => "manager",
            Self::Admin => "admin",
        }
    }
}

/// What a service may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Read sessions and their streams.
    SessionsRead,
    /// Complete and fail checkouts.
    Checkout,
    /// Put events on streams.
    Emit,
    /// Mint subscribers' tokens.
    Tokens,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 4] = [Self::SessionsRead, Self::Checkout, Self::Emit, Self::Tokens];

    /// As in the row and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SessionsRead => "sessions:read",
            Self::Checkout => "checkout",
            Self::Emit => "emit",
            Self::Tokens => "tokens",
        }
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A signed-in customer or guest.
#[derive(Clone, Debug)]
pub struct Customer {
    /// Who.
    pub account: AccountId,
    /// By which sign-in.
    pub sign_in: SignInId,
    /// Until when.
    pub exp: Timestamp,
}

/// A signed-in staff member.
#[derive(Clone, Debug)]
pub struct Staff {
    /// Who.
    pub account: AccountId,
    /// By which sign-in.
    pub sign_in: SignInId,
    /// What they may do.
    pub role: Role,
    /// In which store; in all where `None`.
    pub store: Option<StoreId>,
    /// Until when.
    pub exp: Timestamp,
}

impl Staff {
    /// Whether `store` is theirs.
    pub fn covers(&self, store: StoreId) -> bool {
        self.store.is_none_or(|own| own == store)
    }
}

/// A cart that showed its device key.
#[derive(Clone, Debug)]
pub struct Device {
    /// The cart.
    pub cart: CartNum,
    /// Its name.
    pub cart_id: CartId,
    /// Its store.
    pub store: StoreId,
    /// The key, hashed.
    pub key_hash: String,
}

/// A cart's screen, by the token of the session it shows.
#[derive(Clone, Debug)]
pub struct Screen {
    /// The session.
    pub session: SessionId,
    /// Its cart.
    pub cart: CartNum,
    /// That cart's name.
    pub cart_id: CartId,
    /// Until when.
    pub exp: Timestamp,
}

/// Another back end.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its `client_id`.
    pub client_id: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// In which store; in all where `None`.
    pub store: Option<StoreId>,
    /// Until when.
    pub exp: Timestamp,
}

impl Service {
    /// Whether it may do this.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether `store` is its business.
    pub fn covers(&self, store: StoreId) -> bool {
        self.store.is_none_or(|own| own == store)
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Principal {
    /// A customer or guest.
    Customer(Customer),
    /// A staff member.
    Staff(Staff),
    /// A cart.
    Device(Device),
    /// A cart's screen during a session.
    Screen(Screen),
    /// Another back end.
    Service(Service),
}

impl Principal {
    /// Names the principal where its doings are kept apart: quotas, idempotency keys.
    pub fn key(&self) -> String {
        match self {
            Self::Customer(customer) => format!("account/{}", customer.account),
            Self::Staff(staff) => format!("account/{}", staff.account),
            Self::Device(device) => format!("cart/{}", device.cart),
            Self::Screen(screen) => format!("cart/{}", screen.cart),
            Self::Service(service) => format!("service/{}", service.client_id),
        }
    }

    /// When its credential runs out by itself, if ever.
    pub fn exp(&self) -> Option<Timestamp> {
        match self {
            Self::Customer(customer) => Some(customer.exp),
            Self::Staff(staff) => Some(staff.exp),
            Self::Device(_) => None,
            Self::Screen(screen) => Some(screen.exp),
            Self::Service(service) => Some(service.exp),
        }
    }

    /// What buys a stream ticket in its name.
    pub fn buyer(&self) -> Buyer {
        match self {
            Self::Customer(Customer { account, sign_in, .. }) | Self::Staff(Staff { account, sign_in, .. }) => {
                Buyer::Person(Access { sub: *account, sid: *sign_in })
            }
            Self::Device(device) => Buyer::Cart(device.key_hash.clone()),
            Self::Screen(screen) => {
                Buyer::CartSession(CartSessionToken { sub: screen.session, cart: screen.cart_id.clone() })
            }
            Self::Service(service) => Buyer::Service(service.client_id.clone()),
        }
    }
}
