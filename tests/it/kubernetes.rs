//! The Kubernetes source, on a fake API server and, where `DLCONF_TEST_KUBECONFIG`
//! names one, on a real one too.

mod behaviours;
mod board;
mod client;
pub(crate) mod cluster;
mod doctor;
mod failures;
mod fake;
mod faults;
mod memory;
mod recordings;
mod restart_lock;
mod rights;
mod rotate;
mod shop;
mod slow;
mod wire;
