//! `dlconf run --socket`: a program with the values of a daemon, in a place where
//! there is nothing but the program and the socket.

use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;

use super::*;
use crate::program::Ran;

/// A service's daemon, whose schema has old and dead names too.
fn served() -> Folder {
    let schema = SCHEMA.replace("[var.NOTE]", "[retired]\nDEAD = \"nothing reads it\"\n\n[var.NOTE]");
    let schema = schema.replace("default = \"8080\"", "default = \"8080\"\nreplaces = [\"OLD_PORT\"]");
    let folder = home(&["service = \"web\"\n", SOURCES, DELIVERIES, AT_ONCE]);
    folder.file("dlconf.schema.toml", &schema);
    folder
}

/// `dlconf run --socket` in an empty folder.
fn command(empty: &Folder, socket: &Path, options: &[&str], program: &[&str]) -> Command {
    let socket = socket.to_str().unwrap();
    let mut command = empty.command(&[&["run", "--socket", socket], options, &["--"], program].concat());
    command.env("TMPDIR", empty.path());
    command
}

fn run(daemon: &Daemon, options: &[&str], own: &[(&str, &str)], program: &[&str]) -> Ran {
    let empty = Folder::new();
    let mut command = command(&empty, &daemon.socket, options, program);
    let ran = Ran::of(&command.envs(own.iter().copied()).output().unwrap());
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "something was written");
    ran
}

/// What `env` printed, but for what this file sets itself.
fn lines(ran: &Ran) -> Vec<&str> {
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines.retain(|line| !line.starts_with("PATH=") && !line.starts_with("TMPDIR="));
    lines.sort_unstable();
    lines
}

#[test]
fn the_environment_is_that_of_run() {
    let folder = served();
    let daemon = Daemon::ready(&folder);
    let own = [
        ("HOME", "/home/x"),
        ("NAME", "canary"),
        ("NOTE", "canary"),
        ("MODE", "canary"),
        ("OLD_PORT", "canary"),
        ("DEAD", "canary"),
        ("VAULT_TOKEN", "canary"),
        ("DLCONF_ENV", "staging"),
        ("DLCONF_SERVICE", "web"),
        ("DLCONF_SOCKET", "/run/x.sock"),
        ("APP_ENV", "staging"),
    ];
    let token = format!("TOKEN={TOKEN}");
    let ran = run(&daemon, &[], &own, &["env"]).exits(0);
    assert_eq!(
        lines(&ran),
        ["APP_ENV=staging", "DLCONF_SOCKET=/run/x.sock", "HOME=/home/x", "NAME=one", "PORT=9000", &token]
    );
    let ran = run(
        &daemon,
        &["--pristine", "--allow", "LANG", "--allow", "NOTE"],
        &[("LANG", "C"), ("NOTE", "x")],
        &["env"],
    );
    assert_eq!(lines(&ran.exits(0)), ["APP_ENV=staging", "LANG=C", "NAME=one", "PORT=9000", &token]);
    // The variable alone moves no program to another source of values.
    let socket = daemon.socket.to_str().unwrap();
    let local = Folder::with_env("NAME=local\n");
    local.file("dlconf.schema.toml", SCHEMA);
    let ran = local.run_with(&["run", "--", "env"], &[("DLCONF_SOCKET", socket)]);
    ran.exits(125).warns("TOKEN is not set");
}

#[test]
fn less_may_be_asked_for() {
    let folder = served();
    let daemon = Daemon::ready(&folder);
    let own = [("TOKEN", "canary"), ("MAIL_USER", "canary")];
    let ran = run(&daemon, &["--vars", "PORT,group:mail"], &own, &["env"]).exits(0);
    assert_eq!(lines(&ran), ["APP_ENV=staging", "PORT=9000"]);
    let ran = run(&daemon, &["--vars", "PORT", "--vars", "NAME"], &own, &["env"]).exits(0);
    assert_eq!(lines(&ran), ["APP_ENV=staging", "NAME=one", "PORT=9000"]);
    run(&daemon, &["--vars", "NAEM"], &[], &["env"]).exits(125).warns("did you mean NAME?");
    run(&daemon, &["--vars", ""], &[], &["env"]).exits(125).warns("`vars`");
}

