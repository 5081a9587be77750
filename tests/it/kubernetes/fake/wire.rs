//! HTTP/1 by hand, as a Go server writes it: so that a test can break it anywhere.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use super::Shared;
use super::answer::{Answer, Reply, Watch};
use super::ask::Asked;
use super::events::Events;
use super::shared::Control;

/// What is done to an answer on its way.
pub(super) enum Spoilt {
    No,
    CutAfter(usize),
    Mute,
    Endless { slow: bool },
    Text(Vec<u8>),
}

/// How a connection goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Request,
    ClosedByClient,
    Close,
    /// Without a word to the client, as far as that is possible.
    Drop,
}

/// Talks until either side ends the connection; whether the client did.
pub(super) async fn converse(io: impl AsyncRead + AsyncWrite, shared: &Arc<Shared>, number: u64) -> bool {
    let control = shared.control.subscribe();
    let (mut reader, mut writer) = tokio::io::split(io);
    let next = tokio::select! {
        next = talk(&mut reader, &mut writer, shared, number) => next,
        () = until(control.clone(), |control| control.closed_up_to >= number) => Next::Drop,
        () = until(control.clone(), |control| control.muted_up_to >= number) => {
            // What is sent is taken, and nothing is said any more: not even that it ends.
            tokio::select! {
                () = drain(&mut reader) => Next::ClosedByClient,
                () = until(control, |control| control.closed_up_to >= number) => Next::Drop,
            }
        }
    };
    if next == Next::Close {
        let _ = writer.shutdown().await;
    }
    next == Next::ClosedByClient
}

