//! Rotations in the status, on the page and in the metrics.

use std::collections::BTreeSet;

use dlconf::report::Style;
use dlconf::report::status::text;
use dlconf::serve::Limits;

use crate::serve::fake::{Routes, Served, body, loopback, rotating, well};

#[test]
fn the_status_has_a_line_for_each() {
    let style = Style { color: false, unicode: true, width: 100 };
    let told = text(&rotating(), "/run/dlconf.sock", style);
    for line in [
        "\nrotations 4\n  rotator-7c9f_1 rotates, which holds lease/datalens-rotator\n",
        "\n  waiting   JWT_SECRET           overlap, rotation 1 staged 4m ago · current initial, next 3f2a9c11",
        "\n  moving    PORTAL_JWT_SECRET    overlap, rotation 12 activated 4m ago",
        "the key before is retired in 2h",
        "\n  overdue   CONSENT_SIGNING_KEY  ring, never rotated · overdue by 2d\n",
        "\n  failed    SMTP_PASS            supplied, rotation 3 is over\n",
        "error: the rotation of SMTP_PASS does not go on",
        "fix: `dlconf vault-policy --rotate` prints what it needs",
        "warning: the rotation of JWT_SECRET waits\n  staged for 4m: cc: 2 of 3 instances have acknowledged it\n",
    ] {
        assert!(told.contains(line), "{line:?} not in\n{told}");
    }
    assert!(!text(&well(), "/run/dlconf.sock", style).contains("rotations"));
}

#[test]
fn the_page_and_the_metrics_show_them() {
    let served = Served::new(&loopback(), Routes::Ops, rotating(), Limits::default());
    let page = served.get("/");
    for text in ["Rotations", "CONSENT_<wbr>SIGNING_<wbr>KEY", "retires in 2h", "overdue by 2d"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let metrics = served.get("/metrics");
    let metrics = body(&metrics);
    for line in [
        "dlconf_rotation_due_seconds{key=\"CONSENT_SIGNING_KEY\"} -190000",
        "dlconf_rotation_phase{key=\"JWT_SECRET\",phase=\"staged\"} 1",
        "dlconf_rotation_phase{key=\"JWT_SECRET\",phase=\"steady\"} 0",
        "dlconf_rotation_phase{key=\"JWT_SECRET\",phase=\"waiting\"} 1",
        "dlconf_rotation_phase{key=\"PORTAL_JWT_SECRET\",phase=\"activated\"} 1",
        "dlconf_rotation_waiting{key=\"JWT_SECRET\"} 1",
        "dlconf_rotation_waiting{key=\"SMTP_PASS\"} 0",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line} not in\n{metrics}");
    }
}

#[test]
fn who_sees_one_variable_sees_its_rotation_alone() {
    let mut status = rotating();
    let trouble = status.rotations[3].trouble.as_mut().unwrap();
    trouble.message = "JWT_SECRET and SMTP_PASS are the same".into();
    let hidden = BTreeSet::from(["JWT_SECRET", "PORTAL_JWT_SECRET", "CONSENT_SIGNING_KEY"]);
    let narrowed = status.narrowed(|key| key == "SMTP_PASS", &hidden);
    let [only] = narrowed.rotations.as_slice() else { panic!("{:?}", narrowed.rotations) };
    assert_eq!(only.key, "SMTP_PASS");
    assert!(!only.trouble.as_ref().unwrap().message.contains("JWT_SECRET"));
}
