//! One test binary; a module a behaviour (25 binaries link in 20 s, one in 4 s).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

/// As the program has it: what is freed is wiped, so that a test can look for
/// what is left of a value in a process that uses the library.
#[global_allocator]
static ALLOCATOR: dlconf::model::secret::WipingAllocator = dlconf::model::secret::WIPING_ALLOCATOR;

mod access;
mod audit;
mod bao;
mod check;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod courier;
mod crash;
mod daemon;
mod daemon_on_change;
mod daemon_vault;
mod datalens;
mod deliveries;
mod dev;
mod docs;
mod doctor;
mod dotenv_dialects;
mod encoders;
mod file_watch;
mod fuzz_corpus;
mod help;
mod hostile;
mod init;
mod install;
mod kubernetes;
mod last_good;
mod leaks;
mod memory_scan;
mod on_change;
mod platform;
mod probe;
mod program;
mod rbac;
mod released;
mod reports;
mod rotate;
mod rotation_files;
mod rotation_memory;
mod rotation_model;
mod rotation_proof;
mod run;
mod running;
mod sealed_commands;
mod sealed_format;
mod sealed_source;
mod sealed_strace;
mod serve;
mod settings;
mod settings_daemon;
mod settings_kubernetes;
mod settings_rotation;
mod settings_vault;
mod socket;
mod supervise_deliver;
mod supervise_health;
mod supervise_life;
mod supervise_process;
mod supervise_run;
mod supervise_socket;
mod supervise_terminal;
mod supervise_vault;
mod supervised;
mod vault;
mod vault_policy;
