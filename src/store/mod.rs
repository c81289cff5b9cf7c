//! A store (the shop) and its settings: what each store may decide for itself.

pub mod http;
pub mod service;
#[expect(clippy::module_inception, reason = "a folder is a noun, and its rows are in store.rs, here as everywhere")]
pub mod store;

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::clock::Timestamp;
use crate::ids::StoreId;
use crate::session::Limits;

/// A store: the unit that carts, staff and services belong to.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its id.
    pub id: StoreId,
    /// What people call it.
    pub name: String,
    /// What it decides for itself.
    pub settings: Settings,
    /// Since when there is the store.
    pub created_at: Timestamp,
}

/// A store's own settings. What is missing is as the contract says; `null` switches a time-out off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seconds from the scan to the pick-up (30).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub pickup: Option<Option<u32>>,
    /// Seconds of idleness until the warning (900).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub idle_warning: Option<Option<u32>>,
    /// Seconds of idleness until the end (1200).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub idle_expiry: Option<Option<u32>>,
    /// Seconds a session lasts at most (14400).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Option<u32>>,
    /// Seconds a checkout lasts at most (600).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub checkout: Option<Option<u32>>,
    /// Seconds a cart says goodbye, and is not free, after an external checkout (15).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub goodbye: Option<Option<u32>>,
    /// Seconds of a cart's silence until it is declared offline (90). Only for carts that send heartbeats.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub cart_offline: Option<Option<u32>>,
    /// Seconds of a cart's silence until its session ends (900).
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub cart_lost: Option<Option<u32>>,
    /// Whether idle time-outs also hold where the screen cannot tell of activity (false).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_without_ack: Option<bool>,
    /// Who completes a checkout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkout_mode: Option<CheckoutMode>,
}

/// The shortest time-out that leaves anybody the time to do anything.
const SHORTEST: Duration = Duration::from_secs(5);

/// The longest one: whoever wants more wants none.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who completes a checkout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutMode {
    /// The customer's own request, at once.
    #[default]
    Immediate,
    /// The store's till, through the API.
    External,
}

/// Tells `"key": null` (switched off) from a key that is not there (the default).
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Settings {
    /// Reads what the store's row holds. What was checked when it was written reads back.
    pub fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// As the store's row holds it.
    pub fn written(&self) -> String {
        serde_json::to_string(self).expect("settings are numbers and words")
    }

    /// What is wrong with them, by field, in words that say what to do.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let limits = self.limits();
        let mut problems = Vec::new();
        let mut check = |wrong: bool, field, what| {
            if wrong {
                problems.push((field, what));
            }
        };
        let spans = [
            ("pickup", limits.pickup),
            ("idle_warning", limits.idle_warning),
            ("idle_expiry", limits.idle_expiry),
            ("max_duration", limits.max_duration),
            ("checkout", limits.checkout),
            ("goodbye", limits.goodbye),
            ("cart_offline", limits.cart_offline),
            ("cart_lost", limits.cart_lost),
        ];
        for (field, span) in spans {
            let odd = span.is_some_and(|span| span < SHORTEST || span > LONGEST);
            check(odd, field, "give 5 seconds to 7 days (604800), or null to switch it off");
        }
        let not_before = |first: Option<Duration>, then: Option<Duration>| {
            first.zip(then).is_some_and(|(first, then)| first >= then)
        };
        check(
            not_before(limits.idle_warning, limits.idle_expiry),
            "idle_warning",
            "warn before idle_expiry, or nobody sees the warning",
        );
        check(not_before(limits.cart_offline, limits.cart_lost), "cart_offline", "must be shorter than cart_lost");
        check(not_before(limits.pickup, limits.max_duration), "max_duration", "must be longer than pickup");
        problems
    }

    /// The time-outs of this store's sessions.
    pub fn limits(&self) -> Limits {
        let standard = Limits::standard();
        let or = |own: Option<Option<u32>>, default| match own {
            Some(own) => own.map(|seconds| Duration::from_secs(seconds.into())),
            None => default,
        };
        Limits {
            pickup: or(self.pickup, standard.pickup),
            idle_warning: or(self.idle_warning, standard.idle_warning),
            idle_expiry: or(self.idle_expiry, standard.idle_expiry),
            max_duration: or(self.max_duration, standard.max_duration),
            checkout: or(self.checkout, standard.checkout),
            release: standard.release,
            // As long as for a scan's pick-up, where that is not switched off.
            transfer: self.pickup.flatten().map_or(standard.transfer, |seconds| Duration::from_secs(seconds.into())),
            goodbye: or(self.goodbye, standard.goodbye),
            cart_offline: or(self.cart_offline, standard.cart_offline),
            cart_lost: or(self.cart_lost, standard.cart_lost),
            idle_without_ack: self.idle_without_ack.unwrap_or(standard.idle_without_ack),
        }
    }

    /// Who completes a checkout in this store.
    pub fn checkout_mode(&self) -> CheckoutMode {
        self.checkout_mode.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_as_they_were_given_and_null_is_not_the_same_as_missing() {
        let given = r#"{"pickup":null,"idle_warning":60,"checkout_mode":"external"}"#;
        let settings: Settings = serde_json::from_str(given).unwrap();
        assert_eq!(settings.written(), given);
        assert_eq!(settings.limits().pickup, None);
        assert_eq!(settings.limits().idle_expiry, Limits::standard().idle_expiry);
        assert!(serde_json::from_str::<Settings>(r#"{"pick_up":30}"#).is_err());
    }

    #[test]
    fn a_warning_after_the_end_and_a_span_of_no_use_are_refused() {
        let wrong = |text: &str| serde_json::from_str::<Settings>(text).unwrap().problems().len();
        assert_eq!(wrong("{}"), 0);
        assert_eq!(wrong(r#"{"idle_warning":1200}"#), 1);
        assert_eq!(wrong(r#"{"idle_warning":1200,"idle_expiry":null}"#), 0);
        assert_eq!(wrong(r#"{"pickup":0}"#), 1);
        assert_eq!(wrong(r#"{"max_duration":700000}"#), 1);
    }
}