#[test]
fn what_contradicts_the_daemon_starts_nothing() {
    let folder = served();
    let daemon = Daemon::ready(&folder);
    let refused = |options: &[&str], own: &[(&str, &str)], words: &[&str]| {
        let ran = run(&daemon, options, own, &["echo", "started"]).exits(125).never_says("started");
        words.iter().fold(ran, |ran, word| ran.warns(word));
    };
    let serves = "serves staging, but ";
    refused(&[], &[("APP_ENV", "production")], &[serves, "APP_ENV is production", "unset APP_ENV"]);
    refused(&[], &[("APP_ENV", "hunter2 is no name")], &[serves, "APP_ENV is another one"]);
    refused(&["--env", "production"], &[], &[serves, "--env or DLCONF_ENV says production"]);
    refused(&[], &[("DLCONF_ENV", "prod")], &[serves]);
    refused(&["--service", "worker"], &[], &["serves service web, but", "says worker"]);
    refused(&["--config", "x.toml"], &[], &["with --socket everything comes from the daemon", "--config"]);
    refused(&[], &[("DLCONF_SCHEMA", "x.toml")], &["--schema (or DLCONF_SCHEMA)"]);
    refused(&["--env-file", ".env"], &[], &["--env-file"]);
    run(&daemon, &[], &[("APP_ENV", "")], &["true"]).exits(0);
    Folder::new().run(&["run", "--vars", "A", "--", "true"]).exits(125).warns("--socket");
    Folder::new().run(&["run", "--wait", "1s", "--", "true"]).exits(125).warns("--socket");
    refused(&["--wait", "soon"], &[], &["30s"]);
}

#[test]
fn exit_codes_are_those_of_run() {
    let folder = served();
    let daemon = Daemon::ready(&folder);
    run(&daemon, &[], &[], &["sh", "-c", "exit 77"]).exits(77);
    run(&daemon, &[], &[], &["no-such-program"]).exits(127).warns("command not found");
    run(&daemon, &[], &[], &["/"]).exits(126);
    fs::remove_file(folder.join("dlconf.sock")).unwrap();
    run(&daemon, &["--wait", "0s"], &[], &["true"])
        .exits(125)
        .warns("no daemon answers at")
        .never_says("waited");
    run(&daemon, &["--wait", "20ms"], &[], &["true"]).exits(125).warns("(waited 20ms)");
}

#[test]
fn whom_the_policy_does_not_know_gets_nothing() {
    let folder =
        home(&[&SOURCES.replace("dlconf.sock\"", "dlconf.sock\"\nmode = \"0666\""), DELIVERIES, AT_ONCE]);
    let daemon = Daemon::ready(&folder);
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let socket = daemon.socket.to_str().unwrap();
    let Some(mut theirs) = as_nobody(&folder, &["run", "--socket", socket, "--", "echo", "started"]) else {
        return;
    };
    let ran = Ran::of(&theirs.output().unwrap()).exits(125).never_says("started").never_says(TOKEN);
    ran.warns("user 65534").warns("dlconf access test --uid 65534 --action read");
}

/// A `dlconf run --socket` that runs, and what it has said.
struct Running {
    child: Child,
    stderr: Arc<Mutex<Vec<String>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::<Mutex<Vec<String>>>::default();
        let (from, to) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
        Self { child, stderr, reader: std::thread::spawn(move || read(from, &to)) }
    }

    fn said(&self) -> String {
        self.stderr.lock().unwrap().join("\n")
    }

    #[track_caller]
    fn says(&self, text: &str) {
        wait_for(text, || self.said(), || self.said().contains(text).then_some(()));
    }

    fn end(mut self) -> (std::process::ExitStatus, String, String) {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        (status, stdout, self.stderr.lock().unwrap().join("\n"))
    }
}

