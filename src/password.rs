//! Passwords: argon2id (RFC 9106), off the async workers and behind a limit.
//!
//! A hash takes 19 MiB and about 20 ms of a core on purpose, so a wave of sign-ins must never take
//! every core from the streams: one is always left over, and a queue that grows too long is
//! refused instead of kept.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::{Failure, Result};

/// How many may wait for a turn, per turn there is: about five seconds of work.
const QUEUE: usize = 256;

/// What comparing a password with a hash found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not the password.
    Wrong,
    /// The password.
    Right,
    /// The password, but hashed as we no longer do: hash it anew.
    Outdated,
}

/// Hashes and compares passwords, a few at a time.
pub struct Passwords {
    argon2: Argon2<'static>,
    /// Compared where there is no such user, so that time and answer are the same.
    nobody: String,
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Passwords {
    /// For a machine with so many cores.
    pub fn new(cores: usize) -> Self {
        let params = Params::new(19_456, 2, 1, None).expect("these costs are within argon2's bounds");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hashed(&argon2, &crate::token::opaque("")).expect("a random text can be hashed");
        let turns = cores.saturating_sub(1).max(1);
        Self {
            argon2,
            nobody,
            turns: Arc::new(Semaphore::new(turns)),
            places: Arc::new(Semaphore::new(turns.saturating_mul(QUEUE).min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The hash to keep, in PHC's form.
    pub async fn hash(&self, password: String) -> Result<String> {
        let argon2 = self.argon2.clone();
        self.in_turn(move || hashed(&argon2, &password)).await?
    }

    /// Compares a password with the account's hash, or with nobody's.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<Verdict> {
        let argon2 = self.argon2.clone();
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        self.in_turn(move || verdict(&argon2, &password, known, &hash)).await?
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Failure::Unavailable("too many people are signing in at once"))?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.expect("nobody closes this semaphore");
        // The turn goes into the closure: a caller that hangs up must not let another one start
        // while its own work still runs.
        let held: (OwnedSemaphorePermit, OwnedSemaphorePermit) = (place, turn);
        let done = tokio::task::spawn_blocking(move || {
            let _held = held;
            work()
        });
        done.await.map_err(|error| Failure::Internal(format!("hashing a password: {error}")))
    }
}

fn hashed(argon2: &Argon2<'_>, password: &str) -> Result<String> {
    let hash = argon2.hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| Failure::Internal(format!("argon2: {error}")))
}

fn verdict(argon2: &Argon2<'_>, password: &str, known: bool, hash: &str) -> Result<Verdict> {
    let parsed = PasswordHash::new(hash);
    let parsed = parsed.map_err(|error| Failure::Internal(format!("a stored password hash: {error}")))?;
    // It is the hash's own parameters that count here, not ours.
    let right = argon2.verify_password(password.as_bytes(), &parsed).is_ok();
    if !(right && known) {
        return Ok(Verdict::Wrong);
    }
    let ours = argon2.params();
    let current = Params::try_from(&parsed).is_ok_and(|params| {
        (params.m_cost(), params.t_cost(), params.p_cost()) == (ours.m_cost(), ours.t_cost(), ours.p_cost())
    });
    Ok(if current && parsed.algorithm.as_str() == "argon2id" { Verdict::Right } else { Verdict::Outdated })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_only() {
        let passwords = Passwords::new(2);
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = async |text: &str, hash: &str| passwords.verify(text.into(), Some(hash.into())).await.unwrap();
        assert_eq!(verify("correct horse", &hash).await, Verdict::Right);
        assert_eq!(verify("Correct horse", &hash).await, Verdict::Wrong);
        assert_eq!(passwords.verify("correct horse".into(), None).await.unwrap(), Verdict::Wrong);
    }

    #[tokio::test]
    async fn a_hash_made_with_other_costs_is_outdated() {
        let cheap = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8_192, 1, 1, None).unwrap());
        let hash = hashed(&cheap, "correct horse").unwrap();
        let verdict = Passwords::new(2).verify("correct horse".into(), Some(hash)).await.unwrap();
        assert_eq!(verdict, Verdict::Outdated);
    }

    #[tokio::test]
    async fn a_queue_that_is_too_long_is_refused_at_once() {
        let passwords = Passwords::new(1);
        let all = Arc::clone(&passwords.places).acquire_many_owned(QUEUE as u32).await.unwrap();
        let refused = passwords.hash("correct horse".into()).await;
        assert!(matches!(refused, Err(Failure::Unavailable(_))), "{refused:?}");
        drop(all);
        assert!(passwords.hash("correct horse".into()).await.is_ok());
    }
}
