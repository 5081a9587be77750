//! A proxy before a plain-HTTP server: it notes every request, and can cut the
//! line. It changes no byte of what it lets through.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use super::http::{Request, read_request};

/// What happens on the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Line {
    Open,
    /// Connections are closed as soon as they are made.
    Refusing,
    /// Requests are taken and noted, and get no answer for now.
    Hanging,
    /// The proxy is gone.
    Down,
}

struct State {
    line: Line,
    requests: Vec<Request>,
    connections: Vec<TcpStream>,
}

/// Stands before a server until dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Proxy {
    /// `server` is `http://HOST:PORT`.
    pub(crate) fn to(server: &str) -> Self {
        let server = server.strip_prefix("http://").expect("a plain-HTTP server").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { line: Line::Open, requests: Vec::new(), connections: Vec::new() };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let proxy = Self { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = shared.0.lock().unwrap();
                match state.line {
                    Line::Down => return,
                    Line::Refusing => continue,
                    Line::Open | Line::Hanging => state.connections.push(client.try_clone().unwrap()),
                }
                drop(state);
                let (shared, server) = (Arc::clone(&shared), server.clone());
                thread::spawn(move || {
                    carry(&client, &server, &shared);
                    // Either side's end is the connection's.
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        proxy
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far as `(method, path)`, in the order they came.
    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        self.full_requests().into_iter().map(|r| (r.method, r.path)).collect()
    }

    /// The same with headers and bodies.
    pub(crate) fn full_requests(&self) -> Vec<Request> {
        self.shared.0.lock().unwrap().requests.clone()
    }

    /// Forgets the requests so far, and gives them.
    pub(crate) fn take_requests(&self) -> Vec<(String, String)> {
        let taken = std::mem::take(&mut self.shared.0.lock().unwrap().requests);
        taken.into_iter().map(|r| (r.method, r.path)).collect()
    }

    /// Lets everything through again; what hung goes on.
    pub(crate) fn pass(&self) {
        self.set(Line::Open);
    }

    /// Cuts every connection, and each new one as soon as it is made.
    pub(crate) fn refuse(&self) {
        self.set(Line::Refusing);
    }

    /// Takes requests and connections, and answers none.
    pub(crate) fn hang(&self) {
        self.set(Line::Hanging);
    }

    fn set(&self, line: Line) {
        let mut state = self.shared.0.lock().unwrap();
        state.line = line;
        if matches!(line, Line::Refusing | Line::Down) {
            for connection in state.connections.drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        self.shared.1.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Line::Down);
        // Wakes the one that accepts, so that it sees it.
        let _ = TcpStream::connect(self.address);
    }
}

/// Carries one connection until either side ends it.
fn carry(client: &TcpStream, server: &str, shared: &Arc<(Mutex<State>, Condvar)>) {
    let Ok(mut upstream) = TcpStream::connect(server) else { return };
    let (mut from_server, mut to_client) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
    let answers = Arc::clone(shared);
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count @ 1..) = from_server.read(&mut bytes) {
            if !open_line(&answers) || to_client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut reader = BufReader::new(client);
    while let Ok(Some(request)) = read_request(&mut reader) {
        let raw = request.raw.clone();
        shared.0.lock().unwrap().requests.push(request);
        if !open_line(shared) || upstream.write_all(&raw).is_err() {
            break;
        }
    }
    let _ = upstream.shutdown(Shutdown::Both);
}

/// Waits while the line hangs; whether it is open then.
fn open_line(shared: &(Mutex<State>, Condvar)) -> bool {
    let state = shared.0.lock().unwrap();
    shared.1.wait_while(state, |s| s.line == Line::Hanging).unwrap().line == Line::Open
}
