//! The files of a dotenv source.

use std::fs;
use std::path::Path;

use super::*;
use crate::source::FaultKind;

#[allow(clippy::disallowed_methods, reason = "a test's own files")]
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn source(folder: &Path, files: &[(&str, bool)]) -> DotenvSource {
    let files = files
        .iter()
        .map(|&(name, optional)| EnvFile {
            path: folder.join(name),
            label: Arc::from(name),
            optional,
            beneath: None,
        })
        .collect();
    DotenvSource::new(SourceName::new("dotenv"), files)
}

#[test]
fn the_local_files_are_for_development() {
    assert_eq!(
        four_files("development", true),
        [".env", ".env.development", ".env.local", ".env.development.local"]
    );
    assert_eq!(four_files("production", false), [".env", ".env.production"]);
}

#[test]
fn files_are_read_in_order_and_an_optional_one_may_be_missing() {
    let folder = folder(&[(".env", "A=1\nB=2\n"), (".env.local", "A=3\n")]);
    let source = source(folder.path(), &[(".env", false), (".env.production", true), (".env.local", true)]);
    let layer = source.read().unwrap();
    let offers: Vec<_> = layer.offers.iter().map(|o| format!("{} {}", o.key, o.origin.location)).collect();
    assert_eq!(offers, ["A .env:1:3", "B .env:2:3", "A .env.local:1:3"]);
    let places: Vec<_> = layer.places.iter().map(|place| &*place.label).collect();
    assert_eq!(places, [".env", ".env.local"]);
    assert!(layer.places.iter().all(|place| place.mode.is_some()));
}

#[test]
fn everything_wrong_in_all_files_is_told_at_once() {
    let folder = folder(&[("one", "A=1\nB C=2\n"), ("two", "D=\"x\n")]);
    let source = source(folder.path(), &[("one", true), ("none", false), ("two", true), (".", true)]);
    let error = source.read().unwrap_err();
    let faults: Vec<_> = error.faults.iter().map(|f| (f.kind, f.location.to_string())).collect();
    assert_eq!(
        faults,
        [
            (FaultKind::Malformed, "one:2:2".to_owned()),
            (FaultKind::Unreachable, "none".to_owned()),
            (FaultKind::Malformed, "two:1:3".to_owned()),
            (FaultKind::Unreachable, ".".to_owned()),
        ]
    );
}

#[test]
fn a_nul_byte_is_a_fault_with_its_place() {
    let text = "A=1\nB=x\0y\nC=\"\\0000\"\nD=${A:-a\0b}\nE=\"$A\0\"\nF='\0'\n";
    let folder = folder(&[(".env", text)]);
    let error = source(folder.path(), &[(".env", false)]).read().unwrap_err();
    let faults: Vec<_> = error.faults.iter().map(|f| format!("{} {}", f.location, f.message)).collect();
    let message = "holds a NUL byte, which no environment can carry";
    assert_eq!(
        faults,
        [("2:3", "B"), ("3:3", "C"), ("4:3", "D"), ("5:3", "E"), ("6:3", "F")]
            .map(|(at, name)| format!(".env:{at} {name} {message}"))
    );
    assert!(error.faults.iter().all(|f| f.kind == FaultKind::Malformed));
}

#[test]
fn no_file_is_read_outside_the_folder_it_must_lie_in() {
    let outside = folder(&[("env", "A=1\n")]);
    let folder = folder(&[(".env.staging", "B=2\n")]);
    std::os::unix::fs::symlink(outside.path().join("env"), folder.path().join(".env")).unwrap();
    let file = |name: &str, beneath: Option<&Path>| EnvFile {
        path: folder.path().join(name),
        label: Arc::from(name),
        optional: true,
        beneath: beneath.map(Path::to_owned),
    };
    let fetch = |beneath| {
        let files = [".env", ".env.staging", ".env.local"].map(|name| file(name, beneath)).into();
        DotenvSource::new(SourceName::new("dotenv"), files).read()
    };
    let faults = fetch(Some(folder.path())).unwrap_err().faults;
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].kind, faults[0].location.to_string()), (FaultKind::NotPermitted, ".env".into()));
    assert_eq!(fetch(None).unwrap().offers.len(), 2);
}
