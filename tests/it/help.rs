//! What the program says of itself.

use crate::program::Folder;

#[test]
fn completions_are_scripts_of_their_shells() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        folder.run(&["completions", shell]).exits(0).says("env-example").says("to-new-key-file");
    }
    let script = folder.run(&["completions", "bash"]).stdout;
    folder.file("complete.sh", &script);
    let mut bash = std::process::Command::new("bash");
    assert!(bash.args(["-n", "complete.sh"]).current_dir(folder.path()).status().unwrap().success());
    folder.run(&["completions", "tcsh"]).exits(2);
}

#[test]
fn the_manual_has_every_command() {
    let ran = Folder::new().run(&["man"]).exits(0);
    for word in [
        ".TH dlconf 1",
        "names\\-only",
        "pristine",
        "\\-\\-schema",
        "dlconf rekey",
        "dlconf rbac",
        "restart\\-lock",
        "to\\-new\\-key\\-file",
    ] {
        assert!(ran.stdout.contains(word), "{word}");
    }
}

#[test]
fn what_supervises_says_its_options_and_what_they_are_by_default() {
    let folder = Folder::new();
    for command in ["run", "dev"] {
        let ran = folder.run(&[command, "--help"]).exits(0).says("Supervision:");
        for option in ["--on-change <ACTION>", "--kill-timeout", "[default: 30s]", "--healthy", "--deliver"] {
            assert!(ran.stdout.contains(option), "{command}: {option}");
        }
    }
    folder.run(&["run", "--help"]).says("--watch");
    folder.run(&["dev", "--watch", "--", "true"]).exits(125);
}

#[test]
fn help_shows_no_values_of_the_environment() {
    let ran = Folder::new().run_with(&["check", "--help"], &[("DLCONF_SERVICE", "canary")]).exits(0);
    ran.says("DLCONF_SERVICE").never_says("canary");
}
