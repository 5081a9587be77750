//! Logins at the PostgreSQL of `tests/run`, and at servers that behave badly.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::tls::{Accept, acceptor};
use super::{assert_said, probes, var};
use crate::bao::postgres::{query, url};
use crate::bao::tls::{Authority, named};
use crate::program::Folder;

const PASSWORD: &str = "canary-Zp6Hs3Yd5Bc0";

fn schema(host: &str, port: u16, user: &str, more: &str) -> String {
    format!(
        "{}{}[probe.db]\nkind = \"postgres\"\nsecret = \"DB_PASSWORD\"\nhost = \"{host}\"\nport = {port}\n\
         name = \"${{DB_NAME}}\"\nuser = \"{user}\"\n{more}\n",
        var("DB_PASSWORD", "password"),
        var("DB_NAME", "string"),
    )
}

fn env(password: &str, database: &str) -> String {
    format!("DB_PASSWORD='{password}'\nDB_NAME={database}\n")
}

/// A role of a test's own, which ends with it.
struct Role(String);

impl Role {
    fn new(name: &str, attributes: &str) -> Self {
        let name = format!("probe_{name}_{}", std::process::id());
        query(&format!("create role {name} {attributes} password '{PASSWORD}'"));
        Self(name)
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        query(&format!("drop role {}", self.0));
    }
}

#[test]
fn right_and_wrong_are_told_apart() {
    let port = url().port().unwrap();
    let role = Role::new("login", "login");
    let plain = |user: &str| schema("127.0.0.1", port, user, "ssl_mode = \"disable\"");
    assert_said(&probes(&plain(&role.0), &env(PASSWORD, "postgres")), "works", "DB_PASSWORD works");
    assert_said(&probes(&plain(&role.0), &env("another", "postgres")), "wrong", "(28P01)");
    assert_said(&probes(&plain("probe_nobody"), &env(PASSWORD, "postgres")), "wrong", "(28P01)");
    // The password was right before the database was looked for.
    assert_said(&probes(&plain(&role.0), &env(PASSWORD, "no_such_database")), "works", "works");
    assert_said(&probes(&plain(&role.0), &env("another", "no_such_database")), "wrong", "(28P01)");
    let locked = Role::new("locked", "nologin");
    assert_said(&probes(&plain(&locked.0), &env(PASSWORD, "postgres")), "wrong", "(28000)");
}

#[test]
fn without_tls_only_what_asks_for_none_goes_on() {
    let port = url().port().unwrap();
    let role = Role::new("tls", "login");
    for mode in ["", "ssl_mode = \"require\"", "ssl_mode = \"verify-ca\"", "ssl_mode = \"verify-full\""] {
        let said = probes(&schema("127.0.0.1", port, &role.0, mode), &env(PASSWORD, "postgres"));
        assert_said(&said, "unknown", "offers no TLS");
    }
    for mode in ["ssl_mode = \"prefer\"", "ssl_mode = \"allow\""] {
        let said = probes(&schema("127.0.0.1", port, &role.0, mode), &env(PASSWORD, "postgres"));
        assert_said(&said, "works", "works");
    }
    let by_variable = schema("127.0.0.1", port, &role.0, "ssl_mode = \"${MODE}\"") + &var("MODE", "string");
    let env = env(PASSWORD, "postgres");
    assert_said(&probes(&by_variable, &format!("{env}MODE=disable\n")), "works", "works");
    assert_said(
        &probes(&by_variable, &format!("{env}MODE=off\n")),
        "unknown",
        "MODE is none of libpq's modes",
    );
}

/// A message of a server.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], &length[..], body].concat()
}

fn asks(kind: u32, body: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes()[..], body].concat())
}

/// What a client says at once, and what it answers to each of these.
fn serve(mut stream: impl Read + Write, says: &[Vec<u8>]) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut some = [0; 4096];
    for say in says {
        match stream.read(&mut some) {
            Ok(read @ 1..) => heard.extend_from_slice(&some[..read]),
            _ => return heard,
        }
        if stream.write_all(say).and_then(|()| stream.flush()).is_err() {
            return heard;
        }
    }
    while let Ok(read @ 1..) = stream.read(&mut some) {
        heard.extend_from_slice(&some[..read]);
    }
    heard
}

/// Serves one connection; gives its port, and what it heard.
fn fake(tls: Option<Accept>, says: Vec<Vec<u8>>) -> (u16, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let (mut client, _): (TcpStream, _) = listener.accept().unwrap();
        let Some(tls) = tls else { return serve(client, &says) };
        let mut request = [0; 8];
        client.read_exact(&mut request).unwrap();
        assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47], "no SSLRequest");
        client.write_all(b"S").unwrap();
        serve(tls.over(client), &says)
    });
    (port, served)
}

