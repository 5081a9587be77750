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
    for other in [
        "dlconf-edit.",
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
