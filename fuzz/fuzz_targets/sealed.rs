//! `targets/sealed.rs` under libFuzzer.

#![no_main]

#[path = "../targets/sealed.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| target::judge(input));
