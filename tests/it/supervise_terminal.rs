//! A supervised program at a terminal, with a shell that has job control: it is as if it
//! had been started without us. Each story is told of the bare program too.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, killpg};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::{Pid, tcgetpgrp};

use crate::program::{Folder, SMALL_SCHEMA};

/// How long anything here may take at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(5);

/// In nothing that is typed, so that an echo is not taken for it.
const PROMPT: &str = "@@ ";

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// How a program is started. What a test types has `$R` before it.
#[derive(Debug, Clone, Copy)]
enum Way {
    Bare,
    Supervised(&'static str),
}

/// What is claimed to be the same.
const BOTH: [Way; 2] = [Way::Bare, Way::Supervised("")];

impl Way {
    fn words(self) -> String {
        match self {
            Self::Bare => "env".to_owned(),
            Self::Supervised(options) => {
                format!("{} run --watch {options} --", env!("CARGO_BIN_EXE_dlconf"))
            }
        }
    }
}

/// A terminal with a person before it.
struct Terminal {
    way: Way,
    folder: Folder,
    ours: File,
    theirs: File,
    said: Arc<Mutex<Vec<u8>>>,
    /// How much of it was looked at.
    seen: usize,
    first: Child,
}

impl Terminal {
    /// With a shell.
    fn with_shell(way: Way) -> Self {
        let shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"].map(str::to_owned);
        let mut terminal = Self::with(way, &shell);
        terminal.until(PROMPT);
        terminal
    }

    /// With one program and no shell, as the first process of a container has it.
    fn with_program(way: Way, script: &str) -> Self {
        let words = way.words();
        let words = words.split(' ').filter(|word| !word.is_empty()).chain(["sh", "-c", script]);
        Self::with(way, &words.map(str::to_owned).collect::<Vec<_>>())
    }

    fn with(way: Way, program: &[String]) -> Self {
        let folder = Folder::new();
        folder.file("dlconf.schema.toml", SMALL_SCHEMA);
        let pair = openpty(None, None).unwrap();
        let (ours, theirs) = (File::from(pair.master), File::from(pair.slave));
        for end in [&ours, &theirs] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).args(program).current_dir(folder.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.envs([("PS1", PROMPT), ("TERM", "dumb"), ("R", &way.words())]);
        let stream = || Stdio::from(theirs.try_clone().unwrap());
        let first = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let (mut from, into) = (ours.try_clone().unwrap(), Arc::clone(&said));
        // It ends when the last program that has the terminal does, and with this process.
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                into.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { way, folder, ours, theirs, said, seen: 0, first }
    }

    fn press(&mut self, keys: &str) -> &mut Self {
        self.ours.write_all(keys.as_bytes()).unwrap();
        self
    }

    fn enter(&mut self, line: &str) -> &mut Self {
        self.press(line).press("\n")
    }

    /// Waits until this was said, after what was waited for before.
    #[track_caller]
    fn until(&mut self, text: &str) -> &mut Self {
        let began = Instant::now();
        loop {
            let said = self.said();
            if let Some(at) = said[self.seen..].find(text) {
                self.seen += at + text.len();
                return self;
            }
            assert!(began.elapsed() < PATIENCE, "{:?}: {text:?} was not said:\n{said}", self.way);
            sleep(TICK);
        }
    }

    #[track_caller]
    fn wait(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            assert!(began.elapsed() < PATIENCE, "{:?}: not {what}:\n{}", self.way, self.said());
            sleep(TICK);
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.ours).unwrap()
    }

    /// The group in the foreground.
    fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.ours).ok()
    }

    /// The number that the program wrote into the file `pid`.
    fn program(&self) -> Pid {
        self.wait("a number", |terminal| read_pid(&terminal.folder).is_some());
        read_pid(&self.folder).unwrap()
    }

    fn resize(&self, rows: u32, columns: u32) {
        let size = [format!("{rows}"), format!("{columns}")];
        let mut stty = Command::new("stty");
        stty.args(["rows", &size[0], "cols", &size[1]]).stdin(Stdio::from(self.theirs.try_clone().unwrap()));
        assert!(stty.status().unwrap().success());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whoever is in the foreground, then the shell or the one program.
        let foreground = self.foreground().filter(|group| group.as_raw() > 1);
        let _gone = foreground.map(|group| killpg(group, Signal::SIGKILL));
        let _gone = self.first.kill();
        let _gone = self.first.wait();
    }
}

