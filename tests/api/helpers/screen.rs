//! An open event stream, read frame by frame. It waits for events, never for a while: the time-out is for
//! tests that would otherwise hang.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// One dispatched event.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: String,
}

impl Frame {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("no JSON: {}", self.data))
    }

    pub fn kind(&self) -> String {
        self.json()["event_type"].as_str().unwrap_or_default().to_owned()
    }
}

/// A stream being read.
pub struct Screen {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    buffer: String,
    pub headers: reqwest::header::HeaderMap,
    /// All bytes so far.
    pub raw: String,
    /// The id of the last frame that bore one.
    pub last_id: Option<String>,
    /// The first frame, where there was one.
    pub greeting: Option<Frame>,
}

impl Screen {
    pub async fn open(request: reqwest::RequestBuilder) -> Self {
        let request = request.timeout(Duration::from_secs(600));
        let mut answer = request.try_clone().unwrap().send().await.unwrap();
        let mut tries = 0;
        while answer.status() == 503 && tries < 60 {
            let refused = answer.text().await.unwrap();
            assert!(refused.contains("the database does not answer"), "{refused}");
            // A busy machine's database may be taken for silent: whoever is refused is to come again.
            tokio::time::sleep(Duration::from_secs(1)).await;
            answer = request.try_clone().unwrap().send().await.unwrap();
            tries += 1;
        }
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let headers = answer.headers().clone();
        let bytes = answer.bytes_stream().map(|chunk| chunk.map(|chunk| chunk.to_vec())).boxed();
        let mut screen =
            Self { bytes, buffer: String::new(), headers, raw: String::new(), last_id: None, greeting: None };
        screen.greeting = screen.read().await;
        screen
    }

    /// The next event.
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = Frame> {
        let caller = std::panic::Location::caller();
        async move { self.read().await.unwrap_or_else(|| panic!("{caller}: the stream has ended")) }
    }

    /// The next event of this kind; others before it are an error.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame.kind(), kind, "{}", frame.data);
        frame.json()
    }

    /// Reads until the server ends the stream; what came before that.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.read().await {
            frames.push(frame);
        }
        frames
    }

    /// The next event, or `None` where the stream has ended.
    pub async fn read(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, self.read_on()).await.expect("an event within 60 s")
    }

    /// As [`read`](Self::read), however long it takes.
    pub async fn read_on(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                if let Some(frame) = self.parse(&block) {
                    return Some(frame);
                }
                continue;
            }
            if !self.read_bytes().await {
                return None;
            }
        }
    }

    /// Whatever comes next, be it a heartbeat; `false` where the stream has ended.
    pub async fn read_bytes(&mut self) -> bool {
        let Some(Ok(chunk)) = self.bytes.next().await else { return false };
        let chunk = String::from_utf8(chunk).unwrap();
        self.raw.push_str(&chunk);
        self.buffer.push_str(&chunk);
        true
    }

    fn parse(&mut self, block: &str) -> Option<Frame> {
        let fields = |name: &str| -> Vec<&str> {
            block
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.strip_prefix(' ').unwrap_or(value))
                .collect()
        };
        let data = fields("data");
        let id = fields("id").last().map(|id| (*id).to_owned());
        if id.is_some() {
            self.last_id.clone_from(&id);
        }
        (!data.is_empty()).then(|| Frame {
            id,
            event: fields("event").last().map(|name| (*name).to_owned()),
            data: data.join("\n"),
        })
    }
}
