//! Every input that fuzzing found worth keeping, through what the fuzz targets
//! assert. A crash that was mended leaves its input there.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/targets/dotenv.rs"]
mod dotenv;
#[path = "../../fuzz/targets/schema.rs"]
mod schema;
#[path = "../../fuzz/targets/sealed.rs"]
mod sealed;
#[path = "../../fuzz/targets/settings.rs"]
mod settings;

fn replay(target: &str, judge: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let (mut inputs, mut failed) = (0, Vec::new());
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("the corpus can be listed").path();
        let input = fs::read(&path).expect("the corpus can be read");
        inputs += 1;
        if catch_unwind(|| judge(&input)).is_err() {
            failed.push(path);
        }
    }
    assert!(inputs >= 10, "{target}: {inputs} inputs are no corpus");
    assert!(failed.is_empty(), "what was said above is of {failed:?}");
}

#[test]
fn env_files() {
    replay("dotenv", dotenv::judge);
}

#[test]
fn schemas() {
    replay("schema", schema::judge);
}

#[test]
fn settings_files() {
    replay("settings", settings::judge);
}

#[test]
fn sealed_containers() {
    replay("sealed", sealed::judge);
}
