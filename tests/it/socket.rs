//! The API of the socket, as clients meet it: the real daemon over local files, its
//! socket, and whole requests.
//!
//! Where somebody else is to ask, another user's process does (`as_user`): that
//! needs root, as in the rest of the tests.

pub(crate) mod client;
mod conditional;
mod consumers;
mod guide;
mod hostile;
mod keys;
mod openapi;
mod policy;
mod schemathesis;
mod stream;
mod told;
mod values;
mod watch;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use self::client::{Answer, Asked, ask, get};
use crate::daemon::{Daemon, put, wait_for};
use crate::program::Folder;

const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
program = "the shop"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["web", "worker"]

[defaults]
dialect = "go"
on_invalid = "fail"

[group.mail]
vars = ["MAIL_*"]

[var.APP_ENV]
type = "string"
required = false
description = "The environment."

[var.NAME]
type = "string"
required = true
description = "What it is called."

[var.PORT]
type = "port"
default = "8080"
description = "Listens here."

[var.NOTE]
type = "string"
required = false
description = "Anything."

[var.MAIL_USER]
type = "string"
required = false
description = "Sends."

[var.MAIL_PASSWORD]
type = "password"
required = false
description = "Sends."

[var.SIGNING_KEY]
type = "hmac-key"
min_bytes = 32
required = true
generate = "base64url:48"
rotation = { strategy = "overlap", every = "30d", overlap = "8d" }
description = "Signs tokens."

[var.RECORD_KEY]
type = "hmac-key"
min_bytes = 32
required = false
generate = "base64url:48"
rotation = { strategy = "ring", every = "365d", slots = 3 }
description = "Signs records."

[var.MODE]
type = "enum"
values = ["fast", "safe"]
required = false
services = ["worker"]
description = "How it works."

[retired]
DEAD = "nothing reads it"
"#;

const SETTINGS: &str = r#"environment = "staging"
service = "web"
order = ["local"]
[source.local]
type = "dotenv"
path = ".env"
[ops]
listen = "unix:ops.sock"
[debounce]
min = "0ms"
[socket]
path = "dlconf.sock"
mode = "0666"
"#;

/// The keys of the tests.
const KEY: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6Te";
const OTHER_KEY: &str = "m4Wz8KqN2vXr7TbL5cYj9GdPsF3hQa6Ue";
const THIRD_KEY: &str = "t9Bx3HpM6wLs1VnR8kZc4JfQyD7gUe2Wa";
const PASSWORD: &str = "mail-Pw-81kZrT5q";

/// Users that nobody is.
const SOMEBODY: u32 = 4711;
const SOMEBODY_ELSE: u32 = 4712;

/// `.env` with what is required, and more.
fn shop(more: &str) -> String {
    format!("NAME=shop\nSIGNING_KEY={KEY}\n{more}")
}

/// A folder with these settings behind the usual ones, where anybody may go.
fn home(settings: &str, env: &str) -> Folder {
    let folder = Folder::with_env(env);
    folder.file("dlconf.schema.toml", SCHEMA).file("dlconf.toml", &format!("{SETTINGS}{settings}"));
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

/// A daemon for its own user, who may do everything.
fn daemon(env: &str) -> (Folder, Daemon) {
    let folder = home("", env);
    let daemon = Daemon::ready(&folder);
    (folder, daemon)
}

/// A daemon with a policy.
fn ruled(policy: &str, env: &str) -> (Folder, Daemon) {
    let folder = home("policy = \"access.toml\"\n", env);
    folder.file("access.toml", policy);
    let daemon = Daemon::ready(&folder);
    (folder, daemon)
}

/// A daemon with a policy, and a first configuration that is not published.
fn unready(policy: &str, env: &str) -> (Folder, Daemon) {
    let folder = home("policy = \"access.toml\"\n", env);
    folder.file("access.toml", policy);
    let daemon = Daemon::start(&folder);
    daemon.says("nothing can be published yet");
    (folder, daemon)
}

/// The policy's rule for one user.
fn allow(uid: u32, vars: &[&str], actions: &[&str]) -> String {
    format!("[[allow]]\nuid = {uid}\nvars = {vars:?}\nactions = {actions:?}\n")
}

/// The rule that lets the daemon's own user, who runs the tests, do everything.
fn own() -> String {
    let actions = ["read", "watch", "acknowledge", "status", "forget", "rotate"];
    allow(nix::unistd::geteuid().as_raw(), &["*"], &actions)
}

/// Exchanges the policy and waits until it holds.
#[track_caller]
fn rule(daemon: &Daemon, folder: &Folder, policy: &str) {
    let done = "settings and schema were read again and hold";
    let before = daemon.count(done);
    put(folder, "access.toml", policy);
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says_for(before + 1, done);
}

/// Exchanges `.env` and waits for the generation.
#[track_caller]
fn publish(daemon: &Daemon, folder: &Folder, env: &str) -> String {
    let before = daemon.count("published ");
    put(folder, ".env", env);
    daemon.says_for(before + 1, "published ");
    version(daemon)
}

/// The present version.
fn version(daemon: &Daemon) -> String {
    daemon.status()["version"].as_str().unwrap().to_owned()
}
