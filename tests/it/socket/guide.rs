//! docs/socket.md: its commands work, and its table has every refusal.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::*;
use crate::program::Ran;

const PAGE: &str = include_str!("../../../docs/socket.md");

#[test]
fn its_commands_work() {
    let folder = Folder::with_env(schemathesis::ENV);
    let settings = SETTINGS.replace("staging", "development").replace("\"web\"", "\"cc\"");
    let schema = include_str!("../../../policies/datalens.schema.toml");
    folder.file("dlconf.schema.toml", schema).file("dlconf.toml", &settings);
    let daemon = Daemon::ready(&folder);
    let mut said = String::new();
    let blocks = PAGE.split("```sh socket\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    for block in blocks {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", block])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("DLCONF_SOCKET", &daemon.socket)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let ran = Ran::of(&output);
        assert_eq!(ran.code, 0, "{block}\n{}\n{}", ran.stdout, ran.stderr);
        said.push_str(&ran.stdout);
        count += 1;
    }
    assert_eq!(count, 6);
    for part in [
        "\"DB_HOST\":\"db.internal\"",
        "DB_HOST=db.internal",
        "\"key\":\"DB_HOST\"",
        "\"kid\":\"initial-previous\"",
        "retry: 1000",
        "\"resync\":true",
        "\"expires_in_seconds\":300",
        "\"instance\":\"api-7c9f\"",
        "\"verb\":\"wins\"",
    ] {
        assert!(said.contains(part), "{part} not in\n{said}");
    }
}

#[test]
fn it_says_what_to_do_about_every_refusal() {
    let document = include_str!("../../../src/serve/socket/openapi.json");
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    let codes =
        document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    let codes: BTreeSet<&str> = codes.iter().map(|code| code.as_str().unwrap()).collect();
    let table = PAGE.split("## Refusals").nth(1).unwrap().split("## ").next().unwrap();
    let cells = table.lines().filter_map(|line| line.split('|').nth(2));
    let named: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert_eq!(named, codes.into_iter().chain(["code"]).collect());
}
