//! The encoders against the readers they name: ten thousand values in one file,
//! read back by the real reader, each exactly or refused for a documented reason.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests, the functions they share included")]
#![expect(clippy::print_stdout, reason = "the counts are for whoever runs this with --no-capture")]

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dlconf::delivery::encode::{Format, Options, encode};
use dlconf::model::key::Key;
use dlconf::model::secret::SecretValue;
use regex::Regex;
use saphyr_parser::{Event, Parser};

const COUNT: usize = 10_000;
const SEED: u64 = 0x0000_D1C0_4F00_0005;

/// Pieces that some reader treats as more than text.
const HOSTILE: [&str; 46] = [
    "'", "\"", "`", "\\", "$", "#", "=", ":", ";", "&", "|", "<", ">", "(", ")", "{", "}", "[", "]", "!",
    "~", "*", "?", "%", "@", "^", ",", "-", " ", "\t", "\n", "\r", "\0", "\u{1}", "\u{7F}", "\u{85}",
    "\u{A0}", "\u{2019}", "\u{2028}", "\u{FEFF}", "\u{FFFE}", "ü", "😀", "n", "r", "X",
];

/// Texts that people and programs really have, or that were misread somewhere.
const KNOWN: [&str; 40] = [
    "${X}",
    "${X:-y}",
    "${",
    "$X",
    "$V1",
    "${V1}",
    "$$",
    "$(id)",
    "`id`",
    "$((1+1))",
    "\\$(id)",
    "%PATH%",
    "!!",
    "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
    "p@ss#word",
    "p@ss #word",
    "#comment",
    "C:\\new\\readme",
    "C:\\Program Files\\",
    "\\\\server\\share\\",
    "{\"a\":\"b\"}",
    "\"quoted\"",
    "'quoted'",
    "say \"hi\"",
    "it's",
    "it's `a` \"b\"",
    "it's `a` \\n",
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----\n",
    "a\r\nb\r\n",
    "a\nV1=injected\nb",
    "'\nV1=injected\n'",
    "\"\nexport V1=\"injected\"\n",
    "x\u{2019}; $env:V1 = \u{2019}injected",
    "null",
    "no",
    "1e3",
    "~",
    "0o17",
    "\u{1F}\u{1C}",
    "مرحبا שלום",
];

/// The values: what is known to hurt, every pair of hostile pieces, long ones,
/// and then what a generator with a fixed seed makes.
fn corpus() -> Vec<String> {
    let mut values: Vec<String> = vec![String::new()];
    values.extend(KNOWN.map(str::to_owned));
    for first in HOSTILE {
        values.push(first.to_owned());
        values.extend(HOSTILE.map(|second| format!("{first}{second}")));
        values.push(format!("{first}text{first}"));
    }
    // Docker's limit, on either side; the key and `=` take about five bytes.
    values.extend((65_528..65_533).map(|length| "x".repeat(length)));
    values.push("'\"\\$\n".repeat(30_000));

    let mut random = Random(SEED);
    while values.len() < COUNT {
        values.push(random.value());
    }
    values
}

/// SplitMix64: the same values on every machine and in every release.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn value(&mut self) -> String {
        let kind = self.below(4);
        (0..=self.below(24)).map(|_| self.piece(kind)).collect()
    }

    fn piece(&mut self, kind: usize) -> String {
        const PORTABLE: &str = "ABCabcxyz0189_!%*+,./:=?@^{}[]-üß日本😀";
        match kind {
            0 => PORTABLE.chars().nth(self.below(PORTABLE.chars().count())).unwrap().to_string(),
            1 => char::from(b' ' + u8::try_from(self.below(95)).unwrap()).to_string(),
            2 => HOSTILE[self.below(HOSTILE.len())].to_owned(),
            _ => loop {
                let code = self.below(0x11_0000) >> (4 * self.below(5));
                if let Some(c) = u32::try_from(code).ok().and_then(char::from_u32) {
                    break c.to_string();
                }
            },
        }
    }
}

/// Whether a format documents that it refuses such a value. Written from the
/// documentation, so that an encoder that refuses more than that fails too.
struct Documented {
    portable: Regex,
    noncharacter: Regex,
    bare: Regex,
}

