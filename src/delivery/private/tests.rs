use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn only_folders_in_memory_that_nobody_else_writes_to() {
    assert!(is_fit(Path::new("/dev/shm")));
    assert!(!is_fit(Path::new("/proc")));
    assert!(!is_fit(Path::new("/no/such/folder")));
    let own = tempfile::tempdir_in("/dev/shm").unwrap();
    for (mode, fits) in [(0o700, true), (0o755, true), (0o777, false), (0o770, false), (0o1777, true)] {
        fs::set_permissions(own.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(is_fit(own.path()), fits, "{mode:o}");
    }
}

#[test]
fn only_our_names_are_swept() {
    assert!(is_ours(Path::new("/dev/shm/dlconf-edit.0123456789abcdef")));
    assert!(is_ours(Path::new("/dev/shm/dlconf-run.0123456789abcdef")));
    for other in [
        "dlconf-edit.",
        "dlconf-other.0123456789abcdef",
        "dlconf-0123456789abcdef",
        "dlconf-edit.0123456789ABCDEF",
        "dlconf-edit.0123456789abcdef0",
        "x.0123456789abcdef",
    ] {
        assert!(!is_ours(Path::new(other)), "{other}");
    }
}

#[test]
fn holes_are_not_filled() {
    use std::os::unix::fs::MetadataExt as _;

    let own = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = own.path().join("sparse");
    let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all(b"secret").unwrap();
    file.set_len(1 << 50).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"more", 1 << 49).unwrap();
    let before = file.metadata().unwrap().blocks();
    zero(&mut file).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), before);
    for (at, length) in [(0, 6), (1 << 49, 4)] {
        let mut read = vec![1; length];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut read, at).unwrap();
        assert!(read.iter().all(|byte| *byte == 0), "{read:?}");
    }
}

#[test]
fn a_text_is_exchanged_or_stays() {
    let mut private = Private::make(Purpose::Run, OsStr::new("config.env"), "first").unwrap();
    let mut reader = File::open(private.path()).unwrap();
    private.replace("second, which is longer").unwrap();
    assert_eq!(&**private.read(100).unwrap(), "second, which is longer");
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert_eq!(read, "first", "who has the old one open reads all of it");

    // Something is in the way: nothing is lost.
    let way = private.folder().join(NEW);
    fs::create_dir(&way).unwrap();
    let error = private.replace("third").unwrap_err();
    assert!(matches!(error, PrivateError::NotMade { .. }), "{error}");
    assert_eq!(&**private.read(100).unwrap(), "second, which is longer");

    assert!(matches!(private.read(5).unwrap_err(), PrivateError::NotRead { .. }));
    let folder = private.folder().to_owned();
    private.wipe().unwrap();
    assert!(!folder.exists());
}

#[test]
fn what_the_killed_left_is_swept_and_what_the_living_have_is_not() {
    let base = bases().into_iter().find(|base| is_fit(base)).unwrap();
    let (left, lock) = made(&base, Purpose::Run).unwrap();
    create(&left.join("config.env")).unwrap().write_all(b"left").unwrap();
    let living = Private::make(Purpose::Edit, OsStr::new("a.env"), "mine").unwrap();
    assert!(left.exists(), "whose lock is held lives");
    drop(lock);
    let _other = Private::make(Purpose::Run, OsStr::new("b.env"), "other").unwrap();
    assert!(!left.exists());
    assert_eq!(&**living.read(100).unwrap(), "mine");
}
