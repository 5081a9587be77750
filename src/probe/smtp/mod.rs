//! A login at a mail server: RFC 5321, STARTTLS (RFC 3207), AUTH (RFC 4954).
//!
//! Written here and not taken from `lettre`: that reads a line whole before it looks at
//! its length, goes on with what a server sent in the clear before STARTTLS, and keeps
//! the server's words in its errors.
//!
//! Invariant: nothing of the login is sent before TLS, but to this machine where the
//! port or the probe says that it is plain there.

mod talk;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;

use super::target::Place;
use super::trust::{Check, Trust};
use super::wire::{self, Stream};
use super::{Doubt, Probed};
use crate::model::schema::probe::MailTls;
use crate::model::secret::SecretValue;
use talk::{Reply, Talk};

/// How a client that has no name of its own greets.
const EHLO: &str = "EHLO [127.0.0.1]\r\n";

/// A mail server and who logs in.
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) user: Arc<SecretValue>,
    /// None means: what the port says.
    pub(super) tls: Option<MailTls>,
}

/// How a login is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Login,
}

impl Server {
    pub(super) async fn ask(&self, candidate: &SecretValue, trust: &Trust) -> Result<Probed, Doubt> {
        if [self.user.expose(), candidate.expose()].iter().any(|text| text.contains('\0')) {
            return Ok(Probed::Wrong("a NUL has no place in a login".into()));
        }
        let place = &self.place;
        let tcp = wire::connect(place).await?;
        match self.tls.unwrap_or_else(|| by_port(place.port, tcp.is_here)) {
            MailTls::Implicit => {
                let config = trust.config(Check::Full).await?;
                let mut talk = Talk::over(place, wire::secure(place, config, tcp.stream).await?);
                talk.greeting().await?;
                self.log_in(&mut talk, candidate).await
            }
            MailTls::StartTls => {
                let config = trust.config(Check::Full).await?;
                let tcp = self.start_tls(tcp.stream).await?;
                let mut talk = Talk::over(place, wire::secure(place, config, tcp).await?);
                self.log_in(&mut talk, candidate).await
            }
            MailTls::Plain if tcp.is_here => {
                let mut talk = Talk::over(place, tcp.stream);
                talk.greeting().await?;
                self.log_in(&mut talk, candidate).await
            }
            MailTls::Plain => Err(Doubt::new(
                format!("{place} is another machine, and the password is not sent in the clear"),
                "let the server offer TLS",
            )),
        }
    }

    async fn start_tls(&self, stream: TcpStream) -> Result<TcpStream, Doubt> {
        let mut talk = Talk::over(&self.place, stream);
        talk.greeting().await?;
        let offered = talk.say(EHLO).await?.expect(&self.place, 250)?;
        if !offered.has("STARTTLS") {
            return Err(Doubt::new(
                format!("{} offers no STARTTLS, and the password is not sent in the clear", self.place),
                "let the server offer it, or use the port that is TLS from the first byte on (465)",
            ));
        }
        talk.say("STARTTLS\r\n").await?.expect(&self.place, 220)?;
        // What came after that came in the clear, from whoever is in between.
        talk.end().ok_or_else(|| {
            Doubt::new(
                format!("{} says more in the clear than STARTTLS allows", self.place),
                "find out who is in between",
            )
        })
    }

    async fn log_in<S: Stream>(
        &self,
        talk: &mut Talk<'_, S>,
        candidate: &SecretValue,
    ) -> Result<Probed, Doubt> {
        let place = &self.place;
        let offered = talk.say(EHLO).await?.expect(place, 250)?;
        let mechanism = mechanism(&offered).ok_or_else(|| {
            let help = "see whether the server takes logins on this port";
            Doubt::new(format!("{place} offers no login by PLAIN or LOGIN"), help)
        })?;
        let said = match mechanism {
            Mechanism::Plain => talk.say(&plain(self.user.expose(), candidate.expose())).await?,
            Mechanism::Login => {
                talk.say("AUTH LOGIN\r\n").await?.expect(place, 334)?;
                talk.say(&line("", self.user.expose().as_bytes())).await?.expect(place, 334)?;
                talk.say(&line("", candidate.expose().as_bytes())).await?
            }
        };
        // Politeness: the answer is known.
        let _whatever_it_says = talk.say("QUIT\r\n").await;
        match said.code {
            235 => Ok(Probed::Works),
            535 => Ok(Probed::Wrong(format!("{place} refuses the login (535)"))),
            code => Err(Doubt::new(
                format!("{place} answered the login with {code}"),
                "try again later, or try the login by hand",
            )),
        }
    }
}

/// What a port means where nobody says.
fn by_port(port: u16, is_here: bool) -> MailTls {
    match port {
        465 | 2465 => MailTls::Implicit,
        25 | 1025 if is_here => MailTls::Plain,
        _ => MailTls::StartTls,
    }
}

/// PLAIN needs one answer less.
fn mechanism(offered: &Reply) -> Option<Mechanism> {
    let has = |name: &str| offered.words("AUTH").iter().any(|word| word.eq_ignore_ascii_case(name));
    match (has("PLAIN"), has("LOGIN")) {
        (true, _) => Some(Mechanism::Plain),
        (false, true) => Some(Mechanism::Login),
        (false, false) => None,
    }
}

/// RFC 4616, without an identity to act for.
fn plain(user: &str, password: &str) -> String {
    let mut login = Vec::with_capacity(user.len() + password.len() + 2);
    for piece in [user, password] {
        login.push(0);
        login.extend_from_slice(piece.as_bytes());
    }
    line("AUTH PLAIN ", &login)
}

/// A line that ends in base64, in a buffer that fits.
fn line(begin: &str, bytes: &[u8]) -> String {
    let mut line = String::with_capacity(begin.len() + bytes.len().div_ceil(3) * 4 + 2);
    line.push_str(begin);
    STANDARD.encode_string(bytes, &mut line);
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (port, is_here, expected) in [
            (465, true, MailTls::Implicit),
            (2465, false, MailTls::Implicit),
            (587, true, MailTls::StartTls),
            (2525, false, MailTls::StartTls),
            (25, false, MailTls::StartTls),
            (1025, false, MailTls::StartTls),
            (25, true, MailTls::Plain),
            (1025, true, MailTls::Plain),
        ] {
            assert_eq!(by_port(port, is_here), expected, "{port}");
        }
    }

    #[test]
    fn logins_fit_their_buffers() {
        // The example of RFC 4616.
        let login = plain("tim", "tanstaaftanstaaf");
        assert_eq!(login, "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
        assert_eq!(login.capacity(), login.len());
    }

    #[test]
    fn mechanisms() {
        for (line, expected) in [
            ("AUTH LOGIN PLAIN", Some(Mechanism::Plain)),
            ("auth login", Some(Mechanism::Login)),
            ("AUTH CRAM-MD5", None),
            ("AUTHPLAIN", None),
            ("SIZE 1", None),
        ] {
            let offered = Reply { code: 250, lines: vec!["mail.example.com".into(), line.into()] };
            assert_eq!(mechanism(&offered), expected, "{line}");
        }
    }
}