/// Waits until the control says so.
pub(super) async fn until(mut control: watch::Receiver<Control>, is: impl FnMut(&Control) -> bool) {
    // Whoever shares the fake with nobody has nothing to wait for.
    if control.wait_for(is).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn drain(reader: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = [0; 4096];
    while matches!(reader.read(&mut bytes).await, Ok(1..)) {}
}

async fn talk(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    shared: &Arc<Shared>,
    number: u64,
) -> Next {
    let mut buffer = Vec::new();
    loop {
        let Some(asked) = read_request(reader, &mut buffer).await else { return Next::ClosedByClient };
        let (reply, spoilt) = shared.reply(&asked, number);
        let last = asked.old || asked.header("connection").eq_ignore_ascii_case("close");
        let next = match reply {
            Reply::Never => {
                drain(reader).await;
                Next::ClosedByClient
            }
            Reply::CloseAfter(time) => {
                tokio::select! {
                    () = tokio::time::sleep(time) => Next::Close,
                    () = drain(reader) => Next::ClosedByClient,
                }
            }
            Reply::Answer(answer) => {
                let mut bytes = head(&answer, Some(answer.body.len()), last);
                bytes.extend_from_slice(&answer.body);
                if matches!(spoilt, Spoilt::CutAfter(_)) {
                    bytes.truncate(bytes.len() - answer.body.len() / 2);
                    let _ = writer.write_all(&bytes).await;
                    let _ = writer.flush().await;
                    return Next::Drop;
                }
                write(writer, &bytes).await
            }
            Reply::Watch(watch) => {
                let old = asked.old;
                let bytes = head(&Answer::json(200, &serde_json::Value::Null), None, old);
                match write(writer, &bytes).await {
                    Next::Request => stream(watch, spoilt, reader, writer, shared, old).await,
                    next => next,
                }
            }
        };
        match next {
            Next::Request if last => return Next::Close,
            Next::Request => {}
            next => return next,
        }
    }
}

async fn stream(
    watch: Watch,
    spoilt: Spoilt,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    shared: &Arc<Shared>,
    old: bool,
) -> Next {
    let mut left = None;
    match spoilt {
        Spoilt::No => {}
        Spoilt::CutAfter(events) => left = Some(events),
        Spoilt::Mute => {
            drain(reader).await;
            return Next::ClosedByClient;
        }
        Spoilt::Endless { slow } => return endless(slow, reader, writer, shared).await,
        Spoilt::Text(text) => {
            return match write(writer, &chunk(&text, old)).await {
                Next::Request => write(writer, &chunk(b"", old)).await,
                next => next,
            };
        }
    }
    let mut events = Events::new(watch, shared);
    // A client that closes is heard at once; more than that it has no reason to send.
    let mut byte = [0];
    loop {
        let line = tokio::select! {
            line = events.next() => line,
            _end = reader.read(&mut byte) => return Next::ClosedByClient,
        };
        let Some(line) = line else {
            return write(writer, &chunk(b"", old)).await;
        };
        let bytes = chunk(&line, old);
        if left == Some(0) {
            let _ = writer.write_all(&bytes[..bytes.len() / 2]).await;
            let _ = writer.flush().await;
            return Next::Drop;
        }
        left = left.map(|left| left - 1);
        match write(writer, &bytes).await {
            Next::Request => {}
            next => return next,
        }
    }
}

async fn endless(
    slow: bool,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    shared: &Arc<Shared>,
) -> Next {
    let _ = writer.write_all(&chunk(b"{\"", false)).await;
    let body = chunk(&vec![b'x'; if slow { 1 } else { 4096 }], false);
    let mut byte = [0];
    loop {
        tokio::select! {
            next = write(writer, &body) => if next != Next::Request { return next },
            _end = reader.read(&mut byte) => return Next::ClosedByClient,
        }
        shared.lock().endless_bytes += body.len() as u64;
        if slow {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One chunk; an empty one ends the body.
fn chunk(bytes: &[u8], old: bool) -> Vec<u8> {
    if old {
        return bytes.to_vec();
    }
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Next {
    let written = match writer.write_all(bytes).await {
        Ok(()) => writer.flush().await,
        error => error,
    };
    if written.is_ok() { Next::Request } else { Next::ClosedByClient }
}

/// The headers that every answer has, in a Go server's order.
pub(super) fn headers(answer: &Answer) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("Audit-Id", "4627c4b1-e9e9-48e8-8441-0fb971d75f86".to_owned()),
        ("Cache-Control", "no-cache, private".to_owned()),
    ];
    headers.extend(answer.headers.iter().cloned());
    if answer.code != 401 {
        // Whoever is not known has no priority either.
        let level = "b20c033e-ffc1-4025-91e8-c54dd45478c7".to_owned();
        headers.push(("X-Kubernetes-Pf-Flowschema-Uid", "ca245267-a06e-4d63-829b-dc246a9669b6".to_owned()));
        headers.push(("X-Kubernetes-Pf-Prioritylevel-Uid", level));
    }
    headers.sort_by_key(|(name, _)| *name);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let time = chrono::DateTime::from_timestamp(seconds.try_into().unwrap(), 0).unwrap();
    headers.push(("Date", time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()));
    headers
}

fn head(answer: &Answer, length: Option<usize>, last: bool) -> Vec<u8> {
    let reason = hyper::StatusCode::from_u16(answer.code).unwrap().canonical_reason().unwrap();
    let mut text = format!("HTTP/1.1 {} {reason}\r\n", answer.code);
    for (name, value) in headers(answer) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&match length {
        Some(length) => format!("Content-Length: {length}\r\n"),
        None if last => String::new(),
        None => "Transfer-Encoding: chunked\r\n".to_owned(),
    });
    if last {
        text.push_str("Connection: close\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// The next request; `None` where there is no more.
async fn read_request(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Asked> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        assert!(buffer.len() < 1 << 20, "no head is as long");
        if !matches!(reader.read_buf(buffer).await, Ok(1..)) {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut asked = Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        raw_query: query.to_owned(),
        old: version == "HTTP/1.0",
        ..Asked::default()
    };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    assert!(asked.header("transfer-encoding").is_empty(), "a body of unknown length: not understood here");
    let length: usize = asked.header("content-length").parse().unwrap_or(0);
    while buffer.len() < length {
        if !matches!(reader.read_buf(buffer).await, Ok(1..)) {
            return None;
        }
    }
    asked.body = buffer.drain(..length).collect();
    Some(asked)
}
