//! Staff accounts: who may make, change and remove them.

pub mod http;
pub mod service;

use super::{FullName, Password, Post};
use crate::ids::{AccountId, StoreId};
use crate::principal::Role;

/// What is to change of a staff member. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What they are called.
    pub full_name: Option<FullName>,
    /// A new password: whoever had the old one is signed out.
    pub password: Option<Password>,
    /// What they may do.
    pub role: Option<Role>,
    /// Where they may do it: in all stores where it is `Some(None)`.
    pub store: Option<Option<StoreId>>,
    /// Whether they may sign in.
    pub is_active: Option<bool>,
}

impl Change {
    /// The post they have afterwards.
    pub fn post(&self, now: Post) -> Post {
        Post { role: self.role.unwrap_or(now.role), store: self.store.unwrap_or(now.store) }
    }

    /// The change in words, for the audit: nothing that names a person, no password.
    fn told(&self, post: Post) -> String {
        let parts = [
            self.full_name.as_ref().map(|_| "name".to_owned()),
            self.password.as_ref().map(|_| "password".to_owned()),
            (self.role.is_some() || self.store.is_some()).then(|| told(post)),
            self.is_active.map(|active| if active { "active".to_owned() } else { "inactive".to_owned() }),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A post in words, for the audit.
fn told(post: Post) -> String {
    match post.store {
        Some(store) => format!("{} of store/{store}", post.role.as_str()),
        None => format!("{} of all stores", post.role.as_str()),
    }
}

/// Whether nobody of `admins`, who may do everything everywhere, is left once `id` has the post
/// `after`, or none.
fn leaves_nobody(admins: &[AccountId], id: AccountId, after: Option<Post>) -> bool {
    let everything = Post { role: Role::Admin, store: None };
    admins == [id] && after != Some(everything)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_admin_of_all_stores_has_to_stay_one() {
        let (one, two) = (AccountId(1), AccountId(2));
        let post = |role, store: Option<i64>| Some(Post { role, store: store.map(StoreId) });
        assert!(leaves_nobody(&[one], one, None));
        assert!(leaves_nobody(&[one], one, post(Role::Admin, Some(1))));
        assert!(leaves_nobody(&[one], one, post(Role::Manager, None)));
        assert!(!leaves_nobody(&[one], one, post(Role::Admin, None)));
        assert!(!leaves_nobody(&[one, two], one, None) && !leaves_nobody(&[one], two, None));
    }
}
