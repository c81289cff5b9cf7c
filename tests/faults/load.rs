//! A load that remembers what it was promised: publishers on some channels, followers on all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::follower::Follower;
use crate::program::Program;

/// Followers of some channels, and what those were promised.
pub struct Load {
    pub channels: Vec<String>,
    pub followers: Vec<(String, Follower)>,
    promised: Arc<Mutex<HashMap<String, u64>>>,
    refusals: Arc<Mutex<HashMap<u16, u64>>>,
    stop: Arc<AtomicBool>,
    publishers: JoinSet<()>,
    epoch: Instant,
}

impl Load {
    /// Connects `each` followers to each of `channels` channels; `base` is where streams are opened, straight or by proxy.
    pub async fn gather(program: &Program, base: &str, channels: usize, each: usize) -> Self {
        let epoch = Instant::now();
        let channels: Vec<String> = (0..channels).map(|n| format!("channel-{n}")).collect();
        let mut followers = Vec::new();
        for channel in &channels {
            let token = program.token(channel).await;
            for _ in 0..each {
                let follower = Follower::connect(&program.http, format!("{base}/events/"), token.clone(), epoch).await;
                followers.push((channel.clone(), follower));
            }
        }
        Self {
            channels,
            followers,
            promised: Arc::default(),
            refusals: Arc::default(),
            stop: Arc::default(),
            publishers: JoinSet::new(),
            epoch,
        }
    }

    /// Publishes on every channel, one event after the other, until `rest`. A refusal is noted and not repeated: nobody
    /// knows whether it was written.
    pub fn publish(&mut self, program: &Program, pause: Duration) {
        for channel in &self.channels {
            let (emit, http) = (program.controlled("/emit/"), program.http.clone());
            let (promised, refusals, stop) = (self.promised.clone(), self.refusals.clone(), self.stop.clone());
            let (channel, epoch) = (channel.clone(), self.epoch);
            self.publishers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let payload = format!("data: {} something happened\n\n", epoch.elapsed().as_micros());
                    let form = [("userId", "someone"), ("channel", &channel), ("payload", &payload)];
                    match http.post(&emit).form(&form).timeout(Duration::from_secs(120)).send().await {
                        Ok(answer) if answer.status() == 200 => {
                            let id = answer.headers()["event-id"].to_str().unwrap().to_owned();
                            let seq: u64 = id.rsplit_once('.').unwrap().1.parse().unwrap();
                            let mut promised = promised.lock().unwrap();
                            let highest = promised.entry(channel.clone()).or_default();
                            *highest = seq.max(*highest);
                        }
                        Ok(answer) => *refusals.lock().unwrap().entry(answer.status().as_u16()).or_default() += 1,
                        Err(_) => *refusals.lock().unwrap().entry(0).or_default() += 1,
                    }
                    tokio::time::sleep(pause).await;
                }
            });
        }
    }

    /// How often a publish was answered with this status; 0 counts those without an answer.
    pub fn refused_with(&self, status: u16) -> u64 {
        self.refusals.lock().unwrap().get(&status).copied().unwrap_or_default()
    }

    /// The statuses publishes were refused with.
    pub fn statuses(&self) -> Vec<u16> {
        self.refusals.lock().unwrap().keys().copied().collect()
    }

    pub fn promised(&self) -> u64 {
        self.promised.lock().unwrap().values().sum()
    }

    /// Events heard so far, all followers together.
    pub fn heard(&self) -> u64 {
        self.followers.iter().map(|(_, follower)| follower.read(|heard| heard.count)).sum()
    }

    /// Waits until this many events were promised, all channels together.
    pub async fn until_promised(&self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.promised() < count {
            assert!(
                Instant::now() < deadline,
                "only {} of {count} events were taken in two minutes; refusals: {:?}",
                self.promised(),
                self.refusals.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops publishing, then shows that every follower hears everything that was promised, in order and once.
    pub async fn rest_and_check(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while self.publishers.join_next().await.is_some() {}
        let promised = self.promised.lock().unwrap().clone();
        let mut heard = 0;
        for (channel, follower) in &self.followers {
            let last = promised.get(channel).copied().unwrap_or_default();
            follower.until(&format!("event {last} of {channel}"), |heard| heard.last_seq >= last).await;
            follower.read(|heard| assert_eq!(heard.wrong, Vec::<String>::new(), "on {channel}"));
            heard += follower.read(|heard| heard.count);
        }
        self.stop.store(false, Ordering::Relaxed);
        heard
    }
}
