//! `cartlink demo`: a store to try, in a folder of its own, with everything in it that the main job needs.
//!
//! Its own routes hand out the admin's password and enrol carts without a code, so that one page can show everything at
//! once: they answer to this machine alone. Phones in the network (`--lan`) meet what a store's customers would.

pub mod http;
pub mod lan;

use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::account::{Email, FullName, Password, SignUp};
use crate::app::App;
use crate::auth::Role;
use crate::failure::{Failure, Result};
use crate::ids::CartId;
use crate::{account, cart, db, qr, store};
use lan::Lan;

/// The demo's carts: what is written on them.
const CARTS: [(&str, &str); 3] = [("1", "Cart 1"), ("2", "Cart 2"), ("3", "Cart 3")];

/// What the demo page is told, and what is kept between two runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Demo {
    carts: Vec<DemoCart>,
    customer: Credentials,
    admin: Credentials,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct DemoCart {
    cart_id: String,
    label: String,
}

/// Someone to sign in as.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// The e-mail.
    pub email: String,
    /// The password, random for each demo folder.
    pub password: String,
}

impl Credentials {
    fn random(email: &str) -> Self {
        let password = crate::token::hex(&crate::token::random::<8>());
        Self { email: email.into(), password }
    }
}

impl Demo {
    /// The demo of this folder, as it was last time or new.
    pub fn of(folder: &Path) -> std::result::Result<Self, String> {
        let file = folder.join("demo.json");
        let shown = file.display();
        if let Ok(text) = fs::read_to_string(&file) {
            return serde_json::from_str(&text)
                .map_err(|error| format!("{shown}: {error}; delete the folder to start over"));
        }
        let demo = Self {
            carts: CARTS.iter().map(|(id, label)| DemoCart { cart_id: (*id).into(), label: (*label).into() }).collect(),
            customer: Credentials::random("sam@demo.example"),
            admin: Credentials::random("admin@demo.example"),
        };
        let text = serde_json::to_string_pretty(&demo).expect("a demo is plain data");
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        made.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| format!("{shown}: {error}"))?;
        Ok(demo)
    }

    /// Makes what is missing of the store: people and enrolled carts.
    pub async fn furnish(&self, app: &App) -> Result<()> {
        let now = app.clock.now();
        let shop = app.db.write(async move |txn: &db::Txn<'_>| store::store::default(&**txn, now).await).await?;
        let Credentials { email, password } = &self.admin;
        if account::store::by_email(app.db.read(), &Email::normalised(email)).await?.is_none() {
            account::service::create_staff(app, email, "Alex Admin", password, Role::Admin, None).await?;
        }
        let Credentials { email, password } = &self.customer;
        if account::store::by_email(app.db.read(), &Email::normalised(email)).await?.is_none() {
            let wrong = |what: &str| Failure::field("demo.json", what);
            let sign_up = SignUp {
                email: Email::parse(email).map_err(wrong)?,
                password: Password::parse(password, None).map_err(wrong)?,
                full_name: FullName::parse("Sam Demo").map_err(wrong)?,
            };
            account::service::sign_up(app, sign_up, None).await?;
        }
        for (id, label) in CARTS {
            let id: CartId = id.parse().expect("the demo's cart ids are cart ids");
            if cart::store::find(app.db.read(), &id).await?.is_none() {
                let cart = cart::service::create(app, id, label, shop).await?;
                cart::service::enrol_directly(app, cart.num).await?;
            }
        }
        Ok(())
    }

    /// What a newcomer needs to know, for the terminal.
    pub fn welcome(&self, app: &App, folder: &Path, lan: Option<&Lan>) -> String {
        let url = app.public_url();
        let control = app.bound.get().map(|bound| bound.control.to_string()).unwrap_or_default();
        format!(
            "\n  cartlink demo · everything lies in {folder} (delete the folder to start over)\n\n\
             {phones}\x20 Open {url}/demo{here} and press \"Scan the cart beside\": screen, phone and admin side by side.\n\n\
             \x20 cart screen   {url}/cart/\n\
             \x20 phone         {url}/app/      {customer}  {customer_password}\n\
             \x20 store admin   {url}/admin/    {admin}  {admin_password}\n\
             \x20 services      http://{control}\n",
            folder = folder.display(),
            url = url.origin(),
            phones = lan.map(|lan| for_phones(url.origin(), lan)).unwrap_or_default(),
            here = if lan.is_some() { " on this machine" } else { "" },
            customer = self.customer.email,
            customer_password = self.customer.password,
            admin = self.admin.email,
            admin_password = self.admin.password,
        )
    }
}

/// How a phone gets here, for the terminal.
fn for_phones(origin: &str, lan: &Lan) -> String {
    let page = format!("{origin}/app/");
    let picture = qr::image::Picture::of_text(&page).map(|picture| picture.terminal()).unwrap_or_default();
    let others: Vec<String> = lan.others().iter().map(ToString::to_string).collect();
    let others = match others.join(", ") {
        list if list.is_empty() => list,
        list => format!("\x20 Other addresses of this machine, for --lan-address: {list}.\n"),
    };
    format!(
        "\x20 With a phone in this network, scan this or open {page}\n\n{picture}\n\
         \x20 The phone will warn that it does not know the certificate. This machine has just made it for itself, so for a try go\n\
         \x20 on past the warning; never do that where you do not know who is at the other end.\n\
         \x20 If nothing opens, phone and machine are not in one network, or a firewall stands between.\n{others}\n"
    )
}

/// Draws the first cart's code in the terminal, again whenever it has to change, for as long as the
/// demo runs; says so when a session starts instead.
pub async fn draw(app: Arc<App>) {
    let id: CartId = CARTS[0].0.parse().expect("the demo's cart ids are cart ids");
    let animated = std::io::stdout().is_terminal();
    let mut drawn = 0;
    let mut shown = None;
    loop {
        let Ok(Some(cart)) = cart::store::find(app.db.read(), &id).await else { return };
        let following = app.broadcaster.follow(crate::event::Channel::Cart(cart.num));
        let state = (cart.status().as_str(), cart.pairing_epoch);
        let now = app.clock.now();
        let fresh = shown.is_some_and(|(of, at)| of == state && now.since(at) < app.config.qr_refresh.0);
        if !fresh {
            let text = match cart.status() {
                cart::CartStatus::Available => {
                    let issued = qr::issue(&app.keys, app.public_url().origin(), &cart, now, app.config.qr_ttl.0);
                    let picture = qr::image::Picture::of_link(app.public_url().origin(), &issued.code)
                        .map(|picture| picture.terminal());
                    let picture = picture.unwrap_or_default();
                    format!(
                        "  {}: scan this, or post its text as {{\"token\": …}} to /customer-session/scan-qr\n  {}\n\n{picture}\n",
                        cart.label, issued.link
                    )
                }
                status => format!("  {}: {}\n", cart.label, status.as_str()),
            };
            if animated && drawn > 0 {
                // Up over what was drawn last time, and clear from there.
                print!("\x1b[{drawn}A\x1b[J");
            }
            print!("{text}");
            let _closed_pipe = std::io::stdout().flush();
            drawn = text.lines().count();
            shown = Some((state, now));
            if !animated && cart.status() == cart::CartStatus::Available {
                // A file or a pipe wants the code once, not every forty seconds.
                return;
            }
        }
        let newer = std::future::poll_fn(|cx| following.poll_newer(i64::MIN, cx));
        let _either = tokio::time::timeout(std::time::Duration::from_secs(1), newer).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
