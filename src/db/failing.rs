//! Where the database fails: how long an answer is waited for, what is asked once more, and what may pass.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, RuntimeErr, Statement};

use super::{SILENCE, WriteError};
use crate::failure::Failure;

/// A broken connection shows at once. What has been waited for longer is silence, and waiting for it again would keep
/// whoever asks from an honest refusal.
pub(super) const AT_ONCE: Duration = Duration::from_secs(1);

/// The answer, or that there was none for too long.
pub(super) async fn soon<T>(answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    let silent = |_| DbErr::Conn(RuntimeErr::Internal(format!("PostgreSQL has said nothing for {SILENCE:?}")));
    tokio::time::timeout(SILENCE, answer).await.map_err(silent)?
}

/// As [`soon`], where there is a link that can be cut.
pub(super) async fn answered<T>(
    conn: &impl ConnectionTrait,
    answer: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    match conn.get_database_backend() {
        DbBackend::Postgres => soon(answer).await,
        _ => answer.await,
    }
}

/// Asks once more where the connection turns out to be broken, on another one. A transaction has but one, and fails with
/// it: nothing is written twice.
pub(super) async fn asked<T>(
    conn: &impl ConnectionTrait,
    statement: Statement,
    ask: impl AsyncFn(Statement) -> Result<T, DbErr>,
) -> Result<T, DbErr> {
    if conn.get_database_backend() != DbBackend::Postgres {
        return ask(statement).await;
    }
    let began = Instant::now();
    match soon(ask(statement.clone())).await {
        Err(error) if is_broken(&error) && began.elapsed() < AT_ONCE => soon(ask(statement)).await,
        answer => answer,
    }
}

/// Whether the server undid a transaction in favour of another: two waited for each other, or it could not be serialised.
pub(super) fn lost_a_race(error: &DbErr) -> bool {
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK_DETECTED: &str = "40P01";
    let (DbErr::Conn(cause) | DbErr::Exec(cause) | DbErr::Query(cause)) = error else { return false };
    let RuntimeErr::SqlxError(cause) = cause else { return false };
    let state = cause.as_database_error().and_then(|error| error.code());
    state.is_some_and(|state| [SERIALIZATION_FAILURE, DEADLOCK_DETECTED].contains(&state.as_ref()))
}

/// Whether the connection is gone, by the server's or the network's doing.
pub(super) fn is_broken(error: &DbErr) -> bool {
    const SIGNS: &[&str] =
        &["terminating connection", "Connection reset", "expected to read", "error communicating", "Broken pipe"];
    let text = error.to_string();
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// Whether it is worth another try: a database that is down, starting or stopping, a full disk, a lost race.
pub fn is_passing(error: &DbErr) -> bool {
    const SIGNS: &[&str] = &[
        "disk is full",
        "disk I/O error",
        "database is locked",
        "timeout",
        "timed out",
        "terminating connection",
        "Connection refused",
        "Connection reset",
        "connection closed",
        "expected to read",
        "error communicating",
        "shutting down",
        "starting up",
        "recovery mode",
        "too many clients",
        "No space left",
        "Broken pipe",
    ];
    let text = error.to_string();
    // Said in one breath with what may pass: somebody else answers, or the authority is another.
    !text.contains("invalid peer certificate")
        && (matches!(error, DbErr::ConnectionAcquire(_))
            || lost_a_race(error)
            || SIGNS.iter().any(|sign| text.contains(sign))
            || matches!(error, DbErr::Conn(RuntimeErr::Internal(_))))
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        let text = error.to_string();
        if error.is_undone() {
            tracing::warn!(cause = text, "the database undid a transaction, or lost a connection");
            return Self::Undone;
        }
        // Honest, and worth another try.
        if is_passing(&error) {
            tracing::error!(cause = text, "the database did not answer");
            Self::Unavailable("the database does not answer")
        } else {
            Self::Internal(text)
        }
    }
}
