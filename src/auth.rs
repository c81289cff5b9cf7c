//! Extractors: who may call a handler stands in its signature.
//!
//! A credential is an access token, a service's token, a cart session's token or a device key, in
//! `Authorization: Bearer`, `X-API-Key` or the device cookie; streams also take `?token=` and
//! `?ticket=`. Verifying a signature is never enough: each request asks (at most a second late)
//! whether the sign-in, key or session behind it still stands, and what role it has now.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Failure, Result};
use crate::principal::DEVICE_KEY;
pub use crate::principal::{Customer, Device, Principal, Role, Scope, Screen, Service, Staff};
use crate::token::{self, Access, Buyer, CartSessionToken, Refused, ServiceAccess, Ticket};
use crate::{account, cart, session};

/// Who stands behind an account's sign-in right now.
pub async fn person(app: &App, access: &Access, exp: Timestamp) -> Result<Principal> {
    let standing = account::service::standing(app, access.sid).await?;
    let standing = standing.filter(|standing| standing.account == access.sub);
    let standing = standing.ok_or(Failure::BadCredential("this sign-in has ended; sign in again"))?;
    let (account, sign_in) = (standing.account, access.sid);
    Ok(match standing.role {
        None => Principal::Customer(Customer { account, sign_in, exp }),
        Some(role) => Principal::Staff(Staff { account, sign_in, role, store: standing.store, exp }),
    })
}

async fn service(app: &App, client_id: &str, exp: Timestamp) -> Result<Principal> {
    let service = account::service::service_standing(app, client_id).await?;
    let service = service.ok_or(Failure::BadCredential("this service has been removed"))?;
    Ok(Principal::Service(Service { exp, ..service }))
}

async fn screen(app: &App, claims: CartSessionToken, exp: Timestamp) -> Result<Principal> {
    let open = session::store::find(app.db.read(), claims.sub).await?;
    let open = open.filter(|session| session.state.is_open());
    let open = open.and_then(|session| {
        // While it moves, the session is on two carts, and each has a token of its own.
        let transfer = session.transfer.as_ref().map(|transfer| (transfer.cart, &transfer.cart_id));
        let on = std::iter::once((session.cart, &session.cart_id)).chain(transfer);
        let (cart, _) = on.into_iter().find(|(_, id)| **id == claims.cart)?;
        Some(Screen { session: session.id, cart, cart_id: claims.cart.clone(), exp })
    });
    open.map(Principal::Screen).ok_or(Failure::BadCredential("this session is over"))
}

async fn device(app: &App, key_hash: &str) -> Result<Option<Principal>> {
    let found = cart::store::by_key(app.db.read(), key_hash).await?;
    Ok(found.map(|cart| {
        Principal::Device(Device { cart: cart.num, cart_id: cart.id, store: cart.store, key_hash: key_hash.into() })
    }))
}

fn refused(refused: Refused) -> Failure {
    Failure::BadCredential(match refused {
        Refused::Invalid => "the token is not valid",
        Refused::Expired => "the token has expired; sign in again",
    })
}

/// Whoever this bearer token stands for.
pub async fn bearer(app: &App, token: &str) -> Result<Principal> {
    if token.starts_with(DEVICE_KEY) {
        let found = device(app, &token::hash(token)).await?;
        return found.ok_or(Failure::BadCredential("the device key is not valid; enrol the cart again"));
    }
    let now = app.clock.now();
    match app.keys.open::<Access>(token, now) {
        Ok(opened) => return person(app, &opened.claims, opened.exp).await,
        Err(Refused::Expired) => return Err(refused(Refused::Expired)),
        Err(Refused::Invalid) => {}
    }
    if let Ok(opened) = app.keys.open::<ServiceAccess>(token, now) {
        return service(app, &opened.claims.sub, opened.exp).await;
    }
    let opened = app.keys.open::<CartSessionToken>(token, now).map_err(refused)?;
    screen(app, opened.claims, opened.exp).await
}

/// Whoever bought this ticket, if it is for the stream `sub`.
pub async fn ticket(app: &App, ticket: &str, sub: &str) -> Result<Principal> {
    let opened = app.keys.open::<Ticket>(ticket, app.clock.now()).map_err(refused)?;
    if opened.claims.sub != sub {
        return Err(Failure::BadCredential("the ticket is for another stream"));
    }
    let until = Timestamp::from_unix(opened.claims.until);
    match opened.claims.buyer {
        Buyer::Person(access) => person(app, &access, until).await,
        Buyer::Service(client_id) => service(app, &client_id, until).await,
        Buyer::CartSession(claims) => screen(app, claims, until).await,
        Buyer::Cart(key_hash) => {
            let found = device(app, &key_hash).await?;
            found.ok_or(Failure::BadCredential("the device key is no longer valid; enrol the cart again"))
        }
    }
}

/// Whoever the request's headers stand for: `Authorization`, then `X-API-Key`, then the cookie.
async fn from_headers(app: &App, request: &HttpRequest) -> Result<Option<Principal>> {
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| value.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = token.ok_or(Failure::BadCredential("send it as `Authorization: Bearer …`"))?;
        return bearer(app, token.trim()).await.map(Some);
    }
    if let Some(key) = request.headers().get("x-api-key") {
        let hash = token::hash(key.to_str().unwrap_or_default());
        return device(app, &hash).await?.map(Some).ok_or(Failure::WrongKey);
    }
    let Some(cookie) = request.cookie(app.cookie_name()) else {
        return Ok(None);
    };
    same_origin(app, request)?;
    device(app, &token::hash(cookie.value())).await
}

