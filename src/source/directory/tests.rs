#![allow(clippy::disallowed_methods, reason = "a test's own files")]
use crate::model::layer::Value;
use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn fetch(path: &Path, known: &[&str]) -> Result<Vec<String>, Vec<String>> {
    let known = known.iter().map(|k| Key::new(k).unwrap()).collect();
    let source = DirectorySource::new(SourceName::new("secrets"), path.into(), "/run/secrets", false);
    source
        .read(&known)
        .map(|layer| {
            let offers = layer.offers.iter().map(|o| {
                let Value::Literal(value) = &o.value else { panic!("files have no templates") };
                format!(
                    "{}={:?} @{} r{:?}",
                    o.key,
                    value.expose(),
                    o.origin.location,
                    o.origin.revision.as_ref().map(|r| &*r.0)
                )
            });
            offers.chain(layer.remarks.iter().map(|r| format!("{} {}", r.code, r.origin.location))).collect()
        })
        .map_err(|e| e.faults.iter().map(|f| format!("{}: {}", f.location, f.message)).collect())
}

#[test]
fn one_line_end_is_not_part_of_the_value() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("A", "1\n"), ("B", "2\r\n"), ("C", "3\n\n"), ("D", "4"), ("E", ""), ("F", "5\r")] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let read = fetch(dir.path(), &[]).unwrap();
    let values: Vec<&str> = read.iter().map(|l| l.split(" @").next().unwrap()).collect();
    assert_eq!(values, ["A=\"1\"", "B=\"2\"", "C=\"3\\n\"", "D=\"4\"", "E=\"\"", "F=\"5\\r\""]);
}

#[test]
fn docker_style_names_and_strangers() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["db_password", "other", "tls.crt", ".hidden"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    fs::create_dir(dir.path().join("sub")).unwrap();
    assert_eq!(
        fetch(dir.path(), &["DB_PASSWORD"]).unwrap(),
        [
            "DB_PASSWORD=\"x\" @/run/secrets/db_password rNone",
            "other=\"x\" @/run/secrets/other rNone",
            "DLC030 /run/secrets/tls.crt",
        ]
    );
}

#[test]
fn a_kubernetes_volume_is_read_through_its_data_link() {
    let dir = tempfile::tempdir().unwrap();
    let revision = dir.path().join("..2026_01_01");
    fs::create_dir(&revision).unwrap();
    fs::write(revision.join("JWT_SECRET"), "new").unwrap();
    symlink("..2026_01_01", dir.path().join("..data")).unwrap();
    symlink("..data/JWT_SECRET", dir.path().join("JWT_SECRET")).unwrap();
    assert_eq!(
        fetch(dir.path(), &["JWT_SECRET"]).unwrap(),
        ["JWT_SECRET=\"new\" @/run/secrets/JWT_SECRET rSome(\"..2026_01_01\")"]
    );
}

#[test]
fn what_cannot_be_a_value_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("NUL"), "a\0b").unwrap();
    fs::write(dir.path().join("LATIN"), b"\xff").unwrap();
    fs::write(dir.path().join("LARGE"), vec![b'x'; 1 << 21]).unwrap();
    nix::unistd::mkfifo(&dir.path().join("FIFO"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("nowhere", dir.path().join("DANGLING")).unwrap();
    let names = ["NUL", "LATIN", "LARGE", "FIFO", "DANGLING"];
    let faults = fetch(dir.path(), &names).unwrap_err();
    for name in names {
        assert!(faults.iter().any(|f| f.contains(&format!("/run/secrets/{name}"))), "{name}: {faults:?}");
    }
    assert_eq!(faults.len(), 5);
    fs::write(dir.path().join("GOOD"), "x").unwrap();
    assert_eq!(
        fetch(dir.path(), &["GOOD"]).unwrap(),
        [
            "GOOD=\"x\" @/run/secrets/GOOD rNone",
            "DLC030 /run/secrets/DANGLING",
            "DLC030 /run/secrets/FIFO",
            "DLC030 /run/secrets/LARGE",
            "DLC030 /run/secrets/LATIN:1:1",
            "DLC030 /run/secrets/NUL",
        ],
        "what the schema does not know fails nothing"
    );
}

#[test]
fn of_two_files_for_one_variable_the_exact_name_counts() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["db_name", "DB_NAME", "Db_Name", "api_key", "Api_Key"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let expected = [
        "API_KEY=\"api_key\" @/run/secrets/api_key rNone",
        "DB_NAME=\"DB_NAME\" @/run/secrets/DB_NAME rNone",
        "DLC030 /run/secrets/Api_Key",
        "DLC030 /run/secrets/db_name",
        "DLC030 /run/secrets/Db_Name",
    ];
    assert_eq!(fetch(dir.path(), &["API_KEY", "DB_NAME"]).unwrap(), expected);
    fs::remove_file(dir.path().join("DB_NAME")).unwrap();
    fs::create_dir(dir.path().join("DB_NAME")).unwrap();
    let read = fetch(dir.path(), &["DB_NAME"]).unwrap();
    assert!(read.iter().any(|l| l.starts_with("DB_NAME=\"db_name\"")), "{read:?}");
}

#[test]
fn a_byte_order_mark_stays_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("TOKEN"), "\u{feff}x\n").unwrap();
    assert_eq!(
        fetch(dir.path(), &["TOKEN"]).unwrap(),
        ["TOKEN=\"\\u{feff}x\" @/run/secrets/TOKEN rNone", "DLC060 /run/secrets/TOKEN"]
    );
}

#[test]
fn nothing_is_read_outside_the_folder_it_must_lie_in() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "secret").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets");
    fs::create_dir_all(secrets.join("..1")).unwrap();
    fs::write(secrets.join("A"), "1").unwrap();
    fs::write(secrets.join("..1/B"), "2").unwrap();
    let fetch = || {
        let source = DirectorySource::new(SourceName::new("s"), secrets.clone(), "secrets", false);
        source.beneath(Some(folder.path().to_owned())).read(&BTreeSet::new()).map_or_else(
            |error| error.faults.iter().map(|f| format!("{:?} {}", f.kind, f.location)).collect(),
            |layer| layer.offers.iter().map(|o| o.key.to_string()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(fetch(), ["A"]);
    symlink(outside.path().join("f"), secrets.join("X")).unwrap();
    assert_eq!(fetch(), ["NotPermitted secrets/X"]);
    symlink("..1", secrets.join("..data")).unwrap();
    assert_eq!(fetch(), ["B"]);
    fs::remove_file(secrets.join("..data")).unwrap();
    symlink(outside.path(), secrets.join("..data")).unwrap();
    assert_eq!(fetch(), ["NotPermitted secrets"]);
}

#[test]
fn a_missing_directory_is_a_fault_unless_optional() {
    let faults = fetch(Path::new("/nonexistent/secrets"), &[]).unwrap_err();
    assert_eq!(faults, ["/run/secrets: the directory /run/secrets does not exist"]);
    let source = DirectorySource::new(SourceName::new("s"), "/nonexistent".into(), "x", true);
    assert!(source.read(&BTreeSet::new()).unwrap().offers.is_empty());
}
