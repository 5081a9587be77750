//! `policies/access.toml`: each service of DataLens has what the schema says that it
//! reads, and operators have no value.

use std::collections::BTreeSet;
use std::path::Path;

use dlconf::model::schema::Schema;
use serde_json::Value;

use crate::program::Folder;

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/access.toml");

/// The services, and the users that they run as.
const SERVICES: [(&str, u32); 5] =
    [("cc", 10001), ("admin", 10002), ("portal", 10003), ("agent", 10004), ("migrate", 10005)];
const OPERATORS: u32 = 20000;

fn schema() -> Schema {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/datalens.schema.toml");
    dlconf::model::schema::parse::parse("schema", &std::fs::read_to_string(path).unwrap()).unwrap().schema
}

/// What somebody may do this with.
fn allowed(uid: u32, gid: u32, action: &str) -> BTreeSet<String> {
    let numbers = [uid.to_string(), gid.to_string()];
    let arguments = ["access", "test", "--policy", POLICY, "--daemon-uid", "999", "--format", "json"];
    let caller = ["--uid", &numbers[0], "--gid", &numbers[1], "--action", action];
    let ran = Folder::new().run(&[&arguments[..], &caller].concat());
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let verdicts = document["verdicts"].as_array().unwrap();
    assert!(verdicts.len() > 70, "{}", verdicts.len());
    let allowed = verdicts.iter().filter(|verdict| verdict["allowed"] == true);
    allowed.map(|verdict| verdict["variable"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_service_has_its_variables_and_no_other() {
    let schema = schema();
    let listed: Vec<&str> = schema.services.iter().map(|name| &**name).collect();
    assert_eq!(listed, SERVICES.map(|(name, _)| name));
    for (service, uid) in SERVICES {
        let own: BTreeSet<String> = schema
            .vars
            .iter()
            .filter(|var| var.services.is_empty() || var.services.iter().any(|name| **name == *service))
            .map(|var| var.key.to_string())
            .collect();
        assert!(!own.is_empty() && own.len() < schema.vars.len(), "{service}: {}", own.len());
        assert_eq!(allowed(uid, uid, "read"), own, "{service}");
        let lasting = if service == "migrate" { BTreeSet::new() } else { own };
        assert_eq!(allowed(uid, uid, "watch"), lasting, "{service}");
        assert_eq!(allowed(uid, uid, "acknowledge"), lasting, "{service}");
        for action in ["status", "forget", "rotate"] {
            assert_eq!(allowed(uid, uid, action), BTreeSet::new(), "{service} {action}");
        }
    }
}

#[test]
fn operators_turn_the_wheels_and_read_nothing() {
    let all: BTreeSet<String> = schema().vars.iter().map(|var| var.key.to_string()).collect();
    for action in ["status", "forget", "rotate"] {
        assert_eq!(allowed(1000, OPERATORS, action), all, "{action}");
    }
    for action in ["read", "watch", "acknowledge"] {
        assert_eq!(allowed(1000, OPERATORS, action), BTreeSet::new(), "{action}");
    }
    // Who is somebody else, be it root, has nothing.
    for action in ["read", "watch", "acknowledge", "status", "forget", "rotate"] {
        assert_eq!(allowed(0, 0, action), BTreeSet::new(), "{action}");
    }
}
