//! Logging in: from what the settings name to a token, and how long it lives.
//!
//! Owns: the files of credentials (read when they are needed, again when they
//! change), the unwrapping of a secret-id, the token.
//! Invariants: a wrapping token is unwrapped once, and one that was used already
//! is told as an alarm; nothing that was read here is in any message.
//! Must not know: what the token is used for.

use std::time::Duration;

use tokio::time::Instant;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;
use vaultrs::api::auth::oidc::requests::JWTLoginRequest;
use vaultrs::api::sys::requests::{UnwrapRequest, WrappingLookupRequest};
use vaultrs::api::token::requests::LookupTokenSelfRequest;

use super::api::{
    AuthAnswer, Envelope, LoginByCert, RenewSelf, RevokeSelf, SecretIdAnswer, TokenAnswer, WrappingAnswer,
};
use super::client::{Client, Lane};
use super::config::{Auth, RoleId};
use super::life::Life;
use super::trouble::{Kind, Trouble};
use crate::disk::stamp::Stamp;
use crate::model::origin::Location;
use crate::model::secret::SecretValue;
use crate::source::file::ShownPath;
use crate::source::{Fault, FaultKind};

/// The largest credential file, in bytes.
const CREDENTIAL_LIMIT: u64 = 64 << 10;

/// A token in use.
pub(super) struct Session {
    pub(super) token: SecretValue,
    /// None while nobody has asked: a given token is only looked at by those who
    /// stay.
    pub(super) life: Option<Life>,
    /// Whether we logged in for it, so that it is ours to give back.
    pub(super) ours: bool,
    pub(super) since: Instant,
    /// Of the file that it was read from.
    stamp: Option<Stamp>,
}

/// How one logs in, with what has to be remembered between logins.
pub(super) struct Login {
    auth: Auth,
    ambient: Option<SecretValue>,
    unwrapped: Option<Unwrapped>,
}

/// A secret-id that a wrapping token gave.
struct Unwrapped {
    secret_id: SecretValue,
    /// Of the file with the wrapping token.
    stamp: Option<Stamp>,
}

/// Why there is no session.
#[derive(Debug)]
pub(super) enum LoginFault {
    /// Something here is wrong: a file, a setting.
    Here(Fault),
    /// The server did not do it.
    There(Trouble),
}

impl LoginFault {
    /// As trouble with the server: what is wrong here does not pass by itself.
    pub(super) fn trouble(&self) -> Trouble {
        match self {
            Self::There(trouble) => trouble.clone(),
            Self::Here(_) => Kind::Unwritable.into(),
        }
    }
}

impl From<Trouble> for LoginFault {
    fn from(trouble: Trouble) -> Self {
        Self::There(trouble)
    }
}

impl From<Kind> for LoginFault {
    fn from(kind: Kind) -> Self {
        Self::There(kind.into())
    }
}

impl From<Fault> for LoginFault {
    fn from(fault: Fault) -> Self {
        Self::Here(fault)
    }
}

impl Login {
    pub(super) fn new(auth: Auth, ambient: Option<SecretValue>) -> Self {
        Self { auth, ambient, unwrapped: None }
    }

    /// Whether a new login gives a new token. A given token is all there is.
    pub(super) fn can_repeat(&self) -> bool {
        !matches!(self.auth, Auth::Token | Auth::TokenFile { .. })
    }

    /// The login as it is named in messages: `auth/kubernetes`.
    pub(super) fn label(&self) -> String {
        match &self.auth {
            Auth::Token => "the token of the environment".into(),
            Auth::TokenFile { path } => format!("the token in {}", path.label),
            Auth::AppRole { mount, .. }
            | Auth::Kubernetes { mount, .. }
            | Auth::Jwt { mount, .. }
            | Auth::Cert { mount, .. } => format!("auth/{mount}"),
        }
    }

    /// Whether the file of the token was exchanged since the session began.
    pub(super) fn moved(&self, session: &Session) -> bool {
        match &self.auth {
            // One that is gone for a moment takes nothing away.
            Auth::TokenFile { path } => path.stamp().is_some_and(|now| session.stamp.as_ref() != Some(&now)),
            _ => false,
        }
    }

