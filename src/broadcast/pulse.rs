//! One timer per worker for all its streams: a wheel of seconds.
//!
//! A timer per stream would cost more memory than the stream's own state, and 20,000 timers that
//! fire apart cost more wake-ups than one that fires once a second.

use std::cell::RefCell;
use std::task::Waker;
use std::time::{Duration, Instant};

/// The wheel's size; no alarm lies further ahead.
const SLOTS: usize = 64;

/// How often it turns.
const TURN: Duration = Duration::from_secs(1);

thread_local! {
    static WHEEL: RefCell<Wheel> = RefCell::new(Wheel::default());
}

struct Wheel {
    slots: [Vec<usize>; SLOTS],
    alarms: slab::Slab<(u64, Option<Waker>)>,
    turn: u64,
    turning: bool,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { slots: std::array::from_fn(|_| Vec::new()), alarms: slab::Slab::new(), turn: 0, turning: false }
    }
}

/// An alarm on this worker's wheel. It stays on the thread it was made on, as its stream does.
pub struct Alarm {
    key: usize,
    _here: std::marker::PhantomData<*const ()>,
}

impl Default for Alarm {
    /// An alarm that is not set.
    fn default() -> Self {
        let key = WHEEL.with_borrow_mut(|wheel| {
            if !wheel.turning {
                wheel.turning = true;
                tokio::task::spawn_local(turn());
            }
            wheel.alarms.insert((0, None))
        });
        Self { key, _here: std::marker::PhantomData }
    }
}

impl Alarm {
    /// Wakes `waker` at `when`, to the second and at most a minute ahead; an earlier setting is
    /// replaced only by a sooner one, or once it has rung.
    pub fn set(&self, when: Instant, waker: &Waker) {
        let ahead = when.saturating_duration_since(Instant::now()).as_secs().clamp(1, SLOTS as u64 - 1);
        WHEEL.with_borrow_mut(|wheel| {
            let due = wheel.turn + ahead;
            let (set, kept) = &mut wheel.alarms[self.key];
            let sooner = kept.is_none() || due < *set;
            if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
                *kept = Some(waker.clone());
            }
            if sooner {
                *set = due;
                wheel.slots[(due % SLOTS as u64) as usize].push(self.key);
            }
        });
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // A thread that is going away takes its wheel with it.
        let _gone = WHEEL.try_with(|wheel| wheel.borrow_mut().alarms.try_remove(self.key));
    }
}

/// Turns this worker's wheel for as long as the worker lives.
async fn turn() {
    let mut interval = tokio::time::interval(TURN);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    loop {
        interval.tick().await;
        let ringing: Vec<Waker> = WHEEL.with_borrow_mut(|wheel| {
            wheel.turn += 1;
            let turn = wheel.turn;
            let keys = std::mem::take(&mut wheel.slots[(turn % SLOTS as u64) as usize]);
            let alarms = &mut wheel.alarms;
            // A key may be stale: its alarm dropped, set anew, or another's by now.
            keys.into_iter().filter_map(|key| alarms.get_mut(key).filter(|(due, _)| *due == turn)?.1.take()).collect()
        });
        for waker in ringing {
            waker.wake();
        }
    }
}