fn read_pid(folder: &Folder) -> Option<Pid> {
    let text = fs::read_to_string(folder.join("pid")).ok()?;
    text.strip_suffix('\n')?.parse().ok().map(Pid::from_raw)
}

/// A process's state, as `/proc` says.
fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Says what it reads, and how it is signalled.
const READS: &str = "$R sh -c 'echo $$ > pid; echo rea$((1))dy; read x; echo got=$x='";

/// Goes on until told to. (It starts nothing meanwhile: a shell that is stopped between
/// fork and exec of its own child does not stop.)
const WORKS: &str = "$R sh -c 'echo $$ > pid; mkfifo go; echo rea$((1))dy; read x < go; echo do$((1))ne'";

#[test]
fn ctrl_c_ends_the_program() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        terminal.enter(READS).until("rea1dy").press(CTRL_C).until(PROMPT);
        terminal.enter("echo code=$?=").until("code=130=");
    }
}

#[test]
fn ctrl_c_is_heard_once() {
    const COUNT: &str = "import signal, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
print('rea%ddy' % 1, flush=True)
while not seen:
    time.sleep(0.005)
end = time.monotonic() + 0.3
while time.monotonic() < end:
    time.sleep(0.005)
print('seen=%d=' % len(seen), flush=True)
";
    for (way, line) in
        BOTH.into_iter().flat_map(|way| [(way, "$R python3 count"), (way, "$R python3 count | cat")])
    {
        let mut terminal = Terminal::with_shell(way);
        terminal.folder.file("count", COUNT);
        // A pipeline's other end ends by it.
        let line = line.replace("cat", "sh -c \"trap : INT; cat; cat\"");
        terminal.enter(&line).until("rea1dy").press(CTRL_C).until("seen=1=");
    }
}

#[test]
fn ctrl_z_stops_and_fg_continues() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        terminal.enter(READS).until("rea1dy").press(CTRL_Z).until("Stopped").until(PROMPT);
        assert_eq!(state(terminal.program()), Some('T'), "{way:?}");
        // More than once, and it reads on.
        terminal.enter("fg").until("\n").wait("continued", |t| state(t.program()) == Some('S'));
        terminal.press(CTRL_Z).until("Stopped").until(PROMPT);
        terminal.enter("fg").until("\n").enter("hello").until("got=hello=");
        terminal.until(PROMPT).enter("echo code=$?=").until("code=0=");
    }
}

#[test]
fn bg_continues_in_the_background() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        terminal.enter(WORKS).until("rea1dy").press(CTRL_Z).until("Stopped").until(PROMPT);
        assert_eq!(state(terminal.program()), Some('T'), "{way:?}");
        let shell = terminal.foreground();
        terminal.enter("bg").until(PROMPT).wait("continued", |t| state(t.program()) != Some('T'));
        assert_eq!(terminal.foreground(), shell, "{way:?}: it took the terminal");
        terminal.enter("jobs").until("Running").until(PROMPT).enter(": > go; wait").until("do1ne");
        terminal.enter("echo code=$?=").until("code=0=");
        assert_eq!(terminal.foreground(), shell, "{way:?}: it took the terminal");
    }
}

#[test]
fn what_comes_back_from_the_background_hears_the_keys() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        terminal.enter(&format!("{WORKS} &")).until("rea1dy").enter("fg").until("\n");
        let shell = Pid::from_raw(terminal.first.id().cast_signed());
        terminal.wait("in the foreground", |t| t.foreground() != Some(shell));
        terminal.press(CTRL_Z).until("Stopped").until(PROMPT);
        assert_eq!(state(terminal.program()), Some('T'), "{way:?}");
        terminal.enter("fg").until("\n").wait("continued", |t| state(t.program()) != Some('T'));
        terminal.press(CTRL_C).until(PROMPT).enter("echo code=$?=").until("code=130=");
    }
}

#[test]
fn reading_from_the_background_stops_it_until_fg() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        terminal.enter(&format!("{READS} &")).until("rea1dy");
        terminal.wait("stopped", |t| state(t.program()) == Some('T'));
        let began = Instant::now();
        loop {
            terminal.enter("jobs; echo en$((1))d").until("en1d");
            if terminal.said().contains("Stopped") {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{way:?}: the shell saw nothing: {}", terminal.said());
        }
        let shell = terminal.foreground();
        terminal.enter("fg").wait("in the foreground", |t| t.foreground() != shell);
        terminal.enter("hello").until("got=hello=");
    }
}