    /// Logs in.
    ///
    /// # Errors
    /// [`LoginFault`].
    pub(super) async fn session(&mut self, client: &Client) -> Result<Session, LoginFault> {
        let answer: Envelope<()> = match &self.auth {
            Auth::Token => {
                let token = self.ambient.as_ref().ok_or_else(no_token)?;
                return Ok(Session::given(credential(token.expose()).ok_or_else(not_a_token)?, None));
            }
            Auth::TokenFile { path } => {
                // Looked at first: what changes meanwhile is read again later.
                let stamp = path.stamp();
                return Ok(Session::given(read(path)?, stamp));
            }
            Auth::AppRole { mount, role_id, secret_id, wrapped } => {
                let role_id = match role_id {
                    RoleId::Text(text) => SecretValue::from(text.as_str()),
                    RoleId::File(path) => read(path)?,
                };
                let secret_id = match secret_id {
                    None => SecretValue::from(""),
                    Some(path) if *wrapped => unwrapped(client, mount, path, &mut self.unwrapped).await?,
                    Some(path) => read(path)?,
                };
                let request = LoginWithApproleRequest {
                    mount: mount.clone(),
                    role_id: role_id.expose().to_owned(),
                    secret_id: secret_id.expose().to_owned(),
                };
                client.ask(Lane::Data, None, request).await
            }
            Auth::Kubernetes { mount, role, token } => {
                let jwt = read(token)?.expose().to_owned();
                let request = LoginWithKubernetesRequest { mount: mount.clone(), role: role.clone(), jwt };
                client.ask(Lane::Data, None, request).await
            }
            Auth::Jwt { mount, role, token } => {
                let jwt = read(token)?.expose().to_owned();
                let request = JWTLoginRequest { mount: mount.clone(), role: role.clone(), jwt };
                client.ask(Lane::Data, None, request).await
            }
            Auth::Cert { mount, role } => {
                let name = role.clone().unwrap_or_default();
                client.ask(Lane::Data, None, LoginByCert { mount: mount.clone(), name }).await
            }
        }
        .map_err(refused)?;
        let auth = answer.auth.ok_or(Kind::NotTheApi)?;
        let life = Life::new(Instant::now(), Duration::from_secs(auth.lease_duration), auth.renewable);
        Ok(Session {
            token: auth.client_token,
            life: Some(life),
            ours: true,
            since: Instant::now(),
            stamp: None,
        })
    }
}

/// At a login, 'no' has one meaning.
fn refused(trouble: Trouble) -> Trouble {
    match trouble.kind {
        Kind::Forbidden | Kind::Rejected(400) | Kind::NotFound => Kind::LoginRefused.into(),
        _ => trouble,
    }
}

impl Session {
    fn given(token: SecretValue, stamp: Option<Stamp>) -> Self {
        Self { token, life: None, ours: false, since: Instant::now(), stamp }
    }

    /// Whether its time is over, as far as it is known.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        self.life.as_ref().and_then(Life::ends).is_some_and(|end| end <= now)
    }

    /// Asks the server about the token.
    ///
    /// # Errors
    /// [`Trouble`]; [`Kind::Forbidden`] means that the token is not good, or may
    /// not even look at itself.
    pub(super) async fn look_up(&self, client: &Client) -> Result<TokenAnswer, Trouble> {
        // The answer repeats the token.
        let request = LookupTokenSelfRequest {};
        let answer = client.ask::<TokenAnswer>(Lane::Data, Some(&self.token), request).await?;
        answer.data.ok_or_else(|| Kind::NotTheApi.into())
    }

    /// Learns how long the token lives.
    ///
    /// # Errors
    /// As [`Session::look_up`].
    pub(super) async fn learn(&mut self, client: &Client) -> Result<(), Trouble> {
        let answer = self.look_up(client).await?;
        self.life = Some(Life::new(Instant::now(), Duration::from_secs(answer.ttl), answer.renewable));
        Ok(())
    }

    /// Lets the token live on.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn renew(&mut self, client: &Client) -> Result<(), Trouble> {
        // The answer repeats the token.
        let answer: Envelope<()> = client.ask(Lane::Data, Some(&self.token), RenewSelf {}).await?;
        let AuthAnswer { lease_duration, renewable, .. } = answer.auth.ok_or(Kind::NotTheApi)?;
        let (now, ttl) = (Instant::now(), Duration::from_secs(lease_duration));
        self.life = Some(match &self.life {
            Some(life) if self.ours => life.renewed(now, ttl, renewable),
            // There is no other: it is renewed for as long as that gains anything.
            Some(life) => life.prolonged(now, ttl, renewable),
            None => Life::new(now, ttl, renewable),
        });
        Ok(())
    }

    /// Gives the token back, and every lease that it made.
    pub(super) async fn revoke(&self, client: &Client) -> Result<(), Trouble> {
        client.exchange(Lane::Data, Some(&self.token), RevokeSelf {}).await?.success()
    }
}

