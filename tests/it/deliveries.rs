//! The two deliveries into files, through the library: what they touch, what they
//! refuse, what they make.
#![allow(clippy::disallowed_methods, reason = "a test's own files")]

mod stress;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use dlconf::delivery::config::DeliveryKind;
use dlconf::delivery::directory::Directory;
use dlconf::delivery::encode::Format;
use dlconf::delivery::env_file::EnvFile;
use dlconf::delivery::{Delivery, DeliveryError, Outcome};
use dlconf::model::finding::Code;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};

use crate::released::{config, directory, env_file, names, released, scratch};

const ONE: &[(&str, &str)] = &[("A", "uno-1"), ("B", "two\nlines")];
const TWO: &[(&str, &str)] = &[("A", "second"), ("C", "three")];

#[track_caller]
fn deliver(delivery: &mut dyn Delivery, values: &[(&str, &str)], expected: Outcome) {
    assert_eq!(delivery.deliver(&released(values)).unwrap(), expected);
}

#[track_caller]
fn refused(delivery: &mut dyn Delivery, values: &[(&str, &str)]) -> DeliveryError {
    let error = delivery.deliver(&released(values)).unwrap_err();
    let text = format!("{error} {}", error.help);
    assert!(values.iter().all(|(_, value)| !text.contains(value)), "{text}");
    assert!(!error.help.is_empty());
    error
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Whatever an unneeded write would change.
fn stamp(path: &Path) -> (u64, i64, i64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.ino(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec())
}

/// Where readers of a directory delivery are led.
fn data(path: &Path) -> PathBuf {
    path.join(fs::read_link(path.join("..data")).unwrap())
}

#[test]
fn an_env_file_is_written_with_its_mode_and_only_when_it_differs() {
    let folder = scratch();
    let path = folder.path().join("app.env");
    let mut delivery = EnvFile::new(&env_file(&path));
    deliver(&mut delivery, ONE, Outcome::Changed);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"A\": \"uno-1\",\n  \"B\": \"two\\nlines\"\n}\n");
    assert_eq!(mode(&path), 0o440);
    let before = (stamp(&path), stamp(folder.path()));
    deliver(&mut delivery, ONE, Outcome::Unchanged);
    deliver(&mut EnvFile::new(&env_file(&path)), ONE, Outcome::Unchanged);
    assert_eq!((stamp(&path), stamp(folder.path())), before, "not touched at all");

    // Other bytes of the same length, and a longer and a shorter content.
    deliver(&mut delivery, &[("A", "unu-1"), ("B", "two\nlines")], Outcome::Changed);
    deliver(&mut delivery, TWO, Outcome::Changed);
    deliver(&mut delivery, &[("A", "x")], Outcome::Changed);
    assert_eq!(names(folder.path()), ["app.env"]);
}

