//! The pages under `docs/` and the README: every link leads to a file, and every
//! TOML block that stands for a whole file is one.
//!
//! The word behind `toml` says what a block is: `settings`, `settings-offline`
//! (with remote sources, which are passed over), `schema`, `schema-part`, which
//! lacks only the head that every schema has, or `policy`, about the variables of
//! DataLens, in which user 10001 may read those of `cc`. A block without such a word is an
//! excerpt and is not judged. A block `sh run` is run, in a folder where `./server` ends at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::{Folder, Ran, SMALL_SCHEMA};

/// What a `schema-part` leaves out.
const HEAD: &str = "schema_version = 1\n\
    environments = { variable = \"APP_ENV\", names = [\"development\", \"production\"] }\n";

/// What policies in the docs are about.
const DATALENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/datalens.schema.toml");

/// The README and the pages, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> =
        fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.push(root.join("README.md"));
    paths.sort();
    let read = |path: PathBuf| fs::read_to_string(&path).map(|text| (path, text)).unwrap();
    paths.into_iter().map(read).collect()
}

/// A page in pieces.
#[derive(Default)]
struct Page {
    /// The text without fenced blocks and code spans.
    prose: String,
    /// Fenced blocks: the word or words behind the fence, and the content.
    blocks: Vec<(String, String)>,
}

impl Page {
    fn of(text: &str) -> Self {
        let mut page = Self::default();
        let mut open: Option<(usize, String, String)> = None;
        for line in text.lines() {
            let fence = line.trim_start().strip_prefix("```");
            match (open.take(), fence) {
                (None, Some(words)) => {
                    open =
                        Some((line.len() - line.trim_start().len(), words.trim().to_owned(), String::new()));
                }
                (Some((_, words, content)), Some("")) => page.blocks.push((words, content)),
                (Some((indent, words, content)), _) => {
                    open = Some((indent, words, content + line.get(indent..).unwrap_or_default() + "\n"));
                }
                (None, None) => {
                    // Every other piece of a line stands in backticks.
                    page.prose.extend(line.split('`').step_by(2));
                    page.prose.push('\n');
                }
            }
        }
        assert!(open.is_none(), "a block is never closed");
        page
    }

    /// The targets of its links, without the part behind `#`; empty for a link
    /// into the page itself.
    fn links(&self) -> Vec<(&str, &str)> {
        let targets = self.prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default());
        let inner = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        inner.map(|target| target.split_once('#').unwrap_or((target, ""))).collect()
    }
}

/// The anchors that GitHub makes of a page's headings.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if let Some((_, title)) =
            line.split_once("# ").filter(|(head, _)| !fenced && head.trim_matches('#').is_empty())
        {
            let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            anchors.push(kept.collect::<String>().to_lowercase().replace(' ', "-"));
        }
    }
    anchors
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in pages() {
        for (file, anchor) in Page::of(&text).links() {
            seen += 1;
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let is_page = target.extension().is_some_and(|extension| extension == "md");
            let found = target.exists()
                && (anchor.is_empty()
                    || (is_page
                        && anchors(&fs::read_to_string(&target).unwrap()).iter().any(|a| a == anchor)));
            if !found {
                wrong.push(format!("{}: {file}#{anchor}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 100, "only {seen} links were found: is Markdown still read right?");
}

#[test]
fn every_whole_file_in_the_docs_is_understood() {
    let mut judged = [0, 0, 0];
    for (path, text) in pages() {
        for (words, content) in Page::of(&text).blocks {
            let folder = Folder::new();
            folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("config.yaml", "port: 1\n");
            folder.file("app.env", "").file("secrets/port", "1\n");
            let (arguments, code, kind): (&[&str], i32, usize) = match words.as_str() {
                "toml settings" => {
                    folder.file("settings.toml", &content);
                    (&["--config", "settings.toml", "--env", "staging", "check"], 0, 0)
                }
                "toml settings-offline" => {
                    folder.file("settings.toml", &content);
                    (&["--config", "settings.toml", "--env", "staging", "--offline", "check"], 0, 0)
                }
                "toml schema" => {
                    folder.file("dlconf.schema.toml", &content);
                    (&["schema", "lint"], 0, 1)
                }
                "toml schema-part" => {
                    folder.file("dlconf.schema.toml", &format!("{HEAD}{content}"));
                    (&["schema", "lint"], 0, 1)
                }
                "toml policy" => {
                    folder.file("access.toml", &content);
                    let caller = ["--uid", "10001", "--gid", "1", "--var", "service:cc"];
                    let test = ["--schema", DATALENS, "access", "test", "--policy", "access.toml"];
                    (&[&test[..], &caller].concat(), 0, 2)
                }
                _ => continue,
            };
            let ran = folder.run(arguments);
            let (out, err) = (&ran.stdout, &ran.stderr);
            assert_eq!(ran.code, code, "{}:\n{content}\n{out}{err}", path.display());
            assert!(!out.contains("warning:"), "{}:\n{content}\n{out}", path.display());
            judged[kind] += 1;
        }
    }
    assert!(judged.iter().zip([3, 3, 1]).all(|(&count, least)| count >= least), "{judged:?}");
}

#[test]
fn every_command_that_runs_a_program_works() {
    let binary = Path::new(env!("CARGO_BIN_EXE_dlconf")).parent().unwrap().to_owned();
    let path = std::env::join_paths([binary, "/usr/bin".into(), "/bin".into()]).unwrap();
    let mut count = 0;
    for (page, text) in pages() {
        for (_, content) in Page::of(&text).blocks.into_iter().filter(|(words, _)| words == "sh run") {
            for line in content.lines().filter(|line| !line.starts_with('#')) {
                let folder = Folder::with_env("TOKEN=0123456789abcdefghijklmnopqrstuv\n");
                folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("server", "#!/bin/sh\nexit 0\n");
                fs::set_permissions(folder.join("server"), fs::Permissions::from_mode(0o755)).unwrap();
                let mut bash = Command::new("bash");
                bash.args(["-euc", line]).current_dir(folder.path());
                let output = bash.env_clear().env("PATH", &path).stdin(Stdio::null()).output().unwrap();
                let ran = Ran::of(&output);
                assert_eq!(ran.code, 0, "{}: {line}\n{}{}", page.display(), ran.stdout, ran.stderr);
                count += 1;
            }
        }
    }
    assert!(count >= 4, "only {count} commands were found");
}
