//! What was true a moment ago: sign-ins and services that need not be looked up again at once.
//!
//! An answer is good for [`STANDING_AGE`] by our clock and by real time, whichever is shorter: a
//! test's clock that stands still must not make it good for ever.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::sign_ins::Standing;
use crate::broadcast::streams::Owner;
use crate::clock::Timestamp;
use crate::ids::SignInId;
use crate::principal::{STANDING_AGE, Service};

/// Sign-ins and services that stood a moment ago.
#[derive(Default)]
pub struct Standings {
    pub(super) sign_ins: Recent<SignInId, Standing>,
    pub(super) services: Recent<String, Service>,
}

impl Standings {
    /// Another node says that this is no longer true.
    pub fn forget(&self, owner: &Owner) {
        match owner {
            Owner::SignIn(id) => self.sign_ins.forget(id),
            Owner::Service(client_id) => self.services.forget(client_id),
            Owner::Cart(_) | Owner::Subscriber(_) => {}
        }
    }
}

/// Answers that are good for a moment.
pub(super) struct Recent<K, V> {
    // A std mutex: never held across an await.
    answers: Mutex<Answers<K, V>>,
}

struct Answers<K, V> {
    by_key: HashMap<K, Answer<V>>,
    swept: Instant,
}

struct Answer<V> {
    value: V,
    at: Timestamp,
    real: Instant,
}

impl<V> Answer<V> {
    fn is_fresh(&self, now: Timestamp, real: Instant) -> bool {
        let age = now.since(self.at).max(real.saturating_duration_since(self.real));
        age < STANDING_AGE && self.at <= now
    }
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { answers: Mutex::new(Answers { by_key: HashMap::new(), swept: Instant::now() }) }
    }
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    fn lock(&self) -> MutexGuard<'_, Answers<K, V>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, if it is fresh.
    pub fn get(&self, key: &K, now: Timestamp) -> Option<V> {
        let answers = self.lock();
        let answer = answers.by_key.get(key)?;
        answer.is_fresh(now, Instant::now()).then(|| answer.value.clone())
    }

    /// Keeps an answer that was true at `now`. Stale ones go, so memory follows who is busy.
    pub fn keep(&self, key: K, value: V, now: Timestamp) {
        let real = Instant::now();
        let mut answers = self.lock();
        if real.duration_since(answers.swept) >= STANDING_AGE {
            answers.swept = real;
            answers.by_key.retain(|_, answer| answer.is_fresh(now, real));
        }
        answers.by_key.insert(key, Answer { value, at: now, real });
    }

    /// It is no longer true.
    pub fn forget(&self, key: &K) {
        self.lock().by_key.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_answer_ages_by_our_clock_and_by_real_time() {
        let (now, real, almost) = (Timestamp(1_768_478_400_000), Instant::now(), Duration::from_millis(999));
        let answer = Answer { value: (), at: now, real };
        assert!(answer.is_fresh(now + almost, real + almost));
        assert!(!answer.is_fresh(now + STANDING_AGE, real) && !answer.is_fresh(now, real + STANDING_AGE));
    }

    #[test]
    fn an_answer_is_good_for_a_moment_and_gone_when_it_is_forgotten() {
        let recent = Recent::default();
        let now = Timestamp(1_768_478_400_000);
        // A machine may stand still for a moment between two lines, but not each time.
        let is_kept = |_| {
            recent.keep("a", 1, now);
            recent.get(&"a", now + Duration::from_millis(999)) == Some(1)
        };
        assert!((0..20).any(is_kept));
        assert_eq!(recent.get(&"a", now + STANDING_AGE), None);
        recent.forget(&"a");
        assert_eq!(recent.get(&"a", now), None);
    }
}
