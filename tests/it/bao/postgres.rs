//! The PostgreSQL that `tests/run` has started, seen past OpenBao.

use std::process::Command;

/// `postgresql://USER:PASSWORD@127.0.0.1:PORT/DATABASE` of a superuser.
pub(crate) fn url() -> url::Url {
    let text = std::env::var("DLCONF_TEST_POSTGRES").expect("run tests/run, which starts PostgreSQL");
    url::Url::parse(&text).unwrap()
}

/// Whether the server knows the role (OpenBao's `username`).
pub(crate) fn role_exists(name: &str) -> bool {
    assert!(!name.contains('\''), "{name}");
    match query(&format!("select count(*) from pg_roles where rolname = '{name}'")).as_str() {
        "0" => false,
        "1" => true,
        other => panic!("psql said {other:?}"),
    }
}

/// Whether the credentials open a connection.
pub(crate) fn accepts(user: &str, password: &str) -> bool {
    let mut url = url();
    url.set_username(user).unwrap();
    url.set_password(Some(password)).unwrap();
    psql(&url, "select 1").status.success()
}

/// What a statement answers, as psql prints it without decoration.
pub(crate) fn query(statement: &str) -> String {
    let output = psql(&url(), statement);
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn psql(url: &url::Url, statement: &str) -> std::process::Output {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--no-password", "-qtA", "-c", statement, url.as_str()]);
    command.output().expect("psql, which tests/run installs")
}
