//! `dlconf rotate`, and the daemon behind it.

mod command;
mod led;
mod refused;
mod shown;
mod whole;

use crate::daemon::Daemon;
use crate::program::Folder;

/// What rotates here: by every strategy that asks nobody else.
const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
program = "the shop"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["web", "worker"]

[defaults]
dialect = "go"
on_invalid = "fail"

[var.APP_ENV]
type = "string"
required = false
description = "The environment."

[var.TOKEN_LIFE]
type = "duration"
default = "15m"
description = "How long a token lives."

[var.SIGNING_KEY]
type = "hmac-key"
min_bytes = 32
required = true
services = ["web"]
generate = "base64url:48"
rotation = { strategy = "overlap", every = "30d", overlap = "1h", tokens = "TOKEN_LIFE" }
description = "Signs tokens."

[var.MAIL_PASSWORD]
type = "password"
required = false
rotation = { strategy = "supplied" }
description = "Sends."

[var.MASTER_KEY]
type = "hmac-key"
min_bytes = 32
required = false
rotation = { strategy = "manual", reason = "what is stored is encrypted by it" }
description = "Seals."
"#;

const SETTINGS: &str = "environment = \"staging\"\norder = [\"local\"]\n\
    [source.local]\ntype = \"dotenv\"\npath = \".env\"\n\
    [ops]\nlisten = \"unix:ops.sock\"\n[debounce]\nmin = \"0ms\"\n\
    [socket]\npath = \"dlconf.sock\"\n";

/// Keys of these tests, and of nothing else.
const KEY: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6Te";

/// A folder with what the shop needs, and these settings behind the usual ones.
fn home(settings: &str) -> Folder {
    let folder = Folder::with_env(&format!("SIGNING_KEY={KEY}\nMAIL_PASSWORD=mail-Pw-81kZrT5q\n"));
    folder.file("dlconf.schema.toml", SCHEMA).file("dlconf.toml", &format!("{SETTINGS}{settings}"));
    folder
}

/// A daemon over it.
fn daemon(settings: &str) -> (Folder, Daemon) {
    let folder = home(settings);
    let daemon = Daemon::ready(&folder);
    (folder, daemon)
}

const SETTINGS_FILE: [&str; 2] = ["--config", "dlconf.toml"];

/// `dlconf rotate` with these arguments.
fn rotate(folder: &Folder, arguments: &[&str]) -> crate::program::Ran {
    folder.run(&[&SETTINGS_FILE[..], &["rotate"], arguments].concat())
}
