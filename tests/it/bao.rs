//! Real OpenBao servers for the tests: the one that `tests/run` has started,
//! shared by namespace, and servers of a test's own to seal, kill and restart.
//!
//! A `Bao` is a client with the root token, for setting up and looking after.
//! What a test sets up in a shared server is in a namespace of its own, so that
//! tests run side by side and need no order. An `OwnBao` ends with the test, also
//! with one that panics.

mod auth;
mod engines;
pub(crate) mod http;
pub(crate) mod postgres;
pub(crate) mod proxy;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::tls::{Authority, Identity};
use crate::program::Folder;

/// How long a server may take for what it does at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, as its administrator sees it.
pub(crate) struct Bao {
    address: SocketAddr,
    /// The authority that a TLS server's certificate is from.
    ca: Option<PathBuf>,
    token: String,
    /// `""` is the root namespace.
    namespace: String,
}

impl Bao {
    /// The shared server, in a fresh namespace with KV v2 at `secret/`.
    pub(crate) fn shared() -> Self {
        let variable = |name| std::env::var(name).expect("run tests/run, which starts OpenBao");
        let address = variable("DLCONF_TEST_BAO_ADDR");
        let address = address.strip_prefix("http://").unwrap().parse().unwrap();
        let mut bao =
            Self { address, ca: None, token: variable("DLCONF_TEST_BAO_TOKEN"), namespace: String::new() };
        let namespace = format!("t{}", random());
        bao.write(&format!("sys/namespaces/{namespace}"), &json!({}));
        bao.namespace = namespace;
        bao.mount_kv("secret", 2);
        bao
    }

    /// The same once more, for another thread.
    pub(crate) fn again(&self) -> Self {
        let (ca, token, namespace) = (self.ca.clone(), self.token.clone(), self.namespace.clone());
        Self { address: self.address, ca, token, namespace }
    }

    /// `http://127.0.0.1:PORT`, or with https.
    pub(crate) fn address(&self) -> String {
        format!("{}://{}", if self.ca.is_some() { "https" } else { "http" }, self.address)
    }

    /// What `VAULT_NAMESPACE` has to be; empty in a server of one's own.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn root_token(&self) -> &str {
        &self.token
    }

    /// The PEM file that a client has to trust, of a TLS server.
    pub(crate) fn ca(&self) -> &Path {
        self.ca.as_deref().expect("a server with TLS")
    }

    /// One request in the namespace: the status and the JSON, `null` without one.
    /// `path` is without `/v1/`. An empty token sends none.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("X-Vault-Token", token)] };
        self.request_with(method, path, headers, body, None)
    }

    /// One with headers as given, and a client certificate.
    pub(crate) fn request_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
        identity: Option<&Identity>,
    ) -> (u16, Value) {
        let answer = self.try_request(method, path, headers, body, identity);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
        identity: Option<&Identity>,
    ) -> std::io::Result<(u16, Value)> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut headers = headers.to_vec();
        if !self.namespace.is_empty() {
            headers.push(("X-Vault-Namespace", &self.namespace));
        }
        let path = format!("/v1/{path}");
        let text = body.map(Value::to_string).unwrap_or_default();
        let host = self.address.to_string();
        let answer = match &self.ca {
            Some(ca) => {
                let stream = tls::connect(stream, ca, identity);
                http::ask(stream, &host, method, &path, &headers, text.as_bytes())
            }
            None => http::ask(stream, &host, method, &path, &headers, text.as_bytes()),
        }?;
        let json = match answer.body.as_slice() {
            [] => Value::Null,
            body => serde_json::from_slice(body)?,
        };
        Ok((answer.status, json))
    }

    /// The status of sys/health; `None` where nothing answers.
    pub(crate) fn health(&self) -> Option<u16> {
        self.try_request("GET", "sys/health", &[], None, None).ok().map(|(status, _)| status)
    }

    /// Writes with the root token, and panics where it is refused.
    #[track_caller]
    pub(crate) fn write(&self, path: &str, body: &Value) -> Value {
        self.must("POST", path, Some(body))
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> Value {
        self.must("GET", path, None)
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) {
        self.must("DELETE", path, None);
    }

    /// The names below a path; none is not an error.
    #[track_caller]
    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        match self.request("LIST", path, &self.token, None) {
            (200, answer) => serde_json::from_value(answer["data"]["keys"].clone()).unwrap(),
            (404, _) => Vec::new(),
            (status, answer) => panic!("LIST {path}: {status} {answer}"),
        }
    }

    #[track_caller]
    fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        match self.request(method, path, &self.token, body) {
            (200..300, answer) => answer,
            (status, answer) => panic!("{method} {path}: {status} {answer}"),
        }
    }
}

/// A server of one test, stopped when dropped.
pub(crate) struct OwnBao {
    bao: Bao,
    process: Option<Child>,
    folder: Folder,
    /// Signed the server's certificate, and signs clients' ones.
    authority: Option<Authority>,
    /// A dev server has none: it unseals itself, and starts empty each time.
    unseal_key: Option<String>,
}

impl Deref for OwnBao {
    type Target = Bao;

    fn deref(&self) -> &Bao {
        &self.bao
    }
}

impl Drop for OwnBao {
    fn drop(&mut self) {
        self.kill();
    }
}

impl OwnBao {
    /// In memory, without TLS, unsealed.
    pub(crate) fn dev() -> Self {
        let token = random();
        Self::begin(|_, _| (None, token.clone()))
    }

