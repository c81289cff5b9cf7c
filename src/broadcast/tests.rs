//! Followers against a model: whatever happens in between, each gets exactly what comes after the
//! place it asked for, once and in order, or a marked reset where that is no longer kept.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};

use super::bus::local::Local;
use super::follow::{Follower, Lost};
use super::http::{Start, start};
use super::{Broadcaster, Entry};
use crate::app::App;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::db::Txn;
use crate::event::store::{self, Head};
use crate::event::{Audience, Channel, Draft, Event, EventId, Joined, Kind};

/// One step of a story about one channel.
#[derive(Clone, Debug)]
enum Op {
    /// So many events are committed; nobody has been told yet.
    Commit(usize),
    /// One of those not told yet is told, out of turn or in it.
    Tell(usize),
    /// All of them are, in this order or the reverse.
    TellAll { reversed: bool },
    /// A wake-up is lost.
    Lose(usize),
    /// The periodic look at the head, which mends that.
    Check,
    /// Somebody connects, with the id of a place so far back, or none.
    Connect(Option<usize>),
    /// Somebody connects with an id that is none of this channel's life.
    ConnectAstray { beyond: bool },
    /// One of them reads.
    Read(usize),
    /// One of them goes away.
    Leave(usize),
    /// The server is another process: tails are gone, everybody comes back.
    Restart,
    /// The log's beginning is dropped, up to this far before its end.
    Drop(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..4_usize).prop_map(Op::Commit),
        // More than a tail holds, and more than one batch.
        1 => (60..200_usize).prop_map(Op::Commit),
        4 => any::<usize>().prop_map(Op::Tell),
        3 => any::<bool>().prop_map(|reversed| Op::TellAll { reversed }),
        1 => any::<usize>().prop_map(Op::Lose),
        1 => Just(Op::Check),
        3 => proptest::option::of(0..100_usize).prop_map(Op::Connect),
        1 => any::<bool>().prop_map(|beyond| Op::ConnectAstray { beyond }),
        5 => any::<usize>().prop_map(Op::Read),
        1 => any::<usize>().prop_map(Op::Leave),
        1 => Just(Op::Restart),
        1 => (0..100_usize).prop_map(Op::Drop),
    ]
}

/// A client: its stream, its place, and the last id it has been told.
struct Client {
    follower: Follower,
    at: i64,
    id: String,
}

/// A channel, those who follow it, and what the server knows of it.
struct Story {
    app: Arc<App>,
    broadcaster: Arc<Broadcaster>,
    channel: Channel,
    untold: Vec<Event>,
    clients: Vec<Client>,
}

impl Story {
    async fn head(&self) -> Head {
        store::head(self.app.db.read(), &self.channel).await.unwrap().unwrap_or_else(Head::unborn)
    }

    async fn commit(&mut self, count: usize) {
        let before = self.head().await.seq;
        let draft = |n| Draft {
            channel: self.channel.clone(),
            session: None,
            audience: Audience::All,
            kind: Kind::Own("".into()),
            data: format!("{n}").into(),
            joined: Joined::default(),
        };
        let (drafts, now) = ((0..count).map(draft).collect::<Vec<_>>(), self.app.clock.now());
        let written: Result<_, sea_orm::DbErr> = store::append_all(&self.app.db, move || drafts.clone(), now).await;
        written.unwrap();
        let limit = u32::try_from(count).unwrap();
        let read = store::since(self.app.db.read(), &self.channel, before, limit, |_| None).await.unwrap();
        self.untold.extend(read.into_iter().map(|read| read.event));
    }

    /// As a client that connects with this id.
    async fn connect(&self, last: Option<&str>) -> (Client, bool) {
        let following = self.broadcaster.follow(self.channel.clone());
        let head = self.head().await;
        let start = start(last, &head);
        let at = if let Start::After(seq) = start { seq } else { head.seq };
        let reset = matches!(start, Start::Reset);
        let id = last.filter(|_| !reset).map_or_else(|| head.id().to_string(), str::to_owned);
        let follower = Follower::new(Arc::clone(&self.app), following, head, at);
        (Client { follower, at, id }, reset)
    }

