//! Staff, stores, services and the audit log: nobody reaches beyond their own role and store.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use cartlink::admin::audit::{self, Verdict};

use crate::helpers::{Answer, Screen, Staff, World, both, write};

const PASSWORD: &str = "a long enough passphrase";

/// A new staff member, signed in, and their id.
async fn hired<'w>(world: &'w World, by: &Staff<'w>, role: &str, store: Value) -> (Staff<'w>, i64) {
    let email = format!("staff{}@world.example", world.fresh());
    let body =
        json!({ "email": email, "password": PASSWORD, "full_name": "Staff Member", "role": role, "store_id": store });
    let made = by.post_json("/admin/staff", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    assert_eq!((made["role"].as_str(), &made["store_id"]), (Some(role), &store));
    (Staff::sign_in(world, &email, PASSWORD).await, made["id"].as_i64().unwrap())
}

fn body(world: &World, role: &str, store: Value) -> Value {
    let email = format!("staff{}@world.example", world.fresh());
    json!({ "email": email, "password": PASSWORD, "full_name": "Staff Member", "role": role, "store_id": store })
}

/// The second store; every world has a first one.
async fn second_store(admin: &Staff<'_>) -> i64 {
    admin.post_json("/admin/stores", &json!({ "name": "Second" })).await.ok()["store_id"].as_i64().unwrap()
}

async fn patch(by: &Staff<'_>, path: &str, body: Value) -> Answer {
    by.send_json(Method::PATCH, path, &body).await
}

fn beyond() -> (u16, String) {
    (403, "forbidden".into())
}

fn absent() -> (u16, String) {
    (404, "not-found".into())
}

async fn token(world: &World, id: &Value, secret: &Value) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str().unwrap()),
        ("client_secret", secret.as_str().unwrap()),
    ];
    Answer::of(world.http.post(world.url("/oauth2/token")).form(&form)).await
}

