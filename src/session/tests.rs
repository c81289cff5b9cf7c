//! The rules of a session, walked at random: whatever is done to it at whatever time, no edge is taken that is not in the
//! contract.

use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp(1_000_000_000);

fn session() -> Session {
    Session {
        id: SessionId(1),
        cart: CartNum(7),
        cart_id: "7".parse().unwrap(),
        cart_label: "Cart 7".into(),
        store: StoreId(1),
        customer: Some(AccountId(1)),
        check_code: "42".into(),
        state: State::Active,
        version: 1,
        created_at: START,
        fetched_at: None,
        checkout_at: None,
        checkout_id: None,
        activity_at: START,
        updated_at: START,
        scan_epoch: 1,
        transfer: None,
        silent_since: None,
        limits: Limits::standard(),
    }
}

fn transfer(since: Timestamp) -> Transfer {
    Transfer { cart: CartNum(8), cart_id: "8".parse().unwrap(), cart_label: "Cart 8".into(), epoch: 3, since }
}

/// A step somebody takes; `None` stands for time's own.
fn steps() -> impl Strategy<Value = Option<Step>> {
    let reasons = prop::sample::select(vec![
        Reason::PickupTimeout,
        Reason::IdleTimeout,
        Reason::MaxDuration,
        Reason::CancelledByCustomer,
        Reason::ForceEnded,
        Reason::CartLost,
        Reason::CheckoutError,
        Reason::AccountClosed,
    ]);
    prop_oneof![
        6 => Just(None),
        3 => Just(Some(Step::Ack)),
        1 => Just(Some(Step::PickUp)),
        2 => Just(Some(Step::Activity)),
        1 => Just(Some(Step::WarnIdle)),
        3 => Just(Some(Step::StartCheckout("c".into()))),
        2 => Just(Some(Step::FailCheckout)),
        1 => Just(Some(Step::CompleteCheckout("c".into()))),
        1 => Just(Some(Step::CheckoutAtOnce("d".into()))),
        1 => Just(Some(Step::Release)),
        2 => Just(Some(Step::Move(transfer(START)))),
        1 => any::<bool>().prop_map(|acked| Some(Step::Arrive { acked })),
        1 => Just(Some(Step::MoveBack)),
        1 => reasons.prop_map(|reason| Some(Step::End(reason))),
    ]
}

/// The contract's edges, by status and phase.
fn is_edge(from: &State, to: &State) -> bool {
    let name = |state: &State| (state.status(), state.phase().unwrap_or("over"));
    let ends = |status: Status| matches!(status, Status::Expired | Status::Failed);
    match (name(from), name(to)) {
        ((Status::Active, _), (Status::Fetched, "shopping")) => true,
        ((Status::Active, _), (status, "over")) => ends(status),
        ((Status::Fetched, _), (Status::Completed, "over")) => true,
        ((Status::Fetched, _), (status, "over")) => ends(status),
        ((Status::Fetched, from), (Status::Fetched, to)) => {
            from == to
                || matches!(
                    (from, to),
                    ("shopping", _) | ("idle_warning", "shopping" | "checkout") | ("checkout", "shopping")
                )
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_walk_leaves_the_contracts_edges(walk in prop::collection::vec((steps(), 0_u64..1_000), 1..40)) {
        let (mut session, mut now) = (session(), START);
        for (step, seconds) in walk {
            now = now + Duration::from_secs(seconds);
            let step = match step {
                Some(Step::Move(_)) => Step::Move(transfer(now)),
                Some(step) => step,
                // Time takes only what is due.
                None => match due(&session) {
                    Some((at, step)) if at <= now => step,
                    _ => continue,
                },
            };
            let was_due = due(&session).is_some_and(|(at, due)| at <= now && due == step);
            match next(&session, &step, now) {
                Err(_) => prop_assert!(!was_due, "what is due is never refused: {step:?} in {:?}", session.state),
                Ok(Next::Same) => prop_assert!(!was_due, "what is due changes something: {step:?} in {:?}", session.state),
                Ok(Next::Touched) => session.activity_at = now,
                Ok(Next::Moved(state, kind)) => {
                    prop_assert!(session.state.is_open(), "an end is final");
                    prop_assert!(is_edge(&session.state, &state), "{:?} to {:?} by {step:?}", session.state, state);
                    prop_assert_eq!(kind.is_final(), !state.is_open());
                    if !matches!(step, Step::WarnIdle | Step::MoveBack) {
                        session.activity_at = now;
                    }
                    if matches!(step, Step::Ack | Step::PickUp) {
                        session.fetched_at = Some(now);
                    }
                    session = super::transfer::moved(Session { state, ..session }, &step);
                }
            }
            if session.state.is_open() {
                let limit = session.created_at + Duration::from_secs(4 * 3600);
                prop_assert!(due(&session).is_some_and(|(at, _)| at <= limit), "an open session always ends by itself");
            } else {
                prop_assert!(due(&session).is_none() && session.transfer.is_none());
            }
        }
    }
}

#[test]
fn an_unacknowledged_session_is_never_idle_unless_its_store_says_so() {
    let fetched = State::Fetched { at: START, acked: false, phase: Phase::Shopping };
    let mut session = Session { state: fetched, fetched_at: Some(START), ..session() };
    assert_eq!(due(&session), Some((START + Duration::from_secs(4 * 3600), Step::End(Reason::MaxDuration))));
    session.limits.idle_without_ack = true;
    assert_eq!(due(&session), Some((START + Duration::from_secs(900), Step::WarnIdle)));
    session.limits.idle_warning = None;
    assert_eq!(due(&session), Some((START + Duration::from_secs(1200), Step::End(Reason::IdleTimeout))));
}

#[test]
fn with_every_time_out_switched_off_nothing_is_ever_due() {
    let mut session = session();
    session.limits = Limits {
        pickup: None,
        idle_warning: None,
        idle_expiry: None,
        max_duration: None,
        checkout: None,
        ..Limits::standard()
    };
    for state in [State::Active, State::Fetched { at: START, acked: true, phase: Phase::Shopping }] {
        assert_eq!(due(&Session { state, ..session.clone() }), None);
    }
}

#[test]
fn a_silence_from_before_the_pick_up_is_no_silence_within_the_session() {
    let state = State::Fetched { at: START, acked: false, phase: Phase::Shopping };
    let session = Session { state, fetched_at: Some(START), silent_since: Some(Timestamp(0)), ..session() };
    assert_eq!(due(&session), Some((START + Duration::from_secs(900), Step::End(Reason::CartLost))));
}
