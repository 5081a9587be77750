//! Lines and replies of SMTP. What a server says is bounded, recognised, and not kept.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::super::Doubt;
use super::super::target::Place;
use super::super::wire::{self, Stream};
use crate::network::Break;

/// The longest line, in bytes: RFC 5321 has 512.
const LINE: u64 = 2048;

/// The most lines of one reply.
const LINES: usize = 64;

/// A conversation.
pub(super) struct Talk<'p, S> {
    place: &'p Place,
    stream: BufReader<S>,
}

/// A whole reply: its code, and its lines without it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) lines: Vec<String>,
}

impl Reply {
    /// The reply, if it has this code.
    pub(super) fn expect(self, place: &Place, code: u16) -> Result<Self, Doubt> {
        if self.code == code {
            return Ok(self);
        }
        let why = format!("{place} answered {} where a mail server answers {code}", self.code);
        Err(Doubt::new(why, "see whether it takes mail on this port; try again later"))
    }

    /// Whether an extension is offered.
    pub(super) fn has(&self, keyword: &str) -> bool {
        self.offered(keyword).is_some()
    }

    /// What an extension is offered with.
    pub(super) fn words(&self, keyword: &str) -> Vec<&str> {
        self.offered(keyword).map(Iterator::collect).unwrap_or_default()
    }

    fn offered(&self, keyword: &str) -> Option<impl Iterator<Item = &str>> {
        // The first line is the server's name.
        self.lines.iter().skip(1).find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            words.next().is_some_and(|first| first.eq_ignore_ascii_case(keyword)).then_some(words)
        })
    }
}

impl<'p, S: Stream> Talk<'p, S> {
    pub(super) fn over(place: &'p Place, stream: S) -> Self {
        Self { place, stream: BufReader::new(stream) }
    }

    /// Waits for the server to begin.
    pub(super) async fn greeting(&mut self) -> Result<(), Doubt> {
        self.reply().await?.expect(self.place, 220).map(|_| ())
    }

    /// Says a line, which ends as lines do, and waits for the reply.
    pub(super) async fn say(&mut self, line: &str) -> Result<Reply, Doubt> {
        let stream = &mut self.stream;
        let said = async {
            stream.write_all(line.as_bytes()).await?;
            stream.flush().await
        };
        wire::step(self.place, async { said.await.map_err(|error| Break::of(&error)) }).await?;
        self.reply().await
    }

    /// The connection, if nothing came that nobody has read.
    pub(super) fn end(self) -> Option<S> {
        self.stream.buffer().is_empty().then(|| self.stream.into_inner())
    }

    async fn reply(&mut self) -> Result<Reply, Doubt> {
        let place = self.place;
        wire::step(place, self.read()).await
    }

    async fn read(&mut self) -> Result<Reply, Break> {
        let mut lines = Vec::new();
        while lines.len() < LINES {
            let mut line = Vec::new();
            let read = (&mut self.stream).take(LINE).read_until(b'\n', &mut line).await;
            match read {
                Ok(0) => return Err(Break::Connection),
                Err(error) => return Err(Break::of(&error)),
                Ok(_) => {}
            }
            let line = line.strip_suffix(b"\n").ok_or(Break::NotHttp)?;
            let (code, rest) = line.split_first_chunk::<3>().ok_or(Break::NotHttp)?;
            let code = code.iter().try_fold(0_u16, |code, digit| {
                digit.is_ascii_digit().then(|| code * 10 + u16::from(digit - b'0'))
            });
            let code = code.ok_or(Break::NotHttp)?;
            lines.push(String::from_utf8_lossy(rest.get(1..).unwrap_or_default()).trim_end().to_owned());
            if rest.first() != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(Break::NotHttp)
    }
}
