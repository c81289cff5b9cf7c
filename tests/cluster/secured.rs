//! PostgreSQL over TLS, by the database's URL alone.

use std::path::Path;

use crate::helpers::{Cart, Postgres, World, certificates};

fn node(postgres: &Postgres, host: &str, mode: &str, authority: &Path) -> World {
    let url = postgres.url_at(&format!("{host}:{}", postgres.port));
    World::prepare(&[format!("--database-url={url}?sslmode={mode}&sslrootcert={}", authority.display())])
}

#[tokio::test]
async fn a_database_is_reached_over_tls_and_one_that_another_authority_vouches_for_is_not() {
    let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(folder.path());
    certificates(others.path());
    let (right, wrong) = (folder.path().join("ca.pem"), others.path().join("ca.pem"));
    let postgres = Postgres::over_tls(&folder.path().join("server.pem"), &folder.path().join("server.key")).await;

    let mut good = node(&postgres, "127.0.0.1", "verify-full", &right);
    good.spawn();
    good.ready().await;
    good.create_admin();
    let cart = Cart::enrolled(&good, &good.admin().await, "7").await;
    good.phone().await.scan(&cart.qr().await).await.ok();
    let rows = postgres.rows().await;
    let connections = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE application_name = 'cartlink' AND ssl";
    assert!(rows.number(connections).await > 0);

    for (host, mode, authority, why) in [
        // The name is another's than the certificate's.
        ("localhost", "verify-full", &right, "not valid for name"),
        ("127.0.0.1", "verify-full", &wrong, "invalid peer certificate"),
        ("127.0.0.1", "verify-ca", &wrong, "invalid peer certificate"),
        ("127.0.0.1", "disable", &right, "no pg_hba.conf entry"),
    ] {
        let mut refused = node(&postgres, host, mode, authority);
        refused.spawn();
        let said = refused.ended().await;
        assert!(said.contains("cannot open the database (--database-url)") && said.contains(why), "{mode}: {said}");
        assert!(!said.contains("waiting for the database"), "what cannot pass is not waited for: {said}");
    }

    let mut unnamed = node(&postgres, "localhost", "verify-ca", &right);
    unnamed.spawn();
    unnamed.ready().await;
}