impl Documented {
    fn new() -> Self {
        let planes = (0..=16).map(|plane| format!("\\x{{{plane:X}FFFE}}\\x{{{plane:X}FFFF}}"));
        let noncharacters = format!("\\x{{FDD0}}-\\x{{FDEF}}{}", planes.collect::<String>());
        Self {
            portable: Regex::new(&format!(
                r"\A(?:[A-Za-z0-9_!%*+,./:=?@^{{}}\[\]-]|[^\x00-\x7F\s\p{{Cc}}\x{{FEFF}}{noncharacters}])*\z"
            ))
            .unwrap(),
            noncharacter: Regex::new(&format!("[{noncharacters}]")).unwrap(),
            bare: Regex::new(r#"\A[^\s\p{Cc}\x{FEFF}#$'"`](?: |[^\s\p{Cc}\x{FEFF}#$])*\z"#).unwrap(),
        }
    }

    fn refused(&self, format: Format, key: &str, value: &str) -> bool {
        let too_long = key.len() + 1 + value.len() >= 65_536;
        let unclosed = value.ends_with('\\') && !self.bare.is_match(value);
        let fits = |quote: char| {
            !value.contains(quote) && (quote != '"' || (!value.contains(r"\n") && !value.contains(r"\r")))
        };
        let own = match format {
            Format::Json | Format::Yaml | Format::K8sSecret => return false,
            Format::Compose | Format::Shell | Format::Powershell => false,
            Format::Dotenv => too_long || !self.portable.is_match(value),
            Format::Docker => too_long || value.contains('\n') || value.contains('\r'),
            Format::Systemd => self.noncharacter.is_match(value),
            Format::Godotenv => value.ends_with('"') || unclosed,
            Format::Node => {
                let quoted = !value.ends_with('\\') && ['\'', '"', '`'].into_iter().any(fits);
                value.contains('\r') || unclosed || !(quoted || value.ends_with('\\'))
            }
            Format::Python => value.contains('\r') || value.contains("${") || unclosed,
        };
        own || value.contains('\0')
    }
}

/// A program that reads a file and prints what it got.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// `tests/readers/read.py`, by the name of a reader in it.
    Python(&'static str),
    Node,
    Go,
    /// A shell and how it takes the file in.
    Shell(&'static str, &'static str),
}

impl Reader {
    /// What the reader got; nothing where this machine cannot have it.
    fn read(self, file: &Path) -> Option<BTreeMap<String, String>> {
        let tools = std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run, which installs the tools");
        let tools = PathBuf::from(tools);
        let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers").join(name);
        let count = OsString::from(COUNT.to_string());
        let (program, arguments): (PathBuf, Vec<OsString>) = match self {
            Self::Python(name) => {
                (tools.join("venv/bin/python3"), vec![script("read.py").into(), name.into()])
            }
            Self::Node => {
                ("node".into(), vec![script("read.js").into(), tools.join("node_modules/dotenv").into()])
            }
            Self::Go => (tools.join("godotenv"), Vec::new()),
            Self::Shell(shell, how) => (shell.into(), vec![script("read.sh").into(), how.into()]),
        };
        let mut command = Command::new(&program);
        command.args(arguments).arg(file).env("LC_ALL", "C.UTF-8").env("PYTHONUTF8", "1");
        if matches!(self, Self::Shell(..)) {
            command.arg(count);
        }
        let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(77) {
            println!("NOT TESTED, {self:?}: {told}");
            return None;
        }
        assert!(output.status.success(), "{self:?}: {}", told.chars().take(2000).collect::<String>());
        let text = String::from_utf8(output.stdout).expect("readers print UTF-8");
        Some(match self {
            Self::Shell(..) => text
                .split_terminator('\0')
                .map(|entry| entry.split_once('=').unwrap())
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            _ => serde_json::from_str(&text).unwrap(),
        })
    }
}

/// Encodes the corpus, without what is refused, and reads it back with each
/// reader.
fn check(format: Format, readers: &[Reader]) {
    let corpus: Vec<(Key, SecretValue)> = corpus()
        .iter()
        .enumerate()
        .map(|(index, value)| (Key::new(&format!("V{index}")).unwrap(), SecretValue::from(value.as_str())))
        .collect();
    let every: Vec<(&Key, &SecretValue)> = corpus.iter().map(|(key, value)| (key, value)).collect();
    let options = Options { name: Some("round-trip".into()), namespace: None };

    let refused: HashSet<Key> =
        encode(format, &every, &options).err().into_iter().flatten().map(|refused| refused.key).collect();
    let documented = Documented::new();
    for (key, value) in &every {
        assert_eq!(
            refused.contains(*key),
            documented.refused(format, key.as_str(), value.expose()),
            "{} of {key}: {:?}",
            format.as_str(),
            short(value.expose())
        );
    }

    let kept: Vec<_> = every.into_iter().filter(|(key, _)| !refused.contains(*key)).collect();
    let text = encode(format, &kept, &options).expect("what was refused is left out");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.expose().as_bytes()).unwrap();
    for reader in readers {
        let Some(read) = reader.read(file.path()) else { continue };
        for (key, value) in &kept {
            let got = read.get(key.as_str());
            assert!(
                got.is_some_and(|got| got == value.expose()),
                "{} by {reader:?}, {key}: {:?} became {:?}",
                format.as_str(),
                short(value.expose()),
                got.map(|got| short(got))
            );
        }
        assert_eq!(read.len(), kept.len(), "{} by {reader:?}: nothing else is set", format.as_str());
        println!("{} by {reader:?}: {} exact, {} refused", format.as_str(), kept.len(), refused.len());
    }
}

