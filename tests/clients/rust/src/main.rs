//! Follows one event stream with the crate `eventsource-client` and prints each event as a line of JSON.

use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, token] = &args[..] else {
        return Err("usage: cartlink-client URL TOKEN".into());
    };
    let retry = ReconnectOptions::reconnect(true)
        .retry_initial(true)
        .delay(Duration::from_millis(500))
        .delay_max(Duration::from_secs(2))
        .build();
    let client = ClientBuilder::for_url(url)?
        .header("Authorization", &format!("Bearer {token}"))?
        .reconnect(retry)
        .build_with_transport(HyperTransport::builder().build_http()?);
    let mut stream = client.stream();
    while let Some(heard) = stream.next().await {
        match heard {
            Ok(SSE::Event(event)) => {
                println!("{}", serde_json::json!({ "id": event.id, "data": event.data }));
                if event.data == "the end" {
                    return Ok(());
                }
            }
            Ok(_) => {}
            Err(why) => eprintln!("eventsource-client reconnects: {why}"),
        }
    }
    Err("the stream ended for good".into())
}
