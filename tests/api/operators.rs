//! What somebody at the machine does beside a running server: makes an admin, and has the audit log checked.

use std::process::Output;

use serde_json::json;

use crate::helpers::{Staff, World, both, write};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const EMAIL: &str = "jo@store.example";
const PASSWORD: &str = "what nobody guesses 7";

async fn create(world: &World, email: &str, password: &str) -> Output {
    world.command(&["admin", "create", "--email", email], &format!("{password}\n")).await
}

both! {
    async fn an_admin_made_at_the_machine_signs_in_and_no_address_is_taken_twice(world: World) {
        let made = create(&world, EMAIL, PASSWORD).await;
        assert!(made.status.success() && said(&made).contains(EMAIL), "{}", said(&made));
        assert!(!said(&made).contains(PASSWORD));

        let again = create(&world, "Jo@Store.example", "another passphrase 9").await;
        assert!(!again.status.success() && said(&again).contains("e-mail"), "{}", said(&again));
        let weak = create(&world, "mo@store.example", "short").await;
        assert!(!weak.status.success() && said(&weak).contains("assword"), "{}", said(&weak));
        let none = create(&world, "mo@store.example", "").await;
        assert!(!none.status.success(), "{}", said(&none));

        // The first password holds, and it is an admin's of all stores.
        let admin = Staff::sign_in(&world, EMAIL, PASSWORD).await;
        let store = admin.post_json("/admin/stores", &json!({ "name": "North" })).await;
        assert_eq!(store.status, 201, "{}", store.text);
        let staff = admin.get("/admin/staff").await.text;
        assert!(staff.contains(EMAIL) && !staff.contains("mo@store.example"), "{staff}");
    }

    async fn audit_verify_passes_a_whole_log_and_fails_naming_the_first_row_that_is_not(world: World) {
        let admin = world.admin().await;
        for name in ["North", "South", "West"] {
            assert_eq!(admin.post_json("/admin/stores", &json!({ "name": name })).await.status, 201);
        }
        let verify = async || world.command(&["audit", "verify"], "").await;
        let whole = verify().await;
        // The admin every world begins with, and three stores.
        assert!(whole.status.success() && said(&whole).contains("4 rows, each as it was written"), "{}", said(&whole));

        write(&world, "UPDATE audit SET actor = 'account/999' WHERE seq = 3".into()).await;
        let broken = verify().await;
        assert_eq!(broken.status.code(), Some(1), "{}", said(&broken));
        assert!(said(&broken).contains("row 3 is changed, missing or out of place"), "{}", said(&broken));

        write(&world, "DELETE FROM audit WHERE seq = 2".into()).await;
        let broken = verify().await;
        assert_eq!(broken.status.code(), Some(1));
        assert!(said(&broken).contains("tampered"), "{}", said(&broken));
    }
}
