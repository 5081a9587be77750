//! A login at a PostgreSQL server, by its protocol 3.0.
//!
//! `postgres-protocol` writes the messages and does SCRAM; a whole client (tokio-postgres)
//! would answer whatever the server asks for, also with the password itself.
//!
//! Invariants: the password itself goes to this machine or over verified TLS, whatever
//! `sslmode` says; a server that asks for none proves nothing; a message is bounded.

mod messages;

use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::target::Place;
use super::trust::{Check, Trust};
use super::wire::{self, Stream};
use super::{Doubt, Probed};
use crate::model::secret::SecretValue;
use crate::network::Break;
use messages::{Asks, Message, receive, send};

/// A server and who logs in.
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) database: Arc<SecretValue>,
    pub(super) user: Arc<SecretValue>,
    pub(super) mode: Mode,
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In the clear; `by_value` where the program is told so too.
    Disable { by_value: bool },
    /// TLS where the server offers it (`prefer`; also `allow`, which would try without
    /// first). Unverified, so whoever is in between can say that it does not.
    Prefer { by_value: bool },
    /// TLS, with whomever.
    Require,
    /// TLS, with whomever an authority signed.
    VerifyCa,
    /// TLS, with the server of that name.
    VerifyFull,
}

/// What a login goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To this machine, or to whom its certificate says.
    Private,
    /// To whoever answers.
    Open,
}

impl Mode {
    /// The mode of this name; `by_value` where a variable has it.
    pub(super) fn of(text: &str, by_value: bool) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable { by_value },
            "allow" | "prefer" => Self::Prefer { by_value },
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }

    /// What of the certificate counts; none for no TLS at all. As in libpq, `require`
    /// asks who signed it where somebody says who may.
    fn check(self, trust: &Trust) -> Option<Check> {
        match self {
            Self::Disable { .. } => None,
            Self::Require if trust.names_authorities() => Some(Check::Authority),
            Self::Prefer { .. } | Self::Require => Some(Check::Nothing),
            Self::VerifyCa => Some(Check::Authority),
            Self::VerifyFull => Some(Check::Full),
        }
    }

    /// Whether another machine may be asked in the clear.
    fn allows_clear(self) -> bool {
        matches!(self, Self::Disable { by_value: true } | Self::Prefer { by_value: true })
    }
}

impl Server {
    pub(super) async fn ask(&self, candidate: &SecretValue, trust: Trust) -> Result<Probed, Doubt> {
        let texts = [self.user.expose(), self.database.expose(), candidate.expose()];
        if texts.iter().any(|text| text.contains('\0')) {
            return Ok(Probed::Wrong("a NUL has no place in a login".into()));
        }
        let place = &self.place;
        let mut tcp = wire::connect(place).await?;
        let Some(check) = self.mode.check(&trust) else {
            return self.in_the_clear(tcp.stream, tcp.is_here, candidate).await;
        };
        let mut request = BytesMut::with_capacity(8);
        frontend::ssl_request(&mut request);
        let mut offered = [0];
        wire::step(place, async {
            tcp.stream.write_all(&request).await.map_err(|error| Break::of(&error))?;
            // One byte and no more: what comes after it comes by TLS.
            tcp.stream.read_exact(&mut offered).await.map_err(|error| Break::of(&error))
        })
        .await?;
        match (&offered, self.mode) {
            (b"S", _) => {
                let stream = wire::secure(place, trust.config(check).await?, tcp.stream).await?;
                // Of an authority, everybody whom it signed could be in between.
                let way = if check == Check::Full || tcp.is_here { Way::Private } else { Way::Open };
                self.log_in(stream, way, candidate).await
            }
            (b"N", Mode::Prefer { .. }) => self.in_the_clear(tcp.stream, tcp.is_here, candidate).await,
            (b"N", _) => Err(Doubt::new(
                format!("{place} offers no TLS, which the probe's `ssl_mode` demands"),
                "let the server offer it; verify-full is what a probe without `ssl_mode` asks for",
            )),
            _ => Err(wire::broke(place, Break::NotHttp)),
        }
    }

    async fn in_the_clear<S: Stream>(
        &self,
        stream: S,
        is_here: bool,
        candidate: &SecretValue,
    ) -> Result<Probed, Doubt> {
        if !is_here && !self.mode.allows_clear() {
            return Err(Doubt::new(
                format!("{} is another machine, and it is not asked without TLS", self.place),
                "write `ssl_mode = \"verify-full\"`, or name the variable that the program reads",
            ));
        }
        let way = if is_here { Way::Private } else { Way::Open };
        self.log_in(stream, way, candidate).await
    }

