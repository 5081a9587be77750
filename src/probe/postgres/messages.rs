//! What a PostgreSQL server says during a login, as far as it matters. Texts are not kept.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::Doubt;
use super::super::target::Place;
use super::super::wire::{self, Stream};
use crate::network::Break;

/// The longest message, in bytes: during a login they are short.
const LONGEST: usize = 16 << 10;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// `AuthenticationXxx`.
    Asks(Asks),
    /// `ErrorResponse`, by its SQLSTATE.
    Refused([u8; 5]),
    /// `ReadyForQuery`.
    Ready,
    /// A notice, a setting, a version that it does not speak.
    Other,
}

/// What is to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Nothing (more).
    Nothing,
    /// The password itself.
    Password,
    /// MD5 with this salt.
    Md5([u8; 4]),
    /// One of several; whether SCRAM-SHA-256 is among them.
    Sasl { scram: bool },
    /// What SCRAM goes on with.
    SaslContinue(Vec<u8>),
    /// What SCRAM ends with.
    SaslFinal(Vec<u8>),
    /// Kerberos and the like.
    Other,
}

/// Sends what was written.
pub(super) async fn send<S: Stream>(place: &Place, stream: &mut S, bytes: &[u8]) -> Result<(), Doubt> {
    wire::step(place, async {
        stream.write_all(bytes).await.map_err(|error| Break::of(&error))?;
        stream.flush().await.map_err(|error| Break::of(&error))
    })
    .await
}

/// Waits for the next message.
pub(super) async fn receive<S: Stream>(place: &Place, stream: &mut S) -> Result<Message, Doubt> {
    wire::step(place, async {
        let tag = stream.read_u8().await.map_err(|error| Break::of(&error))?;
        let length = stream.read_u32().await.map_err(|error| Break::of(&error))?;
        // It counts itself.
        let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
        let length = length.filter(|length| *length <= LONGEST).ok_or(Break::NotHttp)?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.map_err(|error| Break::of(&error))?;
        read(tag, &body).ok_or(Break::NotHttp)
    })
    .await
}

/// None for what breaks the protocol.
fn read(tag: u8, body: &[u8]) -> Option<Message> {
    Some(match tag {
        b'R' => {
            let (kind, rest) = body.split_first_chunk::<4>()?;
            Message::Asks(match u32::from_be_bytes(*kind) {
                0 => Asks::Nothing,
                3 => Asks::Password,
                5 => Asks::Md5(rest.try_into().ok()?),
                10 => {
                    Asks::Sasl { scram: rest.split(|byte| *byte == 0).any(|name| name == b"SCRAM-SHA-256") }
                }
                11 => Asks::SaslContinue(rest.to_vec()),
                12 => Asks::SaslFinal(rest.to_vec()),
                _ => Asks::Other,
            })
        }
        b'E' => {
            let mut fields = body.split(|byte| *byte == 0);
            let state = fields.find_map(|field| field.strip_prefix(b"C"))?;
            Message::Refused(state.try_into().ok()?)
        }
        b'Z' => Message::Ready,
        b'N' | b'S' | b'K' | b'v' => Message::Other,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for (tag, body, expected) in [
            (b'R', &b"\0\0\0\0"[..], Some(Message::Asks(Asks::Nothing))),
            (b'R', b"\0\0\0\x03", Some(Message::Asks(Asks::Password))),
            (b'R', b"\0\0\0\x05salt", Some(Message::Asks(Asks::Md5(*b"salt")))),
            (b'R', b"\0\0\0\x05sal", None),
            (
                b'R',
                b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
                Some(Message::Asks(Asks::Sasl { scram: true })),
            ),
            (b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0", Some(Message::Asks(Asks::Sasl { scram: false }))),
            (b'R', b"\0\0\0\x07", Some(Message::Asks(Asks::Other))),
            (b'R', b"\0\0", None),
            (b'E', b"SFATAL\0VFATAL\0C28P01\0Mpassword\0\0", Some(Message::Refused(*b"28P01"))),
            (b'E', b"SFATAL\0C28\0\0", None),
            (b'E', b"", None),
            (b'Z', b"I", Some(Message::Ready)),
            (b'S', b"a\0b\0", Some(Message::Other)),
            (b'T', b"", None),
            (b'H', b"", None),
        ] {
            assert_eq!(read(tag, body), expected, "{} {body:?}", char::from(tag));
        }
    }
}