#[test]
fn a_daemon_that_is_just_starting_is_waited_for() {
    let folder = served();
    folder.file(".env", "NAME=one\n");
    let empty = Folder::new();
    let run = Running::start(command(&empty, &folder.join("dlconf.sock"), &[], &["env"]));
    // Nobody is there, …
    run.says("waiting for the daemon at");
    // … then somebody who is not ready, …
    let daemon = Daemon::start(&folder);
    daemon.says(" published yet: [DLC001]");
    wait_for(
        "the question",
        || daemon.page("/metrics").1,
        || {
            (daemon.metric("dlconf_socket_requests_total{route=\"/v1/names\",status=\"200\"}") > 0)
                .then_some(())
        },
    );
    // … and then is.
    put(&folder, ".env", &shop("two"));
    let (status, stdout, stderr) = run.end();
    assert!(status.success(), "{stderr}");
    assert!(stdout.contains("NAME=two\n"), "{stdout}");
    assert_eq!(stderr.matches("waiting for the daemon").count(), 1, "{stderr}");
}

#[test]
fn patience_ends() {
    let folder = served();
    folder.file(".env", "NAME=one\n");
    let daemon = Daemon::start(&folder);
    daemon.says(" published yet: [DLC001]");
    let ran = run(&daemon, &["--wait", "30ms"], &[], &["true"]).exits(125);
    ran.warns("is not ready: no valid configuration was published yet (waited 30ms)");
}

#[test]
fn who_waits_can_be_told_to_end() {
    let empty = Folder::new();
    let run = Running::start(command(&empty, &empty.join("no.sock"), &[], &["true"]));
    run.says("waiting for the daemon at");
    kill(Pid::from_raw(run.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(run.end().0.signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn a_daemon_that_dies_while_it_is_asked_is_told() {
    let folder = served();
    folder.file(".env", "NAME=one\n");
    let daemon = Daemon::start(&folder);
    daemon.says(" published yet: [DLC001]");
    let empty = Folder::new();
    let run = Running::start(command(&empty, &daemon.socket, &[], &["echo", "started"]));
    // It was there all the time: what is waited for is its answer.
    run.says("waiting for the daemon at");
    daemon.signal(Signal::SIGKILL);
    let (status, stdout, stderr) = run.end();
    assert_eq!((status.code(), &*stdout), (Some(125), ""), "{stderr}");
    assert!(stderr.contains("broke off"), "{stderr}");
}

#[test]
fn half_an_answer_is_none() {
    let empty = Folder::new();
    let socket = empty.join("half.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = std::thread::spawn(move || {
        let names = r#"{"environment":"staging","environment_variable":"APP_ENV","service":null,"schema":"s","known":["APP_ENV","A"]}"#;
        let half = format!(r#"{{"version":"7f3a.1","values":{{"A":"{TOKEN}"#);
        for (body, more) in [(names, 0), (&*half, 100)] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            assert!(stream.read(&mut asked).unwrap() > 0);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
            write!(stream, "{head}{}\r\n\r\n{body}", body.len() + more).unwrap();
        }
    });
    let ran = Ran::of(&command(&empty, &socket, &[], &["echo", "started"]).output().unwrap());
    server.join().unwrap();
    let ran = ran.exits(125).warns("broke off in the middle of its answer");
    ran.never_says("started").never_says(TOKEN);
}

/// What a bare exec and this leave the program with must be the same.
#[test]
fn nothing_of_dlconf_is_left_in_the_program() {
    let folder = served();
    let daemon = Daemon::ready(&folder);
    let empty = Folder::new();
    let seen = |program: &[&str]| {
        let mut bare = Command::new(program[0]);
        bare.args(&program[1..]);
        let through = command(&empty, &daemon.socket, &["-q"], program);
        let [through, bare] = [through, bare].map(|mut command| {
            let file = fs::File::create(folder.join("seen")).unwrap();
            let command = command.stdin(Stdio::null()).stdout(file).stderr(Stdio::null());
            assert!(command.status().unwrap().success());
            folder.read("seen")
        });
        assert_eq!(through, bare);
        through
    };
    let descriptors = seen(&["sh", "-c", "for f in /proc/$$/fd/*; do readlink $f; done; ulimit -Sc"]);
    assert!(descriptors.starts_with("/dev/null\n") && !descriptors.contains("socket:"), "{descriptors}");
    // Not through a shell, which has a mask of its own.
    let signals = seen(&["grep", "-E", "^Sig(Blk|Ign|Cgt)|^NoNewPrivs", "/proc/self/status"]);
    assert!(signals.contains("SigBlk"), "{signals}");
}