fn contains(heard: &[u8], text: &str) -> bool {
    heard.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn servers_that_behave_badly_are_not_believed() {
    let ok = || asks(0, b"");
    let ready = || [ok(), message(b'Z', b"I")].concat();
    let first = b"r=abc,s=QSXCR+Q6sek8bf92,i=4096";
    for (says, outcome, part) in [
        // `trust` lets everybody in.
        (vec![ready()], "unknown", "without a password"),
        (vec![message(b'Z', b"I")], "unknown", "does not speak the protocol"),
        // It says that it is satisfied and proves nothing.
        (vec![asks(10, b"SCRAM-SHA-256\0\0"), ready()], "unknown", "does not prove"),
        // A nonce that is not ours.
        (vec![asks(10, b"SCRAM-SHA-256\0\0"), asks(11, first)], "unknown", "does not speak the protocol"),
        (vec![asks(10, b"SCRAM-SHA-256\0\0"), asks(12, b"v=AAAA")], "unknown", "does not prove"),
        (vec![asks(11, first)], "unknown", "does not speak the protocol"),
        (vec![asks(10, b"SCRAM-SHA-256-PLUS\0\0")], "unknown", "a login that a probe does not know"),
        (vec![asks(7, b"")], "unknown", "a login that a probe does not know"),
        (vec![message(b'E', b"SFATAL\0C28000\0Mcanary\0\0")], "unknown", "before it asks for a password"),
        (vec![message(b'E', b"SFATAL\0C53300\0Mcanary\0\0")], "unknown", "(53300)"),
        (vec![message(b'E', b"SFATAL\0C\x1b[1mx\0Mcanary\0\0")], "unknown", "refuses the connection (1mx)"),
        // 4 GiB, and a message of minus one byte.
        (vec![vec![b'R', 255, 255, 255, 255]], "unknown", "does not speak the protocol"),
        (vec![vec![b'R', 0, 0, 0, 3]], "unknown", "does not speak the protocol"),
        (vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()], "unknown", "does not speak the protocol"),
        // MD5 and the password itself, to this machine.
        (vec![asks(5, b"salt"), ready()], "works", "works"),
        (vec![asks(3, b""), ready()], "works", "works"),
        (vec![asks(3, b""), message(b'E', b"C28P01\0\0")], "wrong", "(28P01)"),
        (vec![asks(3, b""), [ok(), message(b'E', b"C3D000\0\0")].concat()], "works", "works"),
        (vec![asks(3, b""), message(b'E', b"C57P03\0\0")], "unknown", "(57P03)"),
    ] {
        let takes_password = says[0] == asks(3, b"");
        let (port, served) = fake(None, says);
        let said =
            probes(&schema("127.0.0.1", port, "shop", "ssl_mode = \"disable\""), &env(PASSWORD, "shop"));
        assert_said(&said, outcome, part);
        assert!(!said.concat().contains("canary"), "{said:?}");
        let heard = served.join().unwrap();
        assert!(contains(&heard, "user\0shop\0database\0shop\0"), "{part}");
        assert_eq!(contains(&heard, PASSWORD), takes_password, "{part}");
    }
}

#[test]
fn tls_is_verified_as_the_mode_says() {
    let folder = Folder::new();
    let authority = Authority::new(&folder);
    let own = authority.server(&folder);
    let other = authority.issue(&folder, "other", &named("other", &["db.example.com"]));
    let ca = format!("ca = \"{}\"", authority.certificate().display());
    let (wrong_name, unknown) = ("for another name", "signed by nobody whom we trust");
    for (identity, mode, ca, outcome, part) in [
        (&own, "verify-full", &*ca, "works", "works"),
        (&own, "verify-full", "", "unknown", unknown),
        (&own, "verify-ca", "", "unknown", unknown),
        (&other, "verify-full", &*ca, "unknown", wrong_name),
        (&other, "verify-ca", &*ca, "works", "works"),
        // As libpq: with an authority, `require` asks who signed it.
        (&other, "require", &*ca, "works", "works"),
        (&other, "require", "", "works", "works"),
        (&other, "prefer", "", "works", "works"),
    ] {
        let says = vec![asks(5, b"salt"), [asks(0, b""), message(b'Z', b"I")].concat()];
        let (port, served) = fake(Some(acceptor(identity)), says);
        let more = format!("ssl_mode = \"{mode}\"\n{ca}");
        let said = probes(&schema("127.0.0.1", port, "shop", &more), &env(PASSWORD, "shop"));
        assert_said(&said, outcome, part);
        assert_eq!(contains(&served.join().unwrap(), "user\0shop\0"), outcome == "works", "{mode} {ca}");
    }
    // An authority that did not sign it.
    let foreign = Folder::new();
    let ca = format!("ca = \"{}\"", Authority::new(&foreign).certificate().display());
    for mode in ["require", "verify-ca", "verify-full"] {
        let (port, served) = fake(Some(acceptor(&own)), vec![asks(3, b"")]);
        let more = format!("ssl_mode = \"{mode}\"\n{ca}");
        let said = probes(&schema("127.0.0.1", port, "shop", &more), &env(PASSWORD, "shop"));
        assert_said(&said, "unknown", unknown);
        assert!(served.join().unwrap().is_empty(), "{mode}");
    }
}
