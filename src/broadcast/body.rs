//! The body every event stream is sent with: an opening, then what its view makes of the events, heartbeats between,
//! and an end of its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::{Version, header};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use rand::RngExt;
use serde_json::json;

use super::Entry;
use super::follow::{Follower, Lost};
use super::frame;
use super::line::{Framing, Relay, Source, Takeover};
use super::pulse::Alarm;
use super::streams::{Ending, Place};
use crate::app::App;
use crate::clock::Timestamp;

/// How long before its credential expires a stream says so.
const WARNING: Duration = Duration::from_secs(30);

/// How soon a log that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a log goes on, and what is to be sent first.
pub type Moved = Option<(Follower, Option<Bytes>)>;

/// What a follower makes of the events it follows.
pub trait View: Unpin + 'static {
    /// The bytes of this event, if it is for this follower.
    fn frame(&mut self, entry: &Entry) -> Option<Bytes>;

    /// Whether nothing follows any more.
    fn is_over(&self) -> bool {
        false
    }

    /// Whether what is no history (`auth`, `error`) may stand in the stream. Not where its readers
    /// know one shape only, and it is not this.
    fn is_ours(&self) -> bool {
        true
    }

    /// The log goes on elsewhere: another follower, and what is to be sent first. `None`: it does not.
    fn poll_moved(&mut self, _: &mut Context<'_>) -> Poll<Result<Moved, Lost>> {
        Poll::Ready(Ok(None))
    }

    /// The server ends the stream: it is not the reader who goes away.
    fn dismissed(&mut self) {}

    /// What the view itself has to say while no event waits: the latest state, whenever it is read, or a code to draw.
    fn poll_state(&mut self, _: &mut Context<'_>) -> Poll<Bytes> {
        Poll::Pending
    }

    /// When it has to be asked for that again, whether anything happens or not.
    fn due_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The body of an event stream.
pub struct EventStream<V> {
    app: Arc<App>,
    place: Place,
    follower: Option<Follower>,
    view: V,
    opening: Option<Bytes>,
    alarm: Alarm,
    next_beat: Instant,
    ends: Ends,
    named: bool,
    over: bool,
}

/// When a stream ends by itself.
struct Ends {
    expires_at: Option<Timestamp>,
    warned: bool,
    max_age: Instant,
}

impl Ends {
    /// Whether its credential has ended by its age.
    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

impl<V: View> EventStream<V> {
    /// A stream that first sends `opening` and then what `follower` brings, through `view`.
    pub fn new(
        app: Arc<App>,
        place: Place,
        follower: Option<Follower>,
        view: V,
        opening: String,
        expires_at: Option<Timestamp>,
    ) -> Self {
        let over = view.is_over();
        let max_age = app.config.stream_max_age.0.mul_f64(rand::rng().random_range(0.8..1.0));
        Self {
            place,
            follower,
            view,
            opening: Some(opening.into()),
            alarm: Alarm::default(),
            next_beat: next_beat(&app),
            ends: Ends { expires_at, warned: false, max_age: Instant::now() + max_age },
            named: false,
            over,
            app,
        }
    }

    /// Whether frames carry their kind in `event:` too.
    pub fn named(mut self, named: bool) -> Self {
        self.named = named;
        self
    }

    /// The answer to `request` that this is the body of. It takes the connection over.
    pub fn respond(self, request: &HttpRequest) -> HttpResponse {
        let framing = if request.version() == Version::HTTP_11 { Framing::Chunked } else { Framing::UntilClose };
        let takeover = request.conn_data::<Takeover>().cloned();
        let mut answer = HttpResponse::Ok()
            // After it there is nobody who could read another request.
            .force_close()
            .insert_header((header::CONTENT_TYPE, "text/event-stream"))
            .insert_header((header::CACHE_CONTROL, "no-store, no-transform"))
            .insert_header(("X-Accel-Buffering", "no"))
            // Says to our own compression, too, that these bytes are to go out as they are.
            .insert_header((header::CONTENT_ENCODING, "identity"))
            .body(Body { stream: Some(self), takeover, framing });
        answer.head_mut().no_chunking(framing == Framing::UntilClose);
        answer
    }

    /// What the stream's end, by whatever cause, makes it say; `None` while it goes on.
    fn farewell(&mut self, cx: &mut Context<'_>) -> Option<Option<Bytes>> {
        let farewell = self.ending(cx)?;
        self.view.dismissed();
        Some(farewell)
    }

    fn ending(&mut self, cx: &mut Context<'_>) -> Option<Option<Bytes>> {
        match self.place.handle().ending(cx.waker()) {
            Some(Ending::Revoked) if !self.view.is_ours() => return Some(None),
            Some(Ending::Revoked) => {
                let gone = json!({ "type": "error", "event_type": "error", "code": "revoked", "message": "The credential of this stream has ended" });
                return Some(Some(frame::frame(None, None, &gone.to_string()).into()));
            }
            // The return of all at once is what a drain must not cause.
            Some(ending @ (Ending::Draining | Ending::CutOff)) => {
                let why =
                    if ending == Ending::Draining { "the server is restarting" } else { "the log is out of reach" };
                let retry = frame::retry(Duration::from_secs(1), Duration::from_secs(8));
                return Some(Some(format!("{retry}: {why}\n\n").into()));
            }
            None => {}
        }
        let now = self.app.clock.now();
        if self.ends.is_expired(now) || Instant::now() >= self.ends.max_age {
            return Some(None);
        }
        None
    }