#[test]
fn in_a_pipeline_it_reads_stops_continues_and_ends() {
    const LINE: &str = "$R sh -c 'echo $$ > pid; echo rea$((1))dy; read x < /dev/tty; echo got=$x=; read x < /dev/tty' | cat";
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        terminal.enter(LINE).until("rea1dy").press(CTRL_Z).until("Stopped").until(PROMPT);
        terminal.wait("stopped", |t| state(t.program()) == Some('T'));
        terminal.enter("fg").until("\n").enter("hello").until("got=hello=");
        terminal.press(CTRL_C).until(PROMPT).enter("echo code=$?=").until("code=130=").until(PROMPT);
        // Both of them, where the shell can still tell.
        terminal.enter(LINE).until("rea1dy").press(CTRL_C).until(PROMPT);
        terminal.enter("echo code=${PIPESTATUS[*]}=").until("code=130 130=");
    }
}

#[test]
fn ctrl_c_ends_the_script_that_it_is_in() {
    // One that leaves the terminal alone, and one that asks for it.
    for (way, wait) in BOTH.into_iter().flat_map(|way| [(way, "exec sleep 1000"), (way, "read x")]) {
        let mut terminal = Terminal::with_shell(way);
        let script = format!("$R sh -c 'echo $$ > pid; echo rea$((1))dy; {wait}'\necho survived\n");
        terminal.folder.file("script", &script);
        terminal.enter("bash script").until("rea1dy");
        if wait == "read x" && matches!(way, Way::Supervised(_)) {
            terminal.wait("given the terminal", |t| t.foreground() == Some(t.program()));
        }
        terminal.press(CTRL_C).until(PROMPT).enter("echo code=$?=").until("code=130=");
        assert!(!terminal.said().contains("survived"), "{way:?}: {}", terminal.said());
    }
}

#[test]
fn a_script_has_the_terminal_again_when_the_program_ended() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        let script = "$R sh -c 'echo rea$((1))dy; read x; echo got=$x='\nread y\necho after=$y=\n";
        terminal.folder.file("script", script);
        terminal.enter("bash script").until("rea1dy").enter("hello").until("got=hello=");
        terminal.enter("again").until("after=again=");
    }
}

#[test]
fn the_window_size_is_told() {
    const LINE: &str = "$R python3 size";
    const SIZE: &str = "import os, signal, time
def say(text): os.write(1, text.encode())
size = lambda: 'size=%d,%d=' % os.get_terminal_size(0)[::-1]
signal.signal(signal.SIGWINCH, lambda *_: say(size()))
say('rea%ddy' % 1)
while True:
    time.sleep(0.02)
";
    for (way, after) in BOTH.into_iter().flat_map(|way| [(way, ""), (way, " | cat")]) {
        let mut terminal = Terminal::with_shell(way);
        terminal.folder.file("size", SIZE);
        terminal.enter(&format!("{LINE}{after}")).until("rea1dy");
        for (rows, columns) in [(40, 100), (41, 101)] {
            terminal.resize(rows, columns);
            terminal.until(&format!("size={rows},{columns}="));
        }
        terminal.press(CTRL_C).until(PROMPT);
    }
}

#[test]
fn a_killed_program_leaves_the_terminal_as_it_was() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        let before = terminal.modes();
        terminal.enter("$R sh -c 'stty raw -echo; kill -KILL $$'").until("\n");
        terminal.until(PROMPT).enter("echo code=$?=").until("code=137=");
        assert_eq!(terminal.modes(), before, "{way:?}");
    }
}

#[test]
fn what_a_program_sets_at_the_terminal_stays() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        terminal.enter("$R stty -echo").until("\n").until(PROMPT);
        terminal.enter("echo code=$?=").until("code=0=").enter("stty -a; echo en$((1))d").until("en1d");
        assert!(terminal.said().contains(" -echo "), "{way:?}: {}", terminal.said());
    }
}

