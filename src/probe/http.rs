//! One exchange over HTTP/1.1, on a connection of its own.

use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::Doubt;
use super::target::Address;
use super::trust::{Check, Trust};
use super::wire::{self, Stream};
use crate::network::Break;

/// The largest answer that is read, in bytes: an error and its code.
const ANSWER_LIMIT: usize = 64 << 10;

/// The largest head of an answer, in bytes.
const HEAD_LIMIT: usize = 32 << 10;

/// What is asked.
pub(super) struct Said {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What is answered. Of the other side's words only what is recognised goes on.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// A header's value that is not shown; none for what no header can carry. The text should
/// have its final capacity.
pub(super) fn sensitive(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Ends the connection with whoever asked.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks once. A redirection is an answer like any other.
pub(super) async fn exchange(address: &Address, trust: &Trust, said: Said) -> Result<Answer, Doubt> {
    let place = &address.place;
    let tcp = wire::connect(place).await?;
    let stream: Box<dyn Stream> = if address.is_plain {
        Box::new(tcp.stream)
    } else {
        wire::secure(place, trust.config(Check::Full).await?, tcp.stream).await?
    };
    let mut request = Request::builder()
        .method(said.method)
        .uri(&address.target)
        .body(Full::new(Bytes::from(said.body)))
        .map_err(|_| Doubt::new(format!("{place}: the address cannot be asked"), "correct the URL"))?;
    let authority = HeaderValue::from_str(&address.authority)
        .map_err(|_| Doubt::new(format!("{place}: the address cannot be asked"), "correct the URL"))?;
    let headers = request.headers_mut();
    *headers = said.headers;
    headers.insert(HOST, authority);
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("dlconf/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    wire::step(place, async {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_LIMIT);
        let made = builder.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = made.map_err(|error| Break::of(&error))?;
        let _task = Task(tokio::spawn(async move {
            // What goes wrong is told to whoever waits for the answer.
            let _told = connection.await;
        }));
        let answer = sender.send_request(request).await.map_err(|error| Break::of(&error))?;
        let status = answer.status().as_u16();
        Ok(Answer { status, body: beginning(answer.into_body()).await? })
    })
    .await
}

/// As much of an answer as is of use.
async fn beginning(mut body: Incoming) -> Result<Vec<u8>, Break> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Break::of(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = ANSWER_LIMIT - read.len();
        read.extend_from_slice(data.get(..room).unwrap_or(&data));
        if read.len() == ANSWER_LIMIT {
            break;
        }
    }
    Ok(read)
}

/// A secret that is wrong beyond doubt: 40 random letters and digits.
pub(super) fn wrong_secret() -> Result<String, Doubt> {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0_u8; 40];
    getrandom::fill(&mut random)
        .map_err(|_| Doubt::new("the system gives no random numbers", "see what it says of its kernel"))?;
    Ok(random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}