both! {
    async fn nobody_grants_a_role_or_a_store_beyond_their_own(world: World) {
        let admin = world.admin().await;
        let second = second_store(&admin).await;
        let (manager, _) = hired(&world, &admin, "manager", json!(1)).await;
        let (elsewhere, elsewhere_id) = hired(&world, &admin, "viewer", json!(second)).await;
        let (local_admin, local_admin_id) = hired(&world, &admin, "admin", json!(1)).await;

        for (role, store) in [("admin", json!(1)), ("viewer", json!(second)), ("viewer", Value::Null)] {
            let refused = manager.post_json("/admin/staff", &body(&world, role, store.clone())).await;
            assert_eq!(refused.refusal(), beyond(), "{role} of {store}");
        }
        let everywhere = local_admin.post_json("/admin/staff", &body(&world, "viewer", Value::Null)).await;
        assert_eq!(everywhere.refusal(), beyond());

        let (_, operator) = hired(&world, &manager, "operator", json!(1)).await;
        let path = format!("/admin/staff/{operator}");
        assert_eq!(patch(&manager, &path, json!({ "role": "admin" })).await.refusal(), beyond());
        assert_eq!(patch(&manager, &path, json!({ "store_id": null })).await.refusal(), beyond());
        assert_eq!(patch(&manager, &path, json!({ "role": "manager" })).await.ok()["role"], "manager");

        let above = format!("/admin/staff/{local_admin_id}");
        assert_eq!(patch(&manager, &above, json!({ "is_active": false })).await.refusal(), beyond());
        assert_eq!(manager.delete(&above).await.refusal(), beyond());
        let other_store = format!("/admin/staff/{elsewhere_id}");
        assert_eq!(patch(&manager, &other_store, json!({ "full_name": "X" })).await.refusal(), absent());
        assert_eq!(manager.delete(&other_store).await.refusal(), absent());

        let seen = manager.get("/admin/staff").await.ok();
        assert!(seen.as_array().unwrap().iter().all(|one| one["store_id"] == 1), "{seen}");
        assert_eq!(elsewhere.get("/admin/staff").await.refusal(), beyond());
        assert_eq!(world.phone().await.get("/admin/staff").await.refusal(), beyond());
        assert_eq!(Answer::of(world.http.get(world.url("/admin/staff"))).await.refusal().0, 401);
    }

    async fn a_demotion_is_felt_at_the_next_request_and_by_open_streams(world: World) {
        let admin = world.admin().await;
        let cart = world.cart("7").await;
        let (manager, id) = hired(&world, &admin, "manager", json!(1)).await;
        manager.get("/admin/staff").await.ok();
        let mut stream: Screen = manager.stream(&format!("/sse/{}", cart.id)).await;

        let path = format!("/admin/staff/{id}");
        patch(&admin, &path, json!({ "role": "viewer" })).await.ok();
        assert_eq!(manager.get("/admin/staff").await.refusal(), beyond());
        manager.get("/auth/me").await.ok();
        stream.rest().await;

        patch(&admin, &path, json!({ "is_active": false })).await.ok();
        assert_eq!(manager.get("/auth/me").await.refusal(), (401, "invalid-credential".into()));
        patch(&admin, &path, json!({ "is_active": true })).await.ok();
        assert_eq!(manager.get("/auth/me").await.refusal().0, 401, "being let back in does not revive a sign-in");
    }

    async fn a_new_password_signs_out_whoever_had_the_old_one(world: World) {
        let admin = world.admin().await;
        let made = admin.post_json("/admin/staff", &body(&world, "viewer", json!(1))).await.ok();
        let email = made["email"].as_str().unwrap();
        let viewer = Staff::sign_in(&world, email, PASSWORD).await;
        patch(&admin, &format!("/admin/staff/{}", made["id"]), json!({ "password": "another long passphrase" })).await.ok();
        assert_eq!(viewer.get("/auth/me").await.refusal().0, 401);
        Staff::sign_in(&world, email, "another long passphrase").await;
    }

    async fn the_last_admin_stays(world: World) {
        let admin = world.admin().await;
        let id = admin.get("/auth/me").await.ok()["id"].as_i64().unwrap();
        let path = format!("/admin/staff/{id}");
        let last = (409, "last-admin".to_owned());
        assert_eq!(admin.delete(&path).await.refusal(), last);
        assert_eq!(patch(&admin, &path, json!({ "role": "manager" })).await.refusal(), last);
        assert_eq!(patch(&admin, &path, json!({ "store_id": 1 })).await.refusal(), last);
        assert_eq!(patch(&admin, &path, json!({ "is_active": false })).await.refusal(), last);
        hired(&world, &admin, "admin", Value::Null).await;
        assert_eq!(admin.delete(&path).await.status, 204);
        assert_eq!(admin.get("/auth/me").await.refusal().0, 401);
    }

    async fn two_admins_who_dismiss_each_other_leave_one(world: World) {
        let mut one = world.admin().await;
        let mut one_id = one.get("/auth/me").await.ok()["id"].as_i64().unwrap();
        for _round in 0..5 {
            let (two, two_id) = hired(&world, &one, "admin", Value::Null).await;
            let (paths, gone) = ([format!("/admin/staff/{two_id}"), format!("/admin/staff/{one_id}")], StatusCode::NO_CONTENT);
            let (first, second) = futures_util::future::join(one.delete(&paths[0]), two.delete(&paths[1])).await;
            assert!((first.status == gone) != (second.status == gone), "{} {}", first.status, second.status);
            if second.status == gone {
                (one, one_id) = (two, two_id);
            }
            one.get("/admin/staff").await.ok();
        }
    }

    async fn wrong_fields_of_staff_are_told_and_nothing_is_changed(world: World) {
        let admin = world.admin().await;
        let wrong = admin.post_json("/admin/staff", &json!({ "email": "x", "password": "y", "full_name": "", "role": "king" })).await;
        assert_eq!(wrong.refusal(), (422, "invalid-fields".into()));
        assert_eq!(wrong.json()["errors"].as_array().unwrap().len(), 4);
        let nowhere = admin.post_json("/admin/staff", &body(&world, "viewer", json!(99))).await;
        assert_eq!(nowhere.refusal(), (422, "invalid-fields".into()));
        let (_, id) = hired(&world, &admin, "viewer", json!(1)).await;
        let path = format!("/admin/staff/{id}");
        assert_eq!(patch(&admin, &path, json!({ "role": "king" })).await.refusal().0, 422);
        assert_eq!(patch(&admin, &path, json!({ "store_id": 99 })).await.refusal().0, 422);
        assert_eq!(patch(&admin, &path, json!({ "email": "x@y.example" })).await.refusal().0, 422);
        assert_eq!(patch(&admin, "/admin/staff/99", json!({})).await.refusal(), absent());
        assert_eq!(patch(&admin, "/admin/staff/king", json!({})).await.refusal(), absent());
        let customer = world.phone().await;
        assert_eq!(admin.delete(&format!("/admin/staff/{}", customer.id)).await.refusal(), absent(), "a customer is no staff");
    }

    async fn a_store_decides_its_own_settings(world: World) {
        let admin = world.admin().await;
        let second = second_store(&admin).await;
        let (manager, _) = hired(&world, &admin, "manager", json!(second)).await;
        let path = format!("/admin/stores/{second}");
        let settings = json!({ "idle_warning": 60, "idle_expiry": 120, "pickup": null, "checkout_mode": "external" });
        let changed = patch(&manager, &path, json!({ "settings": settings })).await.ok();
        assert_eq!((changed["name"].as_str(), &changed["settings"]), (Some("Second"), &settings));

        for wrong in [json!({ "idle_warning": 120, "idle_expiry": 60 }), json!({ "pickup": 1 }), json!({ "pick_up": 30 }), json!({ "pickup": "x" })] {
            assert_eq!(patch(&manager, &path, json!({ "settings": wrong })).await.refusal(), (422, "invalid-fields".into()));
        }
        let seen = manager.get("/admin/stores").await.ok();
        assert_eq!(seen.as_array().unwrap().len(), 1);
        assert_eq!(seen[0]["settings"], settings);
        assert_eq!(patch(&manager, "/admin/stores/1", json!({ "name": "Mine" })).await.refusal(), absent());
        assert_eq!(manager.post_json("/admin/stores", &json!({ "name": "Third" })).await.refusal(), beyond());
        let (local_admin, _) = hired(&world, &admin, "admin", json!(second)).await;
        assert_eq!(local_admin.post_json("/admin/stores", &json!({ "name": "Third" })).await.refusal(), beyond());
        assert_eq!(admin.get("/admin/stores").await.ok().as_array().unwrap().len(), 2);
        assert_eq!(patch(&admin, "/admin/stores/99", json!({ "name": "X" })).await.refusal(), absent());
    }

    async fn a_service_gets_a_token_by_basic_form_or_json(world: World) {
        let admin = world.admin().await;
        let made = admin.post_json("/admin/services", &json!({ "name": "Till", "scopes": ["checkout", "sessions:read"], "store_id": 1 })).await;
        assert_eq!((made.status.as_u16(), made.headers["cache-control"].to_str().unwrap()), (201, "no-store"));
        let made = made.json();
        assert_eq!(made["scopes"], json!(["sessions:read", "checkout"]));
        let (id, secret) = (made["client_id"].as_str().unwrap(), made["client_secret"].as_str().unwrap());
        let grant = [("grant_type", "client_credentials")];

        for path in ["/oauth2/token", "/api/oauth2/token"] {
            let url = world.url(path);
            let basic = Answer::of(world.http.post(&url).basic_auth(id, Some(secret)).form(&grant)).await;
            let json = json!({ "grant_type": "client_credentials", "client_id": id, "client_secret": secret });
            let json = Answer::of(world.http.post(&url).json(&json)).await;
            for answer in [basic, json, token(&world, &made["client_id"], &made["client_secret"]).await] {
                assert_eq!(answer.headers["cache-control"], "no-store");
                let body = answer.ok();
                assert_eq!((body["token_type"].as_str(), body["expires_in"].as_u64()), (Some("Bearer"), Some(3600)));
                let bearer = body["access_token"].as_str().unwrap();
                let read = Answer::of(world.http.get(world.url("/customer-session/99")).bearer_auth(bearer)).await;
                assert_eq!(read.refusal(), absent(), "it is let in, and there is no such session");
            }
        }
        let less = json!({ "grant_type": "client_credentials", "client_id": id, "client_secret": secret, "scope": "checkout" });
        Answer::of(world.http.post(world.url("/oauth2/token")).json(&less)).await.ok();
    }

    async fn a_service_that_is_not_let_in_is_told_why_in_oauths_words(world: World) {
        let admin = world.admin().await;
        let made = admin.post_json("/admin/services", &json!({ "name": "Till", "scopes": ["checkout"] })).await.ok();
        let wrong = token(&world, &made["client_id"], &json!("cs_wrong")).await;
        assert_eq!(wrong.refusal(), (401, "invalid_client".into()));
        assert_eq!(wrong.json()["error"], "invalid_client");
        let challenges: Vec<&str> = wrong.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(challenges, ["Bearer", "Basic realm=\"cartlink\""]);
        assert_eq!(token(&world, &json!("svc_none"), &json!("x")).await.refusal().1, "invalid_client");

        let with = |grant: &str, scope: Option<&str>| {
            let body = json!({ "grant_type": grant, "client_id": made["client_id"], "client_secret": made["client_secret"], "scope": scope });
            Answer::of(world.http.post(world.url("/oauth2/token")).json(&body))
        };
        assert_eq!(with("password", None).await.refusal(), (400, "unsupported_grant_type".into()));
        assert_eq!(with("client_credentials", Some("emit")).await.refusal(), (400, "invalid_scope".into()));
        assert_eq!(with("client_credentials", Some("fly")).await.refusal(), (400, "invalid_scope".into()));
        let nothing = Answer::of(world.http.post(world.url("/oauth2/token")).form(&[("x", "y")])).await;
        assert_eq!(nothing.refusal(), (400, "invalid_request".into()));
    }

    async fn a_rotated_secret_and_a_removed_service_let_nobody_in(world: World) {
        let admin = world.admin().await;
        let made = admin.post_json("/admin/services", &json!({ "name": "Till", "scopes": ["sessions:read"] })).await.ok();
        let id = made["client_id"].as_str().unwrap();
        let bearer = token(&world, &made["client_id"], &made["client_secret"]).await.ok()["access_token"].as_str().unwrap().to_owned();
        let rotated = admin.post(&format!("/admin/services/{id}/rotate")).await.ok();
        assert_eq!(token(&world, &made["client_id"], &made["client_secret"]).await.refusal().0, 401);
        token(&world, &rotated["client_id"], &rotated["client_secret"]).await.ok();
        let listed = admin.get("/admin/services").await.ok();
        assert_eq!(listed[0]["client_id"], id);
        assert!(listed[0].get("client_secret").is_none(), "a secret is shown once");

        assert_eq!(admin.delete(&format!("/admin/services/{id}")).await.status, 204);
        assert_eq!(token(&world, &rotated["client_id"], &rotated["client_secret"]).await.refusal().0, 401);
        let read = Answer::of(world.http.get(world.url("/customer-session/1")).bearer_auth(&bearer)).await;
        assert_eq!(read.refusal(), (401, "invalid-credential".into()));
        assert_eq!(admin.delete(&format!("/admin/services/{id}")).await.refusal(), absent());
    }

    async fn nobody_gives_a_service_a_scope_or_a_store_beyond_their_own(world: World) {
        let admin = world.admin().await;
        let second = second_store(&admin).await;
        let (local, _) = hired(&world, &admin, "admin", json!(second)).await;
        let (manager, _) = hired(&world, &admin, "manager", Value::Null).await;
        let service = |scope: &str, store: Value| json!({ "name": "Till", "scopes": [scope], "store_id": store });
        assert_eq!(local.post_json("/admin/services", &service("emit", Value::Null)).await.refusal(), beyond());
        assert_eq!(local.post_json("/admin/services", &service("emit", json!(1))).await.refusal(), beyond());
        assert_eq!(local.post_json("/admin/services", &service("tokens", json!(second))).await.refusal(), beyond());
        assert_eq!(manager.post_json("/admin/services", &service("emit", json!(1))).await.refusal(), beyond());
        assert_eq!(admin.post_json("/admin/services", &service("fly", json!(1))).await.refusal().0, 422);
        let foreign = admin.post_json("/admin/services", &service("tokens", Value::Null)).await.ok();
        let path = format!("/admin/services/{}", foreign["client_id"].as_str().unwrap());
        assert_eq!(local.delete(&path).await.refusal(), absent());
        assert_eq!(local.post(&format!("{path}/rotate")).await.refusal(), absent());
        assert_eq!(local.get("/admin/services").await.ok(), json!([]));
        local.post_json("/admin/services", &service("emit", json!(second))).await.ok();
    }

    async fn a_tampered_row_of_the_audit_log_is_found(world: World) {
        let admin = world.admin().await;
        for role in ["viewer", "operator", "manager"] {
            hired(&world, &admin, role, json!(1)).await;
        }
        let verify = async || audit::verify(world.app.db.read()).await.unwrap();
        let Verdict::Whole(rows) = verify().await else { panic!("nobody has tampered yet") };
        assert_eq!(rows, 4, "the first admin and three more");
        let tamper = async |sql: &str| write(&world, sql.into()).await;
        tamper("UPDATE audit SET detail = 'viewer of all stores' WHERE seq = 2").await;
        assert_eq!(verify().await, Verdict::Broken(2));
        tamper("UPDATE audit SET detail = 'viewer of store/1' WHERE seq = 2").await;
        assert_eq!(verify().await, Verdict::Whole(4));
        tamper("DELETE FROM audit WHERE seq = 3").await;
        assert_eq!(verify().await, Verdict::Broken(3));
    }

    async fn many_at_once_write_one_unbroken_audit_log_and_retention_keeps_it_whole(world: World) {
        let admin = world.admin().await;
        let stores = (0..100).map(|n| {
            let body = json!({ "name": format!("Store {n}") });
            let admin = &admin;
            async move { admin.post_json("/admin/stores", &body).await.ok() }
        });
        futures_util::future::join_all(stores).await;
        assert_eq!(audit::verify(world.app.db.read()).await.unwrap(), Verdict::Whole(101));

        world.advance(10);
        let now = world.now();
        admin.post_json("/admin/stores", &json!({ "name": "Late" })).await.ok();
        let app = std::sync::Arc::clone(&world.app);
        let work = async move |txn: &cartlink::db::Txn<'_>| audit::forget_before(txn, now).await;
        tokio::task::LocalSet::new().run_until(async move { app.db.write(work).await }).await.unwrap();
        assert_eq!(audit::verify(world.app.db.read()).await.unwrap(), Verdict::Whole(1));
        admin.post_json("/admin/stores", &json!({ "name": "Later" })).await.ok();
        assert_eq!(audit::verify(world.app.db.read()).await.unwrap(), Verdict::Whole(2));
    }

    async fn the_audit_log_is_read_in_pages_and_as_csv_by_those_it_concerns(world: World) {
        let admin = world.admin().await;
        let second = second_store(&admin).await;
        let (local, local_id) = hired(&world, &admin, "manager", json!(second)).await;
        let (viewer, _) = hired(&world, &admin, "viewer", json!(1)).await;
        world.cart("7").await;

        let first = admin.get("/admin/audit?limit=2").await;
        assert!(first.headers["link"].to_str().unwrap().ends_with("rel=\"next\""));
        let first = first.ok();
        assert_eq!((first["items"].as_array().unwrap().len(), &first["has_more"]), (2, &json!(true)));
        let next = admin.get(&format!("/admin/audit?limit=2&cursor={}", first["cursor"].as_str().unwrap())).await.ok();
        assert_eq!(next["items"][0]["seq"].as_i64().unwrap() + 1, first["items"][1]["seq"].as_i64().unwrap());
        let carts = admin.get("/admin/audit?target=cart/7").await.ok();
        let actions: Vec<&str> = carts["items"].as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
        assert!(actions.contains(&"cart.created"), "{actions:?}");

        let own = local.get("/admin/audit").await.ok();
        assert!(own["items"].as_array().unwrap().iter().all(|row| row["store_id"] == second), "{own}");
        assert_eq!(own["items"][0]["target"], format!("account/{local_id}"));
        assert_eq!(viewer.get("/admin/audit").await.refusal(), beyond());
        assert_eq!(admin.get("/admin/audit?limit=0").await.refusal().0, 422);

        let request = world.http.get(world.url("/admin/audit")).bearer_auth(&admin.token).header("accept", "text/csv");
        let csv = Answer::of(request).await;
        assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
        assert!(csv.text.starts_with("seq,at,actor,action,target,store_id,detail\r\n"));
        assert!(!csv.text.contains('@'), "the log names ids, never people");
    }
}