#[test]
fn the_program_finds_its_signals_as_without_us() {
    let found = BOTH.map(|way| {
        let mut terminal = Terminal::with_shell(way);
        terminal
            .enter("trap '' HUP; $R grep -E '^Sig(Blk|Ign)' /proc/self/status; echo en$((1))d")
            .until("en1d");
        let said = terminal.said();
        said.lines().filter(|line| line.starts_with("Sig")).map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(found[0].len(), 2, "{found:?}");
    assert_eq!(found[0], found[1]);
}

#[test]
fn a_shell_in_it_has_job_control() {
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        terminal.enter("PS1='%% ' $R bash --norc --noprofile --noediting -i").until("\n").until("%% ");
        terminal.enter("sleep 1000").until("\n");
        terminal.wait("the sleeper", |t| running(t.foreground(), "sleep"));
        terminal
            .press(CTRL_Z)
            .until("Stopped")
            .until("%% ")
            .enter("kill -KILL %1; disown -a; echo en$((1))d")
            .until("en1d");
        terminal.enter("exit 7").until(PROMPT).enter("echo code=$?=").until("code=7=");
    }
}

fn running(group: Option<Pid>, name: &str) -> bool {
    let comm = group.and_then(|group| fs::read_to_string(format!("/proc/{group}/comm")).ok());
    comm.is_some_and(|comm| comm.trim_end() == name)
}

#[test]
fn without_a_shell_ctrl_z_stops_nothing() {
    for way in [Way::Bare, Way::Supervised(""), Way::Supervised("--keep-alive --max-restarts 0")] {
        let mut terminal =
            Terminal::with_program(way, "echo rea$((1))dy; read x; echo got=$x=; read y; echo $y");
        terminal.until("rea1dy").press(CTRL_Z).press(CTRL_Z).enter("hello").until("got=hello=");
        terminal.press(CTRL_C).wait("over", |_| true);
        assert_eq!(exit(&mut terminal), 130, "{way:?}: {}", terminal.said());
    }
}

/// The code that a shell would see.
fn exit(terminal: &mut Terminal) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let began = Instant::now();
    loop {
        if let Some(status) = terminal.first.try_wait().unwrap() {
            return status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        }
        assert!(began.elapsed() < PATIENCE, "it goes on: {}", terminal.said());
        sleep(TICK);
    }
}

#[test]
fn a_session_of_its_own_has_no_terminal_and_stops_and_continues() {
    let mut terminal = Terminal::with_shell(Way::Supervised("--setsid"));
    let line = WORKS.replace("echo $$ > pid;", "echo $$ > pid; : < /dev/tty || echo no$((1))ne;");
    let line = line.replace(": < /dev/tty", "(: < /dev/tty) 2> /dev/null");
    terminal.enter(&line).until("no1ne").until("rea1dy");
    terminal.press(CTRL_Z).until("Stopped").until(PROMPT);
    assert_eq!(state(terminal.program()), Some('T'));
    terminal.enter("fg").until("\n").wait("continued", |t| state(t.program()) != Some('T'));
    terminal.press(CTRL_Z).until("Stopped").until(PROMPT).enter("bg").until(PROMPT);
    terminal.wait("continued", |t| state(t.program()) != Some('T'));
    let shell = terminal.foreground();
    terminal.enter("fg").wait("in the foreground", |t| t.foreground() != shell);
    terminal.press(CTRL_C).until(PROMPT).enter("echo code=$?=").until("code=130=");
}

#[test]
fn who_asks_for_a_terminal_that_nobody_will_give_does_not_stand_still() {
    // In the background of a terminal, and disowned. Without us the read fails.
    for way in BOTH {
        let mut terminal = Terminal::with_shell(way);
        let script = "mkfifo go; read x < go
$R sh -c 'read x < /dev/tty; echo re$((1))ad; kill -HUP $$'
echo $? > code
";
        terminal.folder.file("script", script);
        // What started it has ended when the shell asks again.
        terminal.enter("(bash script &)").until(PROMPT).wait("begun", |t| t.folder.join("go").exists());
        terminal.enter(": > go");
        terminal
            .wait("over", |t| fs::read_to_string(t.folder.join("code")).is_ok_and(|code| code == "129\n"));
    }
}

#[test]
fn who_stops_the_program_alone_in_the_background_continues_it_alone() {
    let mut terminal = Terminal::with_shell(Way::Supervised(""));
    terminal.enter(&format!("{WORKS} &")).until("rea1dy");
    let program = terminal.program();
    nix::sys::signal::kill(program, Signal::SIGSTOP).unwrap();
    terminal.wait("stopped", |_| state(program) == Some('T'));
    terminal.enter("jobs").until("Running").until(PROMPT);
    assert_eq!(state(program), Some('T'));
    nix::sys::signal::kill(program, Signal::SIGCONT).unwrap();
    terminal.enter(": > go").until("do1ne");
}