    /// Reads until there is nothing more, coming back as a browser does where the stream ends.
    async fn read(&mut self, n: usize) -> TestCaseResult {
        loop {
            let client = &mut self.clients[n];
            let read: Option<Result<Vec<Arc<Entry>>, Lost>> = poll_fn(|cx| match client.follower.poll_events(cx) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending if client.follower.is_reading() => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            })
            .await;
            match read {
                None => return Ok(()),
                Some(Ok(events)) => {
                    for entry in events {
                        prop_assert_eq!(entry.event.seq, client.at + 1, "no gap, no repeat, no disorder");
                        client.at += 1;
                        client.id = entry.event.id().to_string();
                    }
                }
                Some(Err(Lost)) => {
                    let head = self.head().await;
                    let at = self.clients[n].at;
                    prop_assert!(at < head.dropped, "a stream breaks only where the log does: {} of {:?}", at, head);
                    self.come_back(n).await?;
                }
            }
        }
    }

    /// With the last id seen: exactly on from there, or a reset where that is no longer kept.
    async fn come_back(&mut self, n: usize) -> TestCaseResult {
        let head = self.head().await;
        let at = self.clients[n].at;
        let (client, reset) = self.connect(Some(&self.clients[n].id)).await;
        prop_assert_eq!(reset, at < head.dropped);
        prop_assert_eq!(client.at, if reset { head.seq } else { at });
        self.clients[n] = client;
        Ok(())
    }

    async fn take(&mut self, op: Op) -> TestCaseResult {
        let head = self.head().await;
        match op {
            Op::Commit(count) => self.commit(count).await,
            Op::Tell(n) if !self.untold.is_empty() => {
                let n = n % self.untold.len();
                self.broadcaster.publish(self.untold.remove(n));
            }
            Op::TellAll { reversed } => {
                if reversed {
                    self.untold.reverse();
                }
                self.untold.drain(..).for_each(|event| self.broadcaster.publish(event));
            }
            Op::Lose(n) if !self.untold.is_empty() => drop(self.untold.remove(n % self.untold.len())),
            Op::Check => self.broadcaster.heard(&self.channel, head.seq),
            Op::Connect(back) => {
                let seq = back.map(|back| (head.seq - i64::try_from(back).unwrap()).max(0));
                let id = seq.map(|seq| EventId { epoch: head.epoch.clone(), seq }.to_string());
                let (client, reset) = self.connect(id.as_deref()).await;
                prop_assert_eq!(reset, seq.is_some_and(|seq| seq < head.dropped));
                prop_assert_eq!(client.at, seq.filter(|_| !reset).unwrap_or(head.seq));
                self.clients.push(client);
            }
            Op::ConnectAstray { beyond } => {
                let id =
                    if beyond { format!("{}.{}", head.epoch.0, head.seq + 1) } else { format!("another.{}", head.seq) };
                let (client, reset) = self.connect(Some(&id)).await;
                prop_assert!(reset && client.at == head.seq);
                self.clients.push(client);
            }
            Op::Read(n) if !self.clients.is_empty() => self.read(n % self.clients.len()).await?,
            Op::Leave(n) if !self.clients.is_empty() => drop(self.clients.swap_remove(n % self.clients.len())),
            Op::Restart => {
                self.broadcaster = alone();
                self.untold.clear();
                for n in 0..self.clients.len() {
                    self.come_back(n).await?;
                }
            }
            Op::Drop(back) => {
                let upto = (head.seq - i64::try_from(back).unwrap()).max(head.dropped);
                let channel = self.channel.clone();
                self.app
                    .db
                    .write(async move |txn: &Txn<'_>| store::drop_upto(&**txn, &channel, upto).await)
                    .await
                    .unwrap();
            }
            Op::Tell(_) | Op::Lose(_) | Op::Read(_) | Op::Leave(_) => {}
        }
        Ok(())
    }
}

/// Half of the channels are made before their first event, as a cart's is, and half by it.
async fn tell(app: Arc<App>, channel: Channel, made: bool, ops: Vec<Op>) -> TestCaseResult {
    if made {
        let channel = channel.clone();
        app.db.write(async move |txn: &Txn<'_>| store::create_channel(&**txn, &channel).await).await.unwrap();
    }
    let mut story = Story { app, broadcaster: alone(), channel, untold: Vec::new(), clients: Vec::new() };
    for op in ops {
        story.take(op).await?;
    }
    // Once the last head check is through, everybody has everything.
    story.take(Op::Check).await?;
    for n in 0..story.clients.len() {
        story.read(n).await?;
        prop_assert_eq!(story.clients[n].at, story.head().await.seq);
    }
    story.clients.clear();
    prop_assert!(story.broadcaster.followed().is_empty(), "a channel nobody follows costs nothing");
    Ok(())
}

/// A broadcaster that hears of nothing but what it is told here.
fn alone() -> Arc<Broadcaster> {
    Arc::new(Broadcaster::new(Arc::new(Local)))
}

fn config(folder: &Path) -> Config {
    Config { data: folder.to_owned(), ..Config::standard() }
}

#[test]
fn each_follower_gets_exactly_its_suffix_or_a_marked_reset() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let starting = crate::start::application(config(folder.path()), Arc::new(SystemClock), None);
    let (app, _background) = runtime.block_on(local.run_until(starting)).unwrap();
    let channels = AtomicU32::new(0);
    let mut runner = TestRunner::new(ProptestConfig { cases: 100, ..ProptestConfig::default() });
    let told = runner.run(&(any::<bool>(), proptest::collection::vec(op(), 0..60)), |(made, ops)| {
        let channel = Channel::Emitted(channels.fetch_add(1, Ordering::Relaxed).to_string().into());
        runtime.block_on(local.run_until(tell(Arc::clone(&app), channel, made, ops)))
    });
    told.unwrap();
}