fn short(value: &str) -> String {
    value.chars().take(200).collect()
}

#[test]
fn dotenv_means_the_same_to_seven_readers() {
    check(
        Format::Dotenv,
        &[
            Reader::Python("compose"),
            Reader::Python("docker"),
            Reader::Python("python"),
            Reader::Python("systemd"),
            Reader::Shell("bash", "allexport"),
            Reader::Node,
            Reader::Go,
        ],
    );
}

#[test]
fn compose_reads_it_back() {
    check(Format::Compose, &[Reader::Python("compose")]);
}

#[test]
fn docker_reads_it_back() {
    check(Format::Docker, &[Reader::Python("docker")]);
}

#[test]
fn systemd_reads_it_back() {
    check(Format::Systemd, &[Reader::Python("systemd")]);
}

#[test]
fn shells_read_it_back() {
    let shells = [("bash", "source"), ("bash", "eval"), ("sh", "source"), ("sh", "eval")];
    check(Format::Shell, &shells.map(|(shell, how)| Reader::Shell(shell, how)));
}

#[test]
fn powershell_reads_it_back() {
    check(Format::Powershell, &[Reader::Python("powershell")]);
}

#[test]
fn godotenv_reads_it_back() {
    check(Format::Godotenv, &[Reader::Go]);
}

#[test]
fn node_reads_it_back() {
    check(Format::Node, &[Reader::Node]);
}

#[test]
fn python_reads_it_back() {
    check(Format::Python, &[Reader::Python("python")]);
}

#[test]
fn json_reads_back() {
    check(Format::Json, &[Reader::Python("json")]);
}

#[test]
fn yaml_reads_back() {
    check(Format::Yaml, &[Reader::Python("yaml")]);
}

/// YAML 1.2 by another parser; PyYAML above is YAML 1.1.
#[test]
fn yaml_reads_back_in_its_newer_version() {
    let values = corpus();
    let keys: Vec<Key> = (0..COUNT).map(|index| Key::new(&format!("V{index}")).unwrap()).collect();
    let secrets: Vec<SecretValue> = values.iter().map(|value| SecretValue::from(value.as_str())).collect();
    let entries: Vec<(&Key, &SecretValue)> = keys.iter().zip(&secrets).collect();
    let text = encode(Format::Yaml, &entries, &Options::default()).unwrap();
    let scalars: Vec<String> = Parser::new_from_str(text.expose())
        .filter_map(|event| match event.unwrap().0 {
            Event::Scalar(scalar, ..) => Some(scalar.into_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(scalars.len(), 2 * COUNT);
    for (pair, (key, value)) in scalars.chunks(2).zip(keys.iter().zip(&values)) {
        assert!(pair == [key.as_str(), value], "{key}: {:?} became {:?}", short(value), short(&pair[1]));
    }
    println!("yaml by saphyr-parser: {COUNT} exact, 0 refused");
}

/// The longest names too: YAML has a limit for a key before its colon.
#[test]
fn yaml_reads_long_names_back() {
    for length in [999, 1000, 1001, 1022, 1023, 5000] {
        let key = Key::new(&"K".repeat(length)).unwrap();
        let text = encode(Format::Yaml, &[(&key, &SecretValue::from("no"))], &Options::default()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.expose().as_bytes()).unwrap();
        let read = Reader::Python("yaml").read(file.path()).unwrap();
        assert_eq!(read.get(key.as_str()).map(String::as_str), Some("no"), "{length}");
    }
}

#[test]
fn a_secret_reads_back() {
    check(Format::K8sSecret, &[Reader::Python("k8s-secret")]);
}

/// Every name that bash itself knows, assigned by a sourced file and passed on
/// to a program, or refused.
#[test]
fn a_shell_passes_on_every_name_that_is_not_refused() {
    let listed = Command::new("bash").args(["-c", "compgen -v"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let more = "APP_PORT PATH HOME RANDOM SRANDOM SECONDS EPOCHSECONDS EPOCHREALTIME BASHPID LINENO GROUPS \
                FUNCNAME DIRSTACK HISTCMD BASH_COMMAND BASH_ARGV0 _";
    let value = SecretValue::from("5 it's");
    for name in listed.lines().chain(more.split_whitespace()).collect::<HashSet<_>>() {
        let key = Key::new(name).unwrap();
        let Ok(text) = encode(Format::Shell, &[(&key, &value)], &Options::default()) else { continue };
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.expose().as_bytes()).unwrap();
        let output = Command::new("bash")
            .args([OsStr::new("-c"), OsStr::new(". \"$1\" && exec /usr/bin/env -0"), OsStr::new("bash")])
            .arg(file.path())
            .output()
            .unwrap();
        let environment = String::from_utf8_lossy(&output.stdout);
        let expected = format!("{name}={}", value.expose());
        assert!(environment.split('\0').any(|entry| entry == expected), "{name}");
    }
}