/// The secret-id that a wrapping token in a file stands for.
async fn unwrapped(
    client: &Client,
    mount: &str,
    path: &ShownPath,
    known: &mut Option<Unwrapped>,
) -> Result<SecretValue, LoginFault> {
    let stamp = path.stamp();
    if let Some(known) = known.as_ref().filter(|known| stamp.is_none() || known.stamp == stamp) {
        return Ok(SecretValue::from(known.secret_id.expose()));
    }
    let token = read(path)?;
    let alarm = |trouble: Trouble| match trouble.kind {
        Kind::Unwrapped | Kind::Forbidden => LoginFault::Here(Fault {
            kind: FaultKind::NotPermitted,
            location: Location::File { path: path.label.as_str().into(), at: None },
            message: format!(
                "the wrapping token in {} was used already, or has ended: somebody else may hold the secret-id",
                path.label
            ),
            help: Kind::Unwrapped.help().into(),
        }),
        _ => trouble.into(),
    };
    let request = WrappingLookupRequest { token: token.expose().to_owned() };
    let wraps = client.ask::<WrappingAnswer>(Lane::Data, None, request).await.map_err(alarm)?;
    let made_at = wraps.data.map(|data| data.creation_path).unwrap_or_default();
    // Whoever can write the file could wrap a secret-id of a role of theirs.
    if !makes_a_secret_id(&made_at, mount) {
        return Err(LoginFault::Here(Fault {
            kind: FaultKind::NotPermitted,
            location: Location::File { path: path.label.as_str().into(), at: None },
            message: format!("the wrapping token in {} was not made by auth/{mount}", path.label),
            help: "find out who wrote it; then write one that wraps a secret-id of the role".into(),
        }));
    }
    let answer = client
        .ask::<SecretIdAnswer>(Lane::Data, Some(&token), UnwrapRequest { token: None })
        .await
        .map_err(alarm)?;
    let secret_id = answer.data.ok_or(Kind::NotTheApi)?.secret_id;
    let copy = SecretValue::from(secret_id.expose());
    *known = Some(Unwrapped { secret_id, stamp });
    Ok(copy)
}

/// Whether this is where a mount makes the secret-ids of its roles.
fn makes_a_secret_id(path: &str, mount: &str) -> bool {
    let below = path.strip_prefix("auth/").and_then(|path| path.strip_prefix(mount));
    let role = below.and_then(|path| path.strip_prefix("/role/")).and_then(|path| path.split_once('/'));
    role.is_some_and(|(_, made)| matches!(made, "secret-id" | "custom-secret-id"))
}

/// A credential from a file: its text without white space around it.
fn read(path: &ShownPath) -> Result<SecretValue, Fault> {
    let label = path.label.as_str().into();
    let file = path.read(CREDENTIAL_LIMIT).map_err(|fault| fault.at(&label))?;
    let text = SecretValue::new(file.text);
    credential(text.expose()).ok_or_else(|| Fault {
        kind: FaultKind::Malformed,
        location: Location::File { path: label, at: None },
        message: format!("{} holds no credential: it must be one word of visible characters", path.label),
        help: "write the token alone into it".into(),
    })
}

/// One word of visible ASCII: what a header can carry.
fn credential(text: &str) -> Option<SecretValue> {
    let word = text.trim();
    (!word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic())).then(|| SecretValue::from(word))
}

fn no_token() -> Fault {
    Fault {
        kind: FaultKind::NotPermitted,
        location: Location::Named("env:VAULT_TOKEN".into()),
        message: "there is no token: neither VAULT_TOKEN nor BAO_TOKEN holds one".into(),
        help: "set VAULT_TOKEN, or choose another `auth`".into(),
    }
}

/// The variable is not named here: which of the two it was, settings know.
fn not_a_token() -> Fault {
    Fault {
        kind: FaultKind::Malformed,
        location: Location::Named("env".into()),
        message: "the token of the environment is none: it must be one word of visible characters".into(),
        help: "write the token alone into the variable".into(),
    }
}
