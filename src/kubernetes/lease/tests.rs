//! Whose a Lease is, from what stands in it and from our own clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn spec(text: &str) -> Spec {
    serde_json::from_str(text).unwrap()
}

/// Whether it is taken at this age of what it says, in seconds.
#[track_caller]
fn check(text: &str, taken: &[u32], left: &[u32]) {
    let since = Instant::now();
    for age in taken {
        let judged = spec(text).judge("us", since, since + *age * SECOND);
        assert_eq!(judged, Move::Take, "{text} after {age} s");
    }
    for age in left {
        let judged = spec(text).judge("us", since, since + *age * SECOND);
        assert!(matches!(judged, Move::Wait(_)), "{text} after {age} s: {judged:?}");
    }
}

#[test]
fn it_is_taken_when_nobody_holds_it_or_nothing_is_heard_of_who_does() {
    check("{}", &[0, 1], &[]);
    check(r#"{"holderIdentity":null}"#, &[0], &[]);
    check(r#"{"holderIdentity":"","renewTime":"2026-11-22T19:00:00.000000Z"}"#, &[0], &[]);
    check(r#"{"holderIdentity":"b"}"#, &[15, 16], &[0, 14]);
    check(r#"{"holderIdentity":"b","leaseDurationSeconds":40}"#, &[40], &[15, 39]);
    // What cannot be meant is not believed.
    check(r#"{"holderIdentity":"b","leaseDurationSeconds":0}"#, &[15], &[14]);
    check(r#"{"holderIdentity":"b","leaseDurationSeconds":-1}"#, &[15], &[14]);
    check(r#"{"holderIdentity":"b","leaseDurationSeconds":9223372036854775807}"#, &[86_400], &[86_399]);
}

#[test]
fn the_clock_of_another_is_not_believed() {
    // Long ago, or far ahead, by whatever clock that was written.
    for time in ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"] {
        check(
            &format!(r#"{{"holderIdentity":"b","renewTime":"{time}","acquireTime":"{time}"}}"#),
            &[15],
            &[14],
        );
    }
}

#[test]
fn what_we_hold_is_kept_however_old_it_is() {
    let since = Instant::now();
    let ours = spec(r#"{"holderIdentity":"us","leaseDurationSeconds":15}"#);
    for age in [0, 14, 15, 3600] {
        assert_eq!(ours.judge("us", since, since + age * SECOND), Move::Renew);
    }
}

#[test]
fn it_is_written_as_the_api_has_it() {
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::new(seconds, 7000);
    let first = Spec::default().held("us", true, at(0));
    assert_eq!(
        serde_json::to_value(&first).unwrap(),
        json!({
            "holderIdentity": "us", "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "1970-01-01T00:00:00.000007Z", "renewTime": "1970-01-01T00:00:00.000007Z",
        })
    );
    let kept = first.clone().held("us", false, at(5));
    assert_eq!(
        (kept.acquire_time.as_deref(), kept.lease_transitions),
        (first.acquire_time.as_deref(), Some(0))
    );
    assert_eq!(kept.renew_time.as_deref(), Some("1970-01-01T00:00:05.000007Z"));
    let free = kept.free(at(6));
    assert_eq!(free.holder_identity.as_deref(), Some(""));
    assert_eq!(free.judge("b", Instant::now(), Instant::now()), Move::Take);
    assert_eq!(free.held("b", true, at(7)).lease_transitions, Some(1));
}

#[test]
fn what_others_keep_in_it_stays() {
    let found = spec(r#"{"holderIdentity":"b","strategy":"OldestEmulationVersion","preferredHolder":"c"}"#);
    let ours = serde_json::to_value(found.held("us", true, SystemTime::now())).unwrap();
    assert_eq!(
        (&ours["strategy"], &ours["preferredHolder"]),
        (&json!("OldestEmulationVersion"), &json!("c"))
    );
}

#[test]
fn a_holder_is_shown_only_where_it_is_a_plain_name() {
    let shown = |holder: &str| spec(&json!({ "holderIdentity": holder }).to_string()).shown();
    assert_eq!(shown("api-7c9f_0a1b").as_deref(), Some("api-7c9f_0a1b"));
    for odd in ["", "a\u{1b}[31m", "::error::x", "a b", &"x".repeat(301)] {
        assert_eq!(shown(odd), None, "{odd}");
    }
}

#[test]
fn what_has_no_version_is_never_written_over() {
    let written =
        |metadata: Value| Written { metadata: metadata.as_object().unwrap().clone(), spec: Spec::default() };
    assert!(written(json!({ "resourceVersion": "7" })).checked().is_ok());
    for without in [json!({}), json!({ "resourceVersion": "" }), json!({ "resourceVersion": 7 })] {
        assert_eq!(written(without).checked().unwrap_err().why, Why::NotTheApi);
    }
}