    /// With raft storage, which survives a restart (OpenBao 2.7 has no file storage);
    /// initialized, unsealed, KV v2 at `secret/`.
    pub(crate) fn production(with_tls: bool) -> Self {
        let mut own = Self::begin(|folder, address| {
            let authority = with_tls.then(|| Authority::new(folder));
            if let Some(authority) = &authority {
                authority.server(folder);
            }
            std::fs::create_dir(folder.join("data")).unwrap();
            folder.file("server.hcl", &configuration(address, with_tls));
            (authority, String::new())
        });
        let one_share = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let keys = own.write("sys/init", &one_share);
        keys["root_token"].as_str().unwrap().clone_into(&mut own.bao.token);
        own.unseal_key = Some(keys["keys_base64"][0].as_str().unwrap().to_owned());
        own.unseal();
        own.mount_kv("secret", 2);
        own
    }

    /// Starts a server on a port that is free; another one where it was not, after all.
    fn begin(mut prepare: impl FnMut(&Folder, SocketAddr) -> (Option<Authority>, String)) -> Self {
        let mut log = String::new();
        for _ in 0..3 {
            let (folder, address) = (Folder::new(), free_address());
            let (authority, token) = prepare(&folder, address);
            let ca = authority.as_ref().map(|a| a.certificate().to_owned());
            let bao = Bao { address, ca, token, namespace: String::new() };
            let mut own = Self { bao, process: None, folder, authority, unseal_key: None };
            match own.try_start() {
                Ok(()) => return own,
                Err(what) => log = what,
            }
        }
        panic!("OpenBao did not start: {log}");
    }

    /// Starts it again after `kill` or `stop`: same port, same storage, sealed if it has any.
    pub(crate) fn start(&mut self) {
        self.try_start().unwrap_or_else(|log| panic!("OpenBao did not start: {log}"));
    }

    /// Stops it in order and has it again, unsealed.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start();
        if self.unseal_key.is_some() {
            self.unseal();
        }
    }

    pub(crate) fn seal(&self) {
        self.must("PUT", "sys/seal", None);
        self.wait_for(503);
    }

    pub(crate) fn unseal(&self) {
        let key = self.unseal_key.as_ref().expect("a production server");
        self.write("sys/unseal", &json!({ "key": key }));
        // A raft node is its own leader only after a moment.
        self.wait_for(200);
    }

    /// As a power cut does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// As an operator does.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("a running server");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        process.wait().unwrap();
    }

    /// A certificate of the authority that the server trusts for `cert_role`s.
    pub(crate) fn client(&self, common_name: &str) -> Identity {
        self.authority.as_ref().expect("a server with TLS").client(&self.folder, common_name)
    }

    fn try_start(&mut self) -> Result<(), String> {
        assert!(self.process.is_none(), "it runs");
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let mut command = Command::new(binary());
        command.arg("server").env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        let dev = !self.folder.join("server.hcl").exists();
        if dev {
            command.args(["-dev", "-dev-no-store-token"]);
            command.env("BAO_DEV_ROOT_TOKEN_ID", &self.token);
            command.env("BAO_DEV_LISTEN_ADDRESS", self.bao.address.to_string());
        } else {
            command.arg("-config=server.hcl");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let ready = poll(|| match self.health() {
            _ if self.ended() => Some(false),
            // Unsealed; and this server, not another one on its port.
            Some(200) if dev => {
                Some(self.request("GET", "auth/token/lookup-self", &self.token, None).0 == 200)
            }
            Some(_) if !dev => Some(true),
            _ => None,
        });
        if ready == Some(true) {
            return Ok(());
        }
        self.kill();
        Err(self.folder.read("log"))
    }

    fn ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|p| p.try_wait().unwrap().is_some())
    }

    fn wait_for(&self, health: u16) {
        let reached = poll(|| (self.health() == Some(health)).then_some(()));
        assert!(
            reached.is_some(),
            "health is {:?}, not {health}: {}",
            self.health(),
            self.folder.read("log")
        );
    }
}

/// The configuration file of a server that keeps what it is told, in its working directory.
fn configuration(address: SocketAddr, has_tls: bool) -> String {
    let (tls, scheme) = if has_tls {
        ("tls_cert_file = \"server.pem\"\n tls_key_file = \"server.key\"", "https")
    } else {
        ("tls_disable = true", "http")
    };
    let cluster = free_address();
    // The multiplier is raft's own pace; OpenBao's default waits 5 s for a leader.
    format!(
        "storage \"raft\" {{\n path = \"data\"\n node_id = \"one\"\n performance_multiplier = 1\n}}\n\
         listener \"tcp\" {{\n address = \"{address}\"\n cluster_address = \"{cluster}\"\n {tls}\n}}\n\
         api_addr = \"{scheme}://{address}\"\ncluster_addr = \"https://{cluster}\"\n"
    )
}

fn binary() -> OsString {
    std::env::var_os("DLCONF_TEST_BAO_BINARY").expect("run tests/run, which installs OpenBao")
}

/// An address that nobody listens on, below the ports that the kernel gives to
/// outgoing connections: a stopped server finds it free again.
fn free_address() -> SocketAddr {
    let found = poll(|| {
        let port = 10_000 + u16::try_from(random_number() % 20_000).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    found.expect("a free port")
}

/// Asks until there is an answer, for as long as patience lasts.
pub(crate) fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            answer => return answer,
        }
    }
}

fn random_number() -> u64 {
    getrandom::u64().unwrap()
}

fn random() -> String {
    format!("{:016x}", random_number())
}

/// Sets what `options` names, over what is there.
fn merge(body: &mut Value, options: &Value) {
    for (name, value) in options.as_object().expect("an object of options") {
        body[name] = value.clone();
    }
}