    async fn log_in<S: Stream>(
        &self,
        mut stream: S,
        way: Way,
        candidate: &SecretValue,
    ) -> Result<Probed, Doubt> {
        let place = &self.place;
        // The longest that is sent: two names, or a password, and a little around.
        let longest = self.user.len() + self.database.len() + candidate.len() + 256;
        let mut out = BytesMut::with_capacity(longest);
        let parameters = [
            ("user", self.user.expose()),
            ("database", self.database.expose()),
            ("application_name", "dlconf"),
        ];
        frontend::startup_message(parameters, &mut out).map_err(|_| self.unwritable())?;
        send(place, &mut stream, &out).await?;
        let mut scram: Option<ScramSha256> = None;
        let mut has_shown = false;
        let mut is_in = false;
        loop {
            let message = receive(place, &mut stream).await?;
            out.clear();
            let asks = match message {
                Message::Asks(asks) => asks,
                Message::Refused(state) => return self.refused(state, has_shown, is_in),
                Message::Ready if is_in => return Ok(Probed::Works),
                Message::Ready => return Err(wire::broke(place, Break::NotHttp)),
                Message::Other => continue,
            };
            let written = match asks {
                // A proof of the other side's own comes before its word.
                Asks::Nothing if scram.is_some() => return Err(self.unproven()),
                Asks::Nothing if has_shown => {
                    is_in = true;
                    continue;
                }
                Asks::Nothing => {
                    return Err(Doubt::new(
                        format!("{place} lets this user in without a password, so its answer says nothing"),
                        "see pg_hba.conf of the server: `trust` asks for none",
                    ));
                }
                Asks::Password if way == Way::Open => {
                    return Err(Doubt::new(
                        format!(
                            "{place} asks for the password itself, over a connection that nobody verified"
                        ),
                        "set the variable of `ssl_mode` to verify-full",
                    ));
                }
                Asks::Password => frontend::password_message(candidate.expose().as_bytes(), &mut out),
                Asks::Md5(salt) => {
                    let hash = md5_hash(self.user.expose().as_bytes(), candidate.expose().as_bytes(), salt);
                    frontend::password_message(hash.as_bytes(), &mut out)
                }
                Asks::Sasl { scram: true } => {
                    let exchange =
                        ScramSha256::new(candidate.expose().as_bytes(), ChannelBinding::unsupported());
                    let written =
                        frontend::sasl_initial_response(SCRAM_SHA_256, exchange.message(), &mut out);
                    scram = Some(exchange);
                    written
                }
                Asks::SaslContinue(data) => {
                    let exchange = scram.as_mut().ok_or_else(|| wire::broke(place, Break::NotHttp))?;
                    exchange.update(&data).map_err(|_| wire::broke(place, Break::NotHttp))?;
                    frontend::sasl_response(exchange.message(), &mut out)
                }
                Asks::SaslFinal(data) => {
                    let mut exchange = scram.take().ok_or_else(|| wire::broke(place, Break::NotHttp))?;
                    exchange.finish(&data).map_err(|_| self.unproven())?;
                    continue;
                }
                Asks::Sasl { scram: false } | Asks::Other => {
                    return Err(Doubt::new(
                        format!("{place} asks for a login that a probe does not know"),
                        "SCRAM-SHA-256, md5 and password are known: try the login by hand",
                    ));
                }
            };
            written.map_err(|_| self.unwritable())?;
            has_shown = true;
            send(place, &mut stream, &out).await?;
        }
    }

    /// What an error means, by its SQLSTATE and when it came.
    fn refused(&self, state: [u8; 5], has_shown: bool, is_in: bool) -> Result<Probed, Doubt> {
        let place = &self.place;
        match &state {
            b"28P01" => Ok(Probed::Wrong(format!("{place} refuses the password (28P01)"))),
            b"28000" if has_shown => Ok(Probed::Wrong(format!("{place} refuses the login (28000)"))),
            // The password was right: a database that is missing, too many connections.
            _ if is_in => Ok(Probed::Works),
            b"28000" => Err(Doubt::new(
                format!("{place} refuses this user or this machine before it asks for a password (28000)"),
                "see pg_hba.conf of the server, and whether it demands TLS",
            )),
            state => {
                // Letters and digits, as SQLSTATEs are; the text beside it is not repeated.
                let state: String =
                    state.iter().filter(|b| b.is_ascii_alphanumeric()).map(|b| char::from(*b)).collect();
                let help = "try again later, or try the login by hand";
                Err(Doubt::new(format!("{place} refuses the connection ({state})"), help))
            }
        }
    }

    fn unproven(&self) -> Doubt {
        let why = format!("{} does not prove that it knows the password", self.place);
        Doubt::new(why, "find out who answers there")
    }

    fn unwritable(&self) -> Doubt {
        Doubt::new(
            format!("{} cannot be sent this login", self.place),
            "shorten the user's name or the database's",
        )
    }
}
