//! `GET /.well-known/apple-app-site-association` and `GET /.well-known/assetlinks.json`: which apps of the
//! store's own may open the links the pictures carry. Without any, phones open them in the browser.

use std::str::FromStr;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Data;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{Failure, Result};

/// An app for iOS: the team's id and the bundle's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IosApp(String);

impl FromStr for IosApp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (team, bundle) = text.split_once('.').unwrap_or_default();
        let fits = team.len() == 10 && team.bytes().all(|b| b.is_ascii_alphanumeric()) && is_name(bundle);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err("write an app as ABCDE12345.com.example.shop: team, dot, bundle".into())
        }
    }
}

/// An app for Android: its package, and the fingerprint of the certificate it is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AndroidApp {
    package: String,
    fingerprint: String,
}

impl FromStr for AndroidApp {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (package, fingerprint) = text.split_once('=').unwrap_or_default();
        let bytes: Vec<&str> = fingerprint.split(':').collect();
        let hex = bytes.len() == 32
            && bytes.iter().all(|byte| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit()));
        if !is_name(package) || !hex {
            return Err(
                "write an app as com.example.shop=14:6D:E9:…: package, and the SHA-256 of its certificate".into()
            );
        }
        Ok(Self { package: package.to_owned(), fingerprint: fingerprint.to_ascii_uppercase() })
    }
}

fn is_name(text: &str) -> bool {
    text.contains('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// `GET /.well-known/apple-app-site-association`: only `/s`, the path of the pictures' links.
pub async fn apple(app: Data<App>) -> Result<HttpResponse> {
    answer(&app.config.ios_apps, of_ios)
}

/// `GET /.well-known/assetlinks.json`.
pub async fn android(app: Data<App>) -> Result<HttpResponse> {
    answer(&app.config.android_apps, of_android)
}

fn answer<A>(apps: &[A], said: fn(&[A]) -> Value) -> Result<HttpResponse> {
    if apps.is_empty() {
        return Err(Failure::NoRoute);
    }
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "max-age=3600")).json(said(apps)))
}

fn of_ios(apps: &[IosApp]) -> Value {
    let ids: Vec<&str> = apps.iter().map(|app| app.0.as_str()).collect();
    json!({ "applinks": { "details": [{ "appIDs": ids, "components": [{ "/": "/s" }] }] } })
}

fn of_android(apps: &[AndroidApp]) -> Value {
    let target = |app: &AndroidApp| json!({ "namespace": "android_app", "package_name": app.package, "sha256_cert_fingerprints": [app.fingerprint] });
    apps.iter()
        .map(|app| json!({ "relation": ["delegate_permission/common.handle_all_urls"], "target": target(app) }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_written_as_phones_look_for_them() {
        let ios: IosApp = "ABCDE12345.com.example.shop".parse().unwrap();
        assert_eq!(of_ios(&[ios])["applinks"]["details"][0]["appIDs"][0], "ABCDE12345.com.example.shop");
        let print = ["0a"; 32].join(":");
        let android: AndroidApp = format!("com.example.shop={print}").parse().unwrap();
        let target = &of_android(&[android])[0]["target"];
        assert_eq!(target["package_name"], "com.example.shop");
        assert_eq!(target["sha256_cert_fingerprints"][0], print.to_uppercase());
    }

    #[test]
    fn what_is_no_app_is_refused() {
        for text in ["", "com.example.shop", "ABCDE12345", "ABCDE12345.shop\"", "TOOSHORT.com.example"] {
            assert!(text.parse::<IosApp>().is_err(), "{text}");
        }
        for text in ["", "com.example.shop", "com.example.shop=0A:0B", "=0A"] {
            assert!(text.parse::<AndroidApp>().is_err(), "{text}");
        }
    }
}