    /// `{"type":"auth","expires_in":30}`, once, shortly before the credential expires.
    fn warning(&mut self) -> Option<Bytes> {
        let left = self.ends.expires_at?.since(self.app.clock.now());
        if self.ends.warned || left > WARNING || !self.view.is_ours() {
            return None;
        }
        self.ends.warned = true;
        let warning = json!({ "type": "auth", "event_type": "auth", "expires_in": left.as_secs() });
        Some(frame::frame(None, None, &warning.to_string()).into())
    }

    fn events(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Lost>> {
        loop {
            if let Some((follower, first)) = ready!(self.view.poll_moved(cx))? {
                self.follower = Some(follower);
                self.over = self.view.is_over();
                if let Some(first) = first {
                    return Poll::Ready(Ok(first));
                }
            }
            let Some(follower) = &mut self.follower else {
                return self.view.poll_state(cx).map(Ok);
            };
            let Poll::Ready(events) = follower.poll_events(cx) else {
                return self.view.poll_state(cx).map(Ok);
            };
            let mut frames = Vec::new();
            for entry in events.as_deref().map_err(|_| Lost)? {
                let Some(bytes) = self.view.frame(entry) else { continue };
                frames.push(if self.named { frame::named(entry.event.kind.as_str(), &bytes) } else { bytes });
                if self.view.is_over() {
                    self.over = true;
                    break;
                }
            }
            match frames.len() {
                0 if self.over => return Poll::Ready(Err(Lost)),
                0 => {}
                // The usual case: the bytes all followers share, uncopied.
                1 => return Poll::Ready(Ok(frames.swap_remove(0))),
                _ => {
                    return Poll::Ready(Ok(frames
                        .iter()
                        .fold(BytesMut::new(), |mut all, bytes| {
                            all.extend_from_slice(bytes);
                            all
                        })
                        .freeze()));
                }
            }
        }
    }
}

fn next_beat(app: &App) -> Instant {
    Instant::now() + app.config.heartbeat.0.mul_f64(rand::rng().random_range(0.8..1.0))
}

impl<V: View> Source for EventStream<V> {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(opening));
        }
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(farewell) = self.farewell(cx) {
            self.over = true;
            return Poll::Ready(farewell);
        }
        match self.events(cx) {
            Poll::Ready(Ok(bytes)) => {
                self.next_beat = next_beat(&self.app);
                return Poll::Ready(Some(bytes));
            }
            Poll::Ready(Err(Lost)) => {
                self.over = true;
                self.view.dismissed();
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        if let Some(warning) = self.warning() {
            return Poll::Ready(Some(warning));
        }
        if Instant::now() >= self.next_beat {
            self.next_beat = next_beat(&self.app);
            return Poll::Ready(Some(Bytes::from_static(frame::HEARTBEAT)));
        }
        let mut wake_at = self.next_beat.min(self.ends.max_age);
        if self.follower.as_ref().is_some_and(Follower::is_failing) {
            wake_at = wake_at.min(Instant::now() + AGAIN);
        }
        if let Some(at) = self.ends.expires_at {
            let warned = if self.ends.warned || !self.view.is_ours() { Duration::ZERO } else { WARNING };
            wake_at = wake_at.min(Instant::now() + at.since(self.app.clock.now()).saturating_sub(warned));
        }
        if let Some(at) = self.view.due_at() {
            wake_at = wake_at.min(Instant::now() + at.since(self.app.clock.now()));
        }
        self.alarm.set(wake_at, cx.waker());
        Poll::Pending
    }

    /// A reader that stopped must not outlive its credential.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.app.clock.now();
        if self.place.handle().ending(cx.waker()) == Some(Ending::Revoked) || self.ends.is_expired(now) {
            self.view.dismissed();
            return Poll::Ready(());
        }
        if let Some(at) = self.ends.expires_at {
            self.alarm.set(Instant::now() + at.since(now), cx.waker());
        }
        Poll::Pending
    }
}

/// A stream as the framework sends it: its opening. All of it only where no [`Line`](super::line::Line) is below.
struct Body<V> {
    stream: Option<EventStream<V>>,
    takeover: Option<Takeover>,
    framing: Framing,
}

impl<V: View> MessageBody for Body<V> {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        if let Some(stream) = this.stream.take_if(|stream| stream.opening.is_none() && this.takeover.is_some())
            && let Some(takeover) = this.takeover.take()
        {
            let framing = this.framing;
            takeover.give_to(move |socket| drop(tokio::task::spawn_local(Relay::new(socket, framing, stream))));
        }
        match &mut this.stream {
            Some(stream) => stream.poll_bytes(cx).map(|bytes| bytes.map(Ok)),
            None => Poll::Pending,
        }
    }
}
