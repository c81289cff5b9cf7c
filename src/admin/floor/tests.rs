//! The floor's rules: what followers are told, and when they start over.

use super::*;

const NOW: Timestamp = Timestamp(1_900_000_000_000);

fn cart(num: i64, store: i64) -> Facts {
    let shown = FloorCart {
        cart_id: num.to_string().parse().unwrap(),
        label: format!("Cart {num}"),
        store_id: StoreId(store),
        lifecycle: Lifecycle::InService,
        occupancy: Occupancy::Free,
        link: Link::Offline,
        battery: Some(80),
        charging: false,
        session: None,
    };
    Facts { num: CartNum(num), seen_at: Some(NOW), heartbeat_at: Some(NOW), changed_at: None, shown }
}

fn with_session(mut facts: Facts) -> Facts {
    facts.shown.occupancy = Occupancy::InUse;
    facts.shown.session = Some(FloorSession {
        session_id: SessionId(1),
        status: Status::Fetched,
        phase: "shopping".into(),
        initial: Some("S.".into()),
        created_at: NOW,
        fetched_at: Some(NOW),
    });
    facts
}

/// The frames somebody is told who has seen `seen`, as `(type, cart)`.
fn told(floor: &Floor, scope: Scope, seen: u64) -> Vec<(String, serde_json::Value)> {
    let Some((_, frames)) = floor.since(scope, seen) else { return Vec::new() };
    let text = String::from_utf8(frames.to_vec()).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str::<serde_json::Value>(data).unwrap())
        .map(|frame| (frame["type"].as_str().unwrap().to_owned(), frame["cart_id"].clone()))
        .collect()
}

fn kinds(floor: &Floor, scope: Scope, seen: u64) -> Vec<String> {
    told(floor, scope, seen).into_iter().map(|(kind, _)| kind).collect()
}

fn floor(carts: Vec<Facts>) -> Floor {
    let mut floor = Floor::default();
    floor.take(carts, true, NOW);
    floor.add_up(NOW);
    floor
}

#[test]
fn a_follower_is_told_what_is_new_once_and_only_of_its_store() {
    let mut floor = floor(vec![cart(1, 1), cart(2, 2)]);
    let (seen, snapshot) = floor.snapshot(Some(StoreId(1)));
    assert!(snapshot.contains("\"cart_id\":1") && !snapshot.contains("\"cart_id\":2"), "{snapshot}");
    assert!(floor.since(None, seen).is_none());
    floor.take(vec![with_session(cart(2, 2))], false, NOW);
    floor.take(vec![cart(1, 1)], false, NOW);
    floor.add_up(NOW);
    assert_eq!(told(&floor, None, seen), [("cart".to_owned(), 2.into()), ("counters".into(), serde_json::Value::Null)]);
    assert_eq!(kinds(&floor, Some(StoreId(1)), seen), [""; 0]);
}

#[test]
fn who_reads_slowly_is_told_the_latest_state_alone() {
    let mut floor = floor(vec![cart(1, 1)]);
    let (seen, _) = floor.snapshot(None);
    for battery in (10..80).rev() {
        let mut facts = cart(1, 1);
        facts.shown.battery = Some(battery);
        floor.take(vec![facts], false, NOW);
        floor.add_up(NOW);
    }
    assert_eq!(kinds(&floor, None, seen), ["cart", "counters", "attention"]);
}

#[test]
fn links_grow_old_with_the_clock() {
    let mut floor = floor(vec![cart(1, 1), with_session(Facts { heartbeat_at: None, ..cart(2, 1) })]);
    let link = |floor: &Floor, num: i64| floor.carts[&CartNum(num)].facts.shown.link;
    assert_eq!(link(&floor, 1), Link::Online);
    for (seconds, expected) in [(31, Link::Stale), (91, Link::Offline)] {
        floor.tick(NOW + std::time::Duration::from_secs(seconds));
        assert_eq!((link(&floor, 1), link(&floor, 2)), (expected, Link::Stale));
    }
}

#[test]
fn a_cart_that_retired_or_moved_makes_followers_start_over() {
    let mut floor = floor(vec![cart(1, 1), cart(2, 1), cart(3, 1)]);
    let (seen, _) = floor.snapshot(None);
    let mut retired = cart(1, 1);
    retired.shown.lifecycle = Lifecycle::Retired;
    floor.take(vec![retired.clone(), cart(2, 2)], false, NOW);
    floor.add_up(NOW);
    assert_eq!(kinds(&floor, Some(StoreId(1)), seen), ["floor"]);
    let (seen, snapshot) = floor.snapshot(Some(StoreId(1)));
    assert!(snapshot.contains("\"carts\":1,") && !snapshot.contains("\"cart_id\":2"), "{snapshot}");
    floor.take(vec![retired], false, NOW);
    floor.add_up(NOW);
    assert!(floor.since(None, seen).is_none());
}
