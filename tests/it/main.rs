//! One test binary; a module a behaviour (25 binaries link in 20 s, one in 4 s).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bao;
mod check;
mod datalens;
mod dev;
mod docs;
mod dotenv_dialects;
mod encoders;
mod fuzz_corpus;
mod help;
mod hostile;
mod init;
mod leaks;
mod memory_scan;
mod program;
mod reports;
mod run;
mod settings;
