//! Writes that PostgreSQL undoes are done once more; one that may stand is not, and whoever asked is told so.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cartlink::clock::Timestamp;
use cartlink::db::{self, Connection, Db, Fate, Location, Txn};
use cartlink::event::{self, Audience, Channel, Draft, Joined, Kind};
use cartlink::failure::Failure;
use sea_orm::DbErr;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::LocalSet;

use crate::helpers::{Cart, Loss, Postgres, Relay, Rows, World};

/// A database as the program opens it, how many events were told, and how often a transaction began.
#[derive(Clone)]
struct Opened {
    db: Db,
    told: Arc<Mutex<Vec<String>>>,
    runs: Arc<AtomicU32>,
}

impl Opened {
    async fn on(postgres: &Postgres) -> Self {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let tells = Arc::clone(&told);
        let location = Location { url: postgres.url(), connections: 4, statement_timeout: Duration::from_secs(20) };
        let tell = Arc::new(move |fate: Fate| match fate {
            Fate::Committed(events) => tells.lock().unwrap().extend(events.iter().map(|event| event.data.to_string())),
            Fate::Unknown => tells.lock().unwrap().push("unknown".into()),
        });
        let db = Db::open(&location, tell).await.unwrap();
        db.migrate().await.unwrap();
        Self { db, told, runs: Arc::default() }
    }

    /// Counts, and says which time it is.
    fn run(&self) -> u32 {
        self.runs.fetch_add(1, Ordering::Relaxed)
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::Relaxed)
    }
}

async fn tell(txn: &Txn<'_>, name: &str) -> Result<(), DbErr> {
    let draft = Draft {
        channel: Channel::Emitted(name.into()),
        session: None,
        audience: Audience::All,
        kind: Kind::Own("told".into()),
        data: name.into(),
        joined: Joined::default(),
    };
    event::store::append(txn, draft, Timestamp(0)).await.map(drop)
}

async fn add_to(txn: &Txn<'_>, name: &str) -> Result<(), DbErr> {
    db::execute(&**txn, "UPDATE purses SET coins = coins + 1 WHERE name = $1", [name.into()]).await.map(drop)
}

async fn purses(postgres: &Postgres) -> Rows {
    let rows = postgres.rows().await;
    rows.run("CREATE TABLE purses (name TEXT PRIMARY KEY, coins BIGINT NOT NULL)").await;
    rows.run("INSERT INTO purses VALUES ('left', 0), ('right', 0)").await;
    rows
}

#[tokio::test]
async fn two_transactions_that_wait_for_each_other_both_end_well_and_are_told_once() {
    let postgres = Postgres::start().await;
    let rows = purses(&postgres).await;
    LocalSet::new()
        .run_until(async {
            let opened = Opened::on(&postgres).await;
            let each_has_one = Arc::new(Barrier::new(2));
            let both = |first: &'static str, second: &'static str| {
                let (own, each_has_one) = (opened.clone(), Arc::clone(&each_has_one));
                opened.db.write(async move |txn: &Txn<'_>| -> Result<(), DbErr> {
                    let first_time = own.run() < 2;
                    tell(txn, first).await?;
                    add_to(txn, first).await?;
                    if first_time {
                        each_has_one.wait().await;
                    }
                    add_to(txn, second).await
                })
            };
            let (one, other) = tokio::join!(both("left", "right"), both("right", "left"));
            one.unwrap();
            other.unwrap();
            assert_eq!(opened.runs(), 3, "PostgreSQL undid one of them, and that one only was done again");
            let mut told = opened.told.lock().unwrap().clone();
            told.sort_unstable();
            assert_eq!(told, ["left", "right"]);
        })
        .await;
    assert_eq!(rows.number("SELECT min(coins) * 100 + max(coins) FROM purses").await, 202);
    assert_eq!(rows.number("SELECT count(*) FROM events").await, 2);
}

