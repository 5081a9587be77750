//! HTTP/1 as far as the fixtures need it: one request on one connection, and
//! reading a request on a server's side. It knows no Vault.
//!
//! Written here rather than taken from a client crate: a fixture that shared the
//! tested program's client would share its mistakes.
//!
//! Current limitations: bodies of requests have a `Content-Length`.

use std::collections::BTreeMap;
use std::io::{BufRead, Error, ErrorKind, Read, Result, Write};

/// A request as a server got it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Names are lower-case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Every byte as it came.
    pub(crate) raw: Vec<u8>,
}

/// An answer as a client got it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names are lower-case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// Asks on a fresh connection and reads until its end.
pub(crate) fn ask(
    mut stream: impl Read + Write,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    // A 1.0 request: the answer is not chunked, and the connection ends with it.
    let mut head = format!(
        "{method} {path} HTTP/1.0\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut reader = std::io::BufReader::new(stream);
    let (first, headers) = read_head(&mut reader, &mut Vec::new())?.ok_or(ErrorKind::UnexpectedEof)?;
    let status = first.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| strange(&first))?;
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    Ok(Answer { status, headers, body })
}

/// The next request of a connection; `None` where the client has closed it.
pub(crate) fn read_request(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut raw = Vec::new();
    let Some((first, headers)) = read_head(reader, &mut raw)? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err(strange(&first)) };
    if headers.contains_key("transfer-encoding") {
        return Err(strange("a chunked request"));
    }
    let length = headers.get("content-length").map_or(Ok(0), |l| l.parse()).map_err(|_| strange(&first))?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    raw.extend_from_slice(&body);
    Ok(Some(Request { method, path, headers, body, raw }))
}

type Head = (String, BTreeMap<String, String>);

fn read_head(reader: &mut impl BufRead, raw: &mut Vec<u8>) -> Result<Option<Head>> {
    let mut first = None;
    let mut headers = BTreeMap::new();
    loop {
        let start = raw.len();
        if reader.read_until(b'\n', raw)? == 0 {
            return if first.is_none() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        let line = String::from_utf8_lossy(&raw[start..]).trim_end().to_owned();
        match (&first, line.split_once(':')) {
            (None, _) => first = Some(line),
            (Some(_), Some((name, value))) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            (Some(_), None) if line.is_empty() => return Ok(first.map(|first| (first, headers))),
            (Some(_), None) => return Err(strange(&line)),
        }
    }
}

fn strange(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not understood: {what}"))
}