/// A cookie comes along with any page's request: one that changes something must be our own page's.
fn same_origin(app: &App, request: &HttpRequest) -> Result<()> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin == app.public_url().origin()
        || host.is_some_and(|host| origin.split_once("://").is_some_and(|(_, of)| of == host));
    if own {
        Ok(())
    } else {
        Err(Failure::Forbidden("A request with the cart's cookie must come from this server's own pages"))
    }
}

/// Whoever opens the stream `sub`: `?ticket=` and `?token=` first, because a page's cookie comes
/// along whether it is meant or not.
pub async fn for_stream(app: &App, request: &HttpRequest, sub: &str) -> Result<Principal> {
    #[derive(Deserialize)]
    struct Credentials {
        ticket: Option<String>,
        token: Option<String>,
    }
    let query = actix_web::web::Query::<Credentials>::from_query(request.query_string());
    let principal = match query.map(actix_web::web::Query::into_inner) {
        Ok(Credentials { ticket: Some(given), .. }) => return ticket(app, &given, sub).await,
        // Clients in the field put either into `token`.
        Ok(Credentials { token: Some(given), .. }) => {
            return match ticket(app, &given, sub).await {
                Ok(principal) => Ok(principal),
                Err(Failure::BadCredential("the ticket is for another stream")) => {
                    Err(Failure::BadCredential("the ticket is for another stream"))
                }
                Err(_) => bearer(app, &given).await,
            };
        }
        _ => from_headers(app, request).await?,
    };
    principal.ok_or(Failure::NotAuthenticated)
}

/// Anybody with a credential. The handler decides what they may see.
pub struct Caller(pub Principal);

/// Anybody at all; who has a credential is known by it.
pub struct Anyone(pub Option<Principal>);

/// A customer or guest.
pub struct CustomerAuth(pub Customer);

/// A cart, by its device key.
pub struct CartAuth(pub Device);

/// A service.
pub struct ServiceAuth(pub Service);

/// Staff of at least this rank.
pub struct StaffAuth<R: Rank>(pub Staff, PhantomData<R>);

/// A role as a type.
pub trait Rank: 'static {
    /// The role.
    const ROLE: Role;
}

/// The ranks, as types for [`StaffAuth`].
pub mod rank {
    use super::{Rank, Role};

    macro_rules! ranks {
        ($($name:ident),*) => {$(
            /// At least this role.
            pub struct $name;
            impl Rank for $name {
                const ROLE: Role = Role::$name;
            }
        )*};
    }
    ranks!(Viewer, Operator, Manager, Admin);
}

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T>>>>;

/// The request's principal, through `narrow`.
fn extract<T: 'static>(request: &HttpRequest, narrow: fn(Option<Principal>) -> Result<T>) -> Extracting<T> {
    let request = request.clone();
    Box::pin(async move {
        let app = request.app_data::<Data<App>>().expect("every server has an App").clone();
        let principal = from_headers(&app, &request).await?;
        if let Some(Principal::Device(device)) = &principal {
            session::awaiting::cart_was_heard(&app, device.cart);
        }
        narrow(principal)
    })
}

impl FromRequest for Anyone {
    type Error = Failure;
    type Future = Extracting<Self>;
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(request, |principal| Ok(Self(principal)))
    }
}

impl FromRequest for Caller {
    type Error = Failure;
    type Future = Extracting<Self>;
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(request, |principal| principal.map(Self).ok_or(Failure::NotAuthenticated))
    }
}

impl FromRequest for CustomerAuth {
    type Error = Failure;
    type Future = Extracting<Self>;
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(request, |principal| match principal {
            Some(Principal::Customer(customer)) => Ok(Self(customer)),
            None => Err(Failure::NotAuthenticated),
            Some(_) => Err(Failure::Forbidden("Only a customer may do this")),
        })
    }
}

impl FromRequest for CartAuth {
    type Error = Failure;
    type Future = Extracting<Self>;
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(request, |principal| match principal {
            Some(Principal::Device(device)) => Ok(Self(device)),
            None => Err(Failure::NotAuthenticated),
            Some(_) => Err(Failure::Forbidden("Only the cart itself may do this")),
        })
    }
}

impl FromRequest for ServiceAuth {
    type Error = Failure;
    type Future = Extracting<Self>;
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(request, |principal| match principal {
            Some(Principal::Service(service)) => Ok(Self(service)),
            None => Err(Failure::NotAuthenticated),
            Some(_) => Err(Failure::Forbidden("Only a service may do this")),
        })
    }
}

impl<R: Rank> FromRequest for StaffAuth<R> {
    type Error = Failure;
    type Future = Extracting<Self>;
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        extract(request, |principal| match principal {
            Some(Principal::Staff(staff)) if staff.role >= R::ROLE => Ok(Self(staff, PhantomData)),
            None => Err(Failure::NotAuthenticated),
            Some(_) => Err(Failure::Forbidden("Your role does not allow this")),
        })
    }
}

/// The address a request came from, as far as trusted proxies can tell.
pub struct Address(pub Option<std::net::IpAddr>);

impl FromRequest for Address {
    type Error = Failure;
    type Future = Ready<Result<Self>>;
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let app = request.app_data::<Data<App>>().expect("every server has an App");
        let mut address = request.peer_addr().map(|peer| peer.ip());
        let forwarded = request.headers().get("x-forwarded-for").and_then(|value| value.to_str().ok());
        // From the right: each trusted proxy vouches for the one before it.
        for hop in forwarded.unwrap_or_default().rsplit(',') {
            if !address.is_some_and(|ip| app.config.trusted_proxies.contains(&ip)) {
                break;
            }
            match hop.trim().parse() {
                Ok(ip) => address = Some(ip),
                Err(_) => break,
            }
        }
        ready(Ok(Self(address)))
    }
}