#[tokio::test]
async fn what_cannot_be_serialised_is_done_again_at_whatever_moment_that_shows_but_not_for_ever() {
    let postgres = Postgres::start().await;
    let rows = purses(&postgres).await;
    LocalSet::new()
        .run_until(async {
            // In the middle: somebody else has changed what was read.
            let (opened, others) = (Opened::on(&postgres).await, Arc::new(postgres.rows().await));
            let own = opened.clone();
            let doubled = opened.db.write(async move |txn: &Txn<'_>| -> Result<(), DbErr> {
                txn.execute_unprepared("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
                let row = db::row(&**txn, "SELECT coins FROM purses WHERE name = 'left'", []).await?.unwrap();
                let coins: i64 = row.try_get("", "coins")?;
                if own.run() == 0 {
                    others.run("UPDATE purses SET coins = 10 WHERE name = 'left'").await;
                }
                let text = "UPDATE purses SET coins = $1 WHERE name = 'left'";
                db::execute(&**txn, text, [(2 * coins + 1).into()]).await.map(drop)
            });
            doubled.await.unwrap();
            assert_eq!((opened.runs(), rows.number("SELECT coins FROM purses WHERE name = 'left'").await), (2, 21));

            // At COMMIT, where the server says that nothing stands: twice, and then it does.
            rows.run(
                "CREATE SEQUENCE commits; \
                 CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                   IF nextval('commits') <= TG_ARGV[0]::int THEN \
                     RAISE EXCEPTION 'another was faster' USING ERRCODE = '40001'; \
                   END IF; RETURN NULL; END $$; \
                 CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON purses DEFERRABLE INITIALLY DEFERRED \
                   FOR EACH ROW EXECUTE FUNCTION refuse('2')",
            )
            .await;
            let opened = Opened::on(&postgres).await;
            let own = opened.clone();
            let adds = async move |txn: &Txn<'_>| -> Result<(), Failure> {
                own.run();
                tell(txn, "right").await?;
                Ok(add_to(txn, "right").await?)
            };
            opened.db.write(adds.clone()).await.unwrap();
            assert_eq!((opened.runs(), rows.number("SELECT coins FROM purses WHERE name = 'right'").await), (3, 1));
            assert_eq!(*opened.told.lock().unwrap(), ["right"]);

            // A third time would be one too many.
            rows.run("ALTER SEQUENCE commits RESTART").await;
            rows.run(
                "CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON purses DEFERRABLE INITIALLY DEFERRED \
                      FOR EACH ROW EXECUTE FUNCTION refuse('1000')",
            )
            .await;
            let refused = opened.db.write(adds).await;
            assert!(matches!(refused, Err(Failure::Undone)), "{refused:?}");
            assert_eq!((opened.runs(), rows.number("SELECT coins FROM purses WHERE name = 'right'").await), (6, 1));
            assert_eq!(*opened.told.lock().unwrap(), ["right"]);
        })
        .await;
}

const REPEATED: &str = "cartlink_writes_repeated_total";

#[tokio::test]
async fn a_connection_lost_before_commit_is_made_good_and_one_lost_while_committing_is_not_repeated() {
    let postgres = Postgres::start().await;
    let rows = postgres.rows().await;
    let relay = Relay::to(postgres.port);
    let mut node =
        World::prepare(&[format!("--database-url={}", postgres.url_at(&format!("127.0.0.1:{}", relay.port)))]);
    node.spawn();
    node.ready().await;
    node.create_admin();
    let cart = Cart::enrolled(&node, &node.admin().await, "7").await;
    let (mut screen, phone) = (cart.acking_screen().await, node.phone().await);
    let scans = async |key: &str, code: &str| {
        phone.post_keyed("/customer-session/scan-qr", key, &json!({ "token": code })).await
    };
    let ends = async |session: &serde_json::Value| {
        phone.post(&format!("/customer-session/{}/end", session["session_id"])).await.ok();
    };

    // The server never heard the end of it: nothing stands, and nobody notices.
    relay.break_at(Loss::Statement, "key-of-a-lost-statement");
    let session = scans("key-of-a-lost-statement", &cart.qr().await).await.ok();
    assert!(relay.has_broken());
    assert_eq!(node.figure(REPEATED).await, 1.0);
    screen.expect("session-started").await;
    ends(&session).await;
    screen.expect("session-ended").await;

    // The server did it, and could not say so.
    let code = cart.qr().await;
    relay.break_at(Loss::Answer, "key-of-a-lost-answer");
    let refused = scans("key-of-a-lost-answer", &code).await;
    assert!(relay.has_broken());
    assert_eq!(refused.refusal(), (503, "in-doubt".into()));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(node.figure(REPEATED).await, 1.0, "not tried again");
    // Nobody told the screen, and the log did.
    let started = screen.expect("session-started").await;
    // Whoever asks again under the same key is given the answer that was lost.
    let again = scans("key-of-a-lost-answer", &code).await;
    assert_eq!(again.ok()["session_id"], started["session_id"]);
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(rows.number("SELECT count(*) FROM sessions").await, 2);
    ends(&again.ok()).await;
    screen.expect("session-ended").await;
}