#[test]
fn a_wrong_mode_is_mended_and_is_no_change() {
    let folder = scratch();
    let path = folder.path().join("app.env");
    let mut delivery = EnvFile::new(&env_file(&path));
    deliver(&mut delivery, ONE, Outcome::Changed);
    let before = stamp(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    deliver(&mut delivery, ONE, Outcome::Unchanged);
    assert_eq!(mode(&path), 0o440);
    assert_ne!(stamp(&path).0, before.0, "exchanged, so that who has opened the wide one gets nothing new");

    let path = folder.path().join("secrets");
    let mut delivery = Directory::new(&directory(&path));
    deliver(&mut delivery, ONE, Outcome::Changed);
    for what in ["A", "."] {
        fs::set_permissions(data(&path).join(what), fs::Permissions::from_mode(0o777)).unwrap();
        deliver(&mut delivery, ONE, Outcome::Unchanged);
        assert_eq!((mode(&data(&path).join("A")), mode(&data(&path))), (0o440, 0o750));
    }
}

#[test]
fn a_directory_is_laid_out_as_the_kubelet_does() {
    let folder = scratch();
    let path = folder.path().join("secrets");
    let mut delivery = Directory::new(&directory(&path));
    deliver(&mut delivery, ONE, Outcome::Changed);
    assert_eq!(mode(&path), 0o750);
    assert_eq!(fs::read_link(path.join("A")).unwrap(), Path::new("..data/A"));
    assert_eq!(fs::read_to_string(path.join("B")).unwrap(), "two\nlines", "no line end is added");
    let first = data(&path);
    assert_eq!(names(&first), ["A", "B"]);
    assert_eq!((mode(&first), mode(&first.join("A"))), (0o750, 0o440));
    assert_eq!(first.parent(), Some(path.as_path()));

    let before = [&path, &first, &first.join("A")].map(|path| stamp(path));
    deliver(&mut delivery, ONE, Outcome::Unchanged);
    deliver(&mut Directory::new(&directory(&path)), ONE, Outcome::Unchanged);
    assert_eq!([&path, &first, &first.join("A")].map(|path| stamp(path)), before, "not touched at all");

    fs::write(path.join("README"), "not ours").unwrap();
    symlink("elsewhere", path.join("LINK")).unwrap();
    deliver(&mut delivery, TWO, Outcome::Changed);
    let second = data(&path);
    let own = second.file_name().unwrap().to_str().unwrap();
    assert_eq!(names(&path), [own, "..data", "A", "C", "LINK", "README"]);
    assert_eq!(fs::read_to_string(path.join("C")).unwrap(), "three");
    deliver(&mut delivery, &[("A", "sEcond"), ("C", "three")], Outcome::Changed);
    deliver(&mut delivery, &[("A", "sEcond"), ("D", "three")], Outcome::Changed);
}

#[test]
fn who_has_opened_the_old_reads_all_of_it() {
    use std::io::Read as _;
    let folder = scratch();
    let path = folder.path().join("app.env");
    let mut delivery = EnvFile::new(&env_file(&path));
    deliver(&mut delivery, ONE, Outcome::Changed);
    let mut reader = File::open(&path).unwrap();
    deliver(&mut delivery, TWO, Outcome::Changed);
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert!(read.contains("uno-1"));
}

#[test]
fn a_link_that_is_missing_is_made_and_told() {
    let folder = scratch();
    let path = folder.path().join("secrets");
    let mut delivery = Directory::new(&directory(&path));
    deliver(&mut delivery, ONE, Outcome::Changed);
    fs::remove_file(path.join("A")).unwrap();
    deliver(&mut delivery, ONE, Outcome::Changed);
    assert_eq!(fs::read_to_string(path.join("A")).unwrap(), "uno-1");
    deliver(&mut delivery, ONE, Outcome::Unchanged);
}

#[test]
fn what_the_format_cannot_carry_is_named_and_leaves_the_old() {
    let folder = scratch();
    let path = folder.path().join("app.env");
    let mut delivery = EnvFile::new(&config(DeliveryKind::EnvFile { format: Format::Docker }, &path));
    deliver(&mut delivery, TWO, Outcome::Changed);
    let before = stamp(&path);
    let error = refused(&mut delivery, &[("A", "a\nb"), ("FINE", "f-i-n-e"), ("Z", "y\nz")]);
    assert_eq!(error.code, Some(Code::NotRepresentable));
    assert_eq!(
        error.message,
        format!(
            "{} cannot carry, for docker: A (the value holds a line break, and the reader takes every line \
             for itself), Z (the value holds a line break, and the reader takes every line for itself)",
            path.display()
        )
    );
    assert!(error.help.contains("compose, systemd, shell"), "{}", error.help);
    assert_eq!(stamp(&path), before);

    let mut delivery = Directory::new(&directory(&folder.path().join("secrets")));
    deliver(&mut delivery, &[("A", "a\nb")], Outcome::Changed);
}

#[test]
fn a_secret_is_named_after_its_delivery() {
    let folder = scratch();
    let path = folder.path().join("secret.yaml");
    let mut config = config(DeliveryKind::EnvFile { format: Format::K8sSecret }, &path);
    deliver(&mut EnvFile::new(&config), ONE, Outcome::Changed);
    assert!(fs::read_to_string(&path).unwrap().contains("name: \"test\""));
    config.name = "No_Label".into();
    let error = refused(&mut EnvFile::new(&config), ONE);
    assert!(error.message.contains("DNS-1123"), "{error}");
}

/// Both kinds, for what holds of both: where they write, and the delivery.
fn both(path: &Path) -> [Box<dyn Delivery>; 2] {
    [Box::new(EnvFile::new(&env_file(path))), Box::new(Directory::new(&directory(path)))]
}

#[test]
fn a_link_above_is_refused_with_the_path_to_write() {
    let folder = scratch();
    let real = folder.path().join("run/dlconf");
    fs::create_dir_all(&real).unwrap();
    fs::create_dir(folder.path().join("var")).unwrap();
    symlink("../run", folder.path().join("var/run")).unwrap();
    let (named, link) = (folder.path().join("var/run/dlconf"), folder.path().join("var/run"));
    let error = refused(&mut EnvFile::new(&env_file(&named.join("app.env"))), ONE);
    assert_eq!(
        error.message,
        format!("the folder {} cannot be trusted: {} is a symbolic link", named.display(), link.display())
    );
    assert_eq!(error.help, format!("write {}, which {} leads to", real.display(), named.display()));

    // Missing behind the link, with and without leave to make it; the directory itself.
    for create in [false, true] {
        let mut config = env_file(&folder.path().join("var/run/other/app.env"));
        config.create_dirs = create;
        let error = refused(&mut EnvFile::new(&config), ONE);
        assert!(error.help.contains("run/other, which "), "{}", error.help);
        let mut config = directory(&named);
        config.create_dirs = create;
        assert!(refused(&mut Directory::new(&config), ONE).message.contains("is a symbolic link"));
    }
    symlink(&real, folder.path().join("link")).unwrap();
    let error = refused(&mut Directory::new(&directory(&folder.path().join("link"))), ONE);
    assert!(error.help.starts_with(&format!("write {}", real.display())), "{}", error.help);
    symlink("nowhere", folder.path().join("dangling")).unwrap();
    let error = refused(&mut EnvFile::new(&env_file(&folder.path().join("dangling/app.env"))), ONE);
    assert_eq!(error.help, "write the folder's own path");
    assert_eq!(names(&real), [""; 0]);
    assert_eq!(names(&folder.path().join("run")), ["dlconf"]);
}

#[test]
fn links_swapped_in_between_deliveries_are_refused() {
    let folder = scratch();
    let (run, away) = (folder.path().join("run"), folder.path().join("away"));
    fs::create_dir(&run).unwrap();
    let mut file = EnvFile::new(&env_file(&run.join("app.env")));
    let mut files = Directory::new(&directory(&run.join("secrets")));
    deliver(&mut file, ONE, Outcome::Changed);
    deliver(&mut files, ONE, Outcome::Changed);

    // In the place of the folder.
    fs::rename(&run, &away).unwrap();
    symlink(&away, &run).unwrap();
    for delivery in [&mut file as &mut dyn Delivery, &mut files] {
        assert!(refused(delivery, TWO).message.contains("is a symbolic link"));
        assert!(delivery.clean().unwrap_err().message.contains("is a symbolic link"));
    }
    assert!(fs::read_to_string(away.join("app.env")).unwrap().contains("uno-1"));
    assert_eq!(fs::read_to_string(away.join("secrets/A")).unwrap(), "uno-1");

    // In the place of the target.
    fs::remove_file(&run).unwrap();
    fs::rename(&away, &run).unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::remove_file(run.join("app.env")).unwrap();
    symlink(&victim, run.join("app.env")).unwrap();
    let error = refused(&mut file, TWO);
    assert_eq!(
        error.message,
        format!("{} is a symbolic link, so it is not replaced", run.join("app.env").display())
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn what_is_no_file_is_refused_and_left_alone() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    fs::create_dir(at("dir")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let before = names(folder.path());
    for (name, what) in [("fifo", "a named pipe"), ("dir", "a directory"), ("socket", "a socket")] {
        let error = refused(&mut EnvFile::new(&env_file(&at(name))), ONE);
        assert_eq!(error.message, format!("{} is {what}, so it is not replaced", at(name).display()));
    }
    assert!(refused(&mut Directory::new(&directory(&at("fifo"))), ONE).message.contains("fifo"));
    if Uid::effective().is_root() {
        let error = refused(&mut EnvFile::new(&env_file(Path::new("/dev/null"))), ONE);
        assert!(error.message.contains("/dev/null is a device"), "{error}");
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn another_name_of_the_file_keeps_the_old_bytes() {
    let folder = scratch();
    let path = folder.path().join("app.env");
    let mut delivery = EnvFile::new(&env_file(&path));
    deliver(&mut delivery, ONE, Outcome::Changed);
    fs::hard_link(&path, folder.path().join("other")).unwrap();
    deliver(&mut delivery, TWO, Outcome::Changed);
    assert!(fs::read_to_string(folder.path().join("other")).unwrap().contains("uno-1"));
    assert!(fs::read_to_string(&path).unwrap().contains("second"));
}

#[test]
fn foreign_entries_in_the_place_of_a_name_are_refused() {
    let folder = scratch();
    let path = folder.path().join("secrets");
    let place = |entry: &str, make: &dyn Fn(&Path)| {
        fs::create_dir(&path).unwrap();
        make(&path.join(entry));
        let before = names(&path);
        let error = refused(&mut Directory::new(&directory(&path)), ONE);
        assert!(error.message.contains(entry), "{error}");
        assert!(error.message.ends_with("so it is not replaced"), "{error}");
        assert_eq!(names(&path), before);
        fs::remove_dir_all(&path).unwrap();
    };
    place("B", &|at| fs::write(at, "theirs").unwrap());
    place("B", &|at| fs::create_dir(at).unwrap());
    place("B", &|at| symlink("/etc/passwd", at).unwrap());
    place("B", &|at| symlink("..data/A", at).unwrap());
    place("..data", &|at| fs::write(at, "theirs").unwrap());
    place("..data", &|at| fs::create_dir(at).unwrap());
    place("..data", &|at| symlink("/etc", at).unwrap());
    place("..data", &|at| symlink("..2026_11_22_07_07_40.123456789", at).unwrap());
    place("..data_tmp", &|at| fs::write(at, "theirs").unwrap());
}

#[test]
fn missing_folders_are_made_only_when_asked() {
    let folder = scratch();
    for (name, is_directory) in [("file", false), ("directory", true)] {
        let above = folder.path().join(name);
        let path = above.join("deep/target");
        let mut config = if is_directory { directory(&path) } else { env_file(&path) };
        let of = |config: &_| both_of(is_directory, config);
        let error = refused(&mut *of(&config), ONE);
        assert_eq!(error.message, format!("the folder {} does not exist", above.join("deep").display()));
        assert!(!above.exists());
        of(&config).clean().unwrap();

        config.create_dirs = true;
        let gid = if Uid::effective().is_root() { 23456 } else { nix::unistd::Gid::effective().as_raw() };
        config.access.group = Some(gid.to_string());
        deliver(&mut *of(&config), ONE, Outcome::Changed);
        for made in [&above, &above.join("deep")] {
            assert_eq!((mode(made), fs::metadata(made).unwrap().gid()), (0o750, gid), "{}", made.display());
        }
        assert_eq!(fs::metadata(&path).unwrap().gid(), gid);
    }
}

fn both_of(is_directory: bool, config: &dlconf::delivery::config::DeliveryConfig) -> Box<dyn Delivery> {
    if is_directory { Box::new(Directory::new(config)) } else { Box::new(EnvFile::new(config)) }
}

#[test]
fn dots_in_a_path_are_only_text() {
    let folder = scratch();
    fs::create_dir(folder.path().join("run")).unwrap();
    let path = folder.path().join("./none/../run/./app.env");
    deliver(&mut EnvFile::new(&env_file(&path)), ONE, Outcome::Changed);
    assert_eq!(names(&folder.path().join("run")), ["app.env"]);
}

#[test]
fn a_folder_of_somebody_else_is_refused_and_one_open_to_all_is_not() {
    let folder = scratch();
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
    deliver(&mut EnvFile::new(&env_file(&run.join("app.env"))), ONE, Outcome::Changed);
    if !Uid::effective().is_root() {
        return;
    }
    std::os::unix::fs::chown(&run, Some(12345), None).unwrap();
    for mut delivery in both(&run.join("app.env")).into_iter().take(1).chain(both(&run).into_iter().skip(1)) {
        let error = refused(&mut *delivery, TWO);
        assert_eq!(
            error.message,
            format!(
                "the folder {} belongs to user 12345, who could exchange what is written there",
                run.display()
            )
        );
        assert!(delivery.clean().is_err());
    }
    // Whose file it is anyway.
    let mut config = env_file(&run.join("app.env"));
    config.access.owner = Some("12345".into());
    deliver(&mut EnvFile::new(&config), TWO, Outcome::Changed);
    assert_eq!(fs::metadata(&config.path).unwrap().uid(), 12345);
}

#[test]
fn unknown_owners_are_named() {
    let folder = scratch();
    let mut config = env_file(&folder.path().join("app.env"));
    config.access.group = Some("no-such-group".into());
    let error = refused(&mut EnvFile::new(&config), ONE);
    assert_eq!(error.message, "there is no group `no-such-group` on this system");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn cleaning_removes_what_the_dead_left_and_nothing_else() {
    let folder = scratch();
    let at = |name: &str| folder.path().join(name);
    let mut delivery = EnvFile::new(&env_file(&at("app.env")));
    delivery.clean().unwrap();
    deliver(&mut delivery, ONE, Outcome::Changed);
    let living = File::create(at(".app.env.00000000000000aa")).unwrap();
    living.lock().unwrap();
    fs::create_dir(at(".app.env.00000000000000dd")).unwrap();
    let kept = [
        ".app.env.0",
        ".app.env.00000000000000AB",
        ".other.env.00000000000000ab",
        "app.env.00000000000000ab",
    ];
    for name in kept.iter().chain(&[".app.env.00000000000000bb", ".app.env.0123456789abcdef"]) {
        fs::write(at(name), "x").unwrap();
    }
    symlink("app.env", at(".app.env.00000000000000cc")).unwrap();
    if Uid::effective().is_root() {
        fs::write(at(".app.env.00000000000000ee"), "theirs").unwrap();
        std::os::unix::fs::chown(at(".app.env.00000000000000ee"), Some(12345), None).unwrap();
    }
    delivery.clean().unwrap();
    let mut expected: Vec<&str> = kept.to_vec();
    expected.extend([
        "app.env",
        ".app.env.00000000000000aa",
        ".app.env.00000000000000cc",
        ".app.env.00000000000000dd",
    ]);
    if Uid::effective().is_root() {
        expected.push(".app.env.00000000000000ee");
    }
    expected.sort_unstable();
    assert_eq!(names(folder.path()), expected);
    drop(living);
    delivery.clean().unwrap();
    assert!(!at(".app.env.00000000000000aa").exists());
}

#[test]
fn cleaning_a_directory_keeps_what_readers_are_led_to() {
    let folder = scratch();
    let path = folder.path().join("secrets");
    let mut delivery = Directory::new(&directory(&path));
    delivery.clean().unwrap();
    deliver(&mut delivery, ONE, Outcome::Changed);
    let own = fs::read_link(path.join("..data")).unwrap().into_os_string().into_string().unwrap();
    let stale = "..2020_01_01_00_00_00.0123456789abcdef";
    let living = "..2020_01_01_00_00_00.0000000000000001";
    for name in [stale, living, "..2020_01_01_00_00_00.123456789", "theirs"] {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("A"), "old").unwrap();
    }
    let lock = File::open(path.join(living)).unwrap();
    lock.lock().unwrap();
    symlink(stale, path.join("..data_tmp")).unwrap();
    delivery.clean().unwrap();
    assert_eq!(names(&path), [living, "..2020_01_01_00_00_00.123456789", &own, "..data", "A", "B", "theirs"]);
    assert_eq!(fs::read_to_string(path.join("A")).unwrap(), "uno-1");
}
