//! aiosmtpd, with each way to encrypt; and servers that behave badly.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Script, assert_said, probes, var};
use crate::bao::tls::{Authority, named};
use crate::program::Folder;

const PASSWORD: &str = "canary-Vx9Lr4Tn8Wk1 with=spaces";

fn schema(port: u64, more: &str) -> String {
    format!(
        "{}[probe.mail]\nkind = \"smtp\"\nsecret = \"PASS\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"shop\"\n{more}\n",
        var("PASS", "password")
    )
}

fn env(password: &str) -> String {
    format!("PASS='{password}'\n")
}

#[test]
fn right_and_wrong_are_told_apart() {
    let folder = Folder::new();
    let authority = Authority::new(&folder);
    let identity = authority.server(&folder);
    let [certificate, key] = [&identity.certificate, &identity.key].map(|path| path.to_str().unwrap());
    let mail = Script::start("mail.py", &[certificate, key, "shop", PASSWORD]);
    let ca = format!("ca = \"{}\"", authority.certificate().display());
    for (port, more) in [
        ("implicit", format!("tls = \"implicit\"\n{ca}")),
        ("starttls", ca.clone()),
        ("plain", "tls = \"plain\"".into()),
        ("login_only", "tls = \"plain\"".into()),
    ] {
        let schema = schema(mail.port(port), &more);
        assert_said(&probes(&schema, &env(PASSWORD)), "works", "PASS works");
        assert_said(&probes(&schema, &env("another")), "wrong", "refuses the login (535)");
    }
    // Nobody vouches for the certificate; and the name is another.
    for (port, more) in [("implicit", "tls = \"implicit\""), ("starttls", "")] {
        let said = probes(&schema(mail.port(port), more), &env(PASSWORD));
        assert_said(&said, "unknown", "signed by nobody whom we trust");
    }
    // A port that does not say otherwise wants STARTTLS.
    assert_said(&probes(&schema(mail.port("plain"), ""), &env(PASSWORD)), "unknown", "offers no STARTTLS");
}

#[test]
fn a_certificate_for_another_name_is_not_trusted() {
    let folder = Folder::new();
    let authority = Authority::new(&folder);
    let identity = authority.issue(&folder, "other", &named("other", &["mail.example.com"]));
    let [certificate, key] = [&identity.certificate, &identity.key].map(|path| path.to_str().unwrap());
    let mail = Script::start("mail.py", &[certificate, key, "shop", PASSWORD]);
    let more = format!("tls = \"implicit\"\nca = \"{}\"", authority.certificate().display());
    let said = probes(&schema(mail.port("implicit"), &more), &env(PASSWORD));
    assert_said(&said, "unknown", "a certificate that is for another name");
}

/// Says a greeting, then one text for each line; gives its port and what it heard.
fn scripted(greeting: &'static str, replies: &'static [&'static str]) -> (u64, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = u64::from(listener.local_addr().unwrap().port());
    let heard = Arc::new(Mutex::new(String::new()));
    let note = Arc::clone(&heard);
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.write_all(greeting.as_bytes());
        let mut reader = BufReader::new(client.try_clone().unwrap());
        for reply in replies {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            note.lock().unwrap().push_str(&line);
            let _ = client.write_all(reply.as_bytes());
        }
        // Until the client has had enough.
        let mut rest = Vec::new();
        let _ = std::io::Read::read_to_end(&mut reader, &mut rest);
        note.lock().unwrap().push_str(&String::from_utf8_lossy(&rest));
    });
    (port, heard)
}

#[test]
fn servers_that_behave_badly_get_nothing() {
    const PLAIN: &str = "tls = \"plain\"";
    let long: &'static str = Box::leak(format!("220 {}\r\n", "x".repeat(5000)).into_boxed_str());
    let many: &'static str = Box::leak("250-X\r\n".repeat(100).into_boxed_str());
    let cases: [(&str, &[&str], &str, &str); 9] = [
        ("554 canary go away\r\n", &[], PLAIN, "answered 554"),
        ("HTTP/1.1 400 Bad Request\r\n", &[], PLAIN, "does not speak the protocol"),
        (long, &[], PLAIN, "does not speak the protocol"),
        ("220 hello\r\n", Box::leak(vec![many].into_boxed_slice()), PLAIN, "does not speak the protocol"),
        ("220 hello\r\n", &["250 hello\r\n"], PLAIN, "offers no login by PLAIN or LOGIN"),
        (
            "220 hello\r\n",
            &["250-hello\r\n250 AUTH CRAM-MD5\r\n"],
            PLAIN,
            "offers no login by PLAIN or LOGIN",
        ),
        ("220 hello\r\n", &["250 hello\r\n"], "", "offers no STARTTLS"),
        ("220 hello\r\n", &["250-hello\r\n250 STARTTLS\r\n", "454 later\r\n"], "", "answered 454"),
        // What comes with the answer came in the clear, and would be taken for what TLS brought.
        (
            "220 hello\r\n",
            &["250-hello\r\n250 STARTTLS\r\n", "220 go\r\n250-hello\r\n250 AUTH PLAIN\r\n"],
            "",
            "says more in the clear",
        ),
    ];
    for (greeting, replies, more, part) in cases {
        let (port, heard) = scripted(greeting, replies);
        let said = probes(&schema(port, more), &env(PASSWORD));
        assert_said(&said, "unknown", part);
        assert!(!said.concat().contains("canary"), "{said:?}");
        assert!(!heard.lock().unwrap().contains("AUTH"), "{part}: the login was sent");
    }
}

#[test]
fn an_answer_to_a_login_is_right_wrong_or_nothing() {
    for (code, outcome, part) in [
        ("235 canary\r\n", "works", "works"),
        ("535 canary\r\n", "wrong", "(535)"),
        ("454 canary\r\n", "unknown", "with 454"),
        ("534 canary\r\n", "unknown", "with 534"),
        ("421 canary\r\n", "unknown", "with 421"),
    ] {
        let replies: Vec<&'static str> = vec!["250-hello\r\n250 AUTH PLAIN\r\n", code, "221 bye\r\n"];
        let (port, _) = scripted("220 hello\r\n", Box::leak(replies.into_boxed_slice()));
        let said = probes(&schema(port, "tls = \"plain\""), &env(PASSWORD));
        assert_said(&said, outcome, part);
        assert!(!said.concat().contains("canary"), "{said:?}");
    }
}
