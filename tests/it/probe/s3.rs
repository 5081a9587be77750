//! moto, which checks signatures and rights by AWS's own code.

use serde_json::Value;

use super::{Script, assert_said, probes, var};
use crate::hostile::{Hostile, Reply};

fn schema(endpoint: &str) -> String {
    let vars = [
        var("KEY_ID", "aws-access-key-id"),
        var("KEY", "aws-secret-access-key"),
        var("TOKEN", "password"),
        var("BUCKET", "s3-bucket"),
    ];
    format!(
        "{}[probe.bucket]\nkind = \"s3\"\nsecret = \"KEY\"\naccess_key_id = \"${{KEY_ID}}\"\nregion = \"us-east-1\"\n\
         bucket = \"${{BUCKET}}\"\nsession_token = \"${{TOKEN}}\"\nendpoint = \"{endpoint}\"\n",
        vars.concat()
    )
}

fn env(pair: &Value, bucket: &str) -> String {
    let text = |name: &str| pair[name].as_str().unwrap();
    format!("KEY_ID={}\nKEY={}\nBUCKET={bucket}\n", text("id"), text("secret"))
}

#[test]
fn right_and_wrong_are_told_apart() {
    let moto = Script::start("bucket.py", &[]);
    let schema = schema(&format!("http://127.0.0.1:{}", moto.port("port")));
    let (reader, nobody) = (&moto.told["reader"], &moto.told["nobody"]);
    assert_said(&probes(&schema, &env(reader, "scans")), "works", "KEY works");
    // The signature is right, whatever this key may do and whatever there is.
    assert_said(&probes(&schema, &env(reader, "no-such-bucket")), "works", "KEY works");
    assert_said(&probes(&schema, &env(nobody, "scans")), "works", "KEY works");

    let mixed = serde_json::json!({ "id": reader["id"], "secret": nobody["secret"] });
    assert_said(&probes(&schema, &env(&mixed, "scans")), "wrong", "the signature does not match");
    assert_said(&probes(&schema, &env(&mixed, "no-such-bucket")), "wrong", "the signature does not match");
    let unknown = serde_json::json!({ "id": "AKIAZZZZZZZZZZZZZZZZ", "secret": reader["secret"] });
    assert_said(&probes(&schema, &env(&unknown, "scans")), "wrong", "knows no key with this id");
}

#[test]
fn who_checks_no_signature_proves_nothing() {
    let server = Hostile::new();
    server.on("/scans", [Reply::Answer { status: 200, headers: Vec::new(), body: Vec::new() }]);
    let pair = serde_json::json!({ "id": "AKIAZZZZZZZZZZZZZZZZ", "secret": "canary7Qm2Vx9Lr4Tn8Wk1Zp6Hs3Yd5Bc0Fg2Jx" });
    let said = probes(&schema(&server.address()), &format!("{}TOKEN=canary-token\n", env(&pair, "scans")));
    assert_said(&said, "unknown", "does not refuse a wrong secret either");
    let requests = server.requests();
    let asked: Vec<String> = requests.iter().map(|r| format!("{} {}", r.method, r.path)).collect();
    assert_eq!(asked, ["HEAD /scans", "GET /scans?list-type=2&max-keys=0"]);
    for request in &requests {
        assert_eq!(request.headers["x-amz-security-token"], "canary-token");
        assert!(!String::from_utf8_lossy(&request.raw).contains("canary7Qm2"), "the secret itself is sent");
    }
}

#[test]
fn other_failures_say_nothing() {
    for (status, code, part) in [
        (400, "ExpiredToken", "does not take the session token"),
        (301, "PermanentRedirect", "the bucket is not where"),
        (403, "RequestTimeTooSkewed", "clock"),
        (503, "SlowDown", "answered 503"),
        (403, "", "answered 403"),
    ] {
        let server = Hostile::new();
        let body = format!("<Error><Code>{code}</Code><Message>canary</Message></Error>").into_bytes();
        server.on("HEAD /scans", [Reply::Answer { status, headers: Vec::new(), body: Vec::new() }]);
        server.on("/scans", [Reply::Answer { status, headers: Vec::new(), body }]);
        let pair = serde_json::json!({ "id": "AKIAZZZZZZZZZZZZZZZZ", "secret": "7Qm2Vx9Lr4Tn8Wk1Zp6Hs3Yd5Bc0Fg2Jx0Kk9Ll" });
        let said = probes(&schema(&server.address()), &env(&pair, "scans"));
        assert_said(&said, "unknown", part);
        assert!(!said.concat().contains("canary"), "{said:?}");
    }
}
