use proptest::prelude::*;

use super::*;
use crate::model::rotation::{KeyNote, Kid, Phase, Print, Progress};

/// What a generated key looks like.
const NEW: &str = "n3w_Key-0";

fn parsed(text: &str) -> Parsed {
    parse(&SourceName::new("local"), &".env".into(), text, None).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// A state of this phase, without times.
fn progress(phase: Phase) -> Progress {
    Progress { phase, count: 1, ..Progress::default() }
}

fn change(set: &[(Slot, &str)], remove: &[Slot]) -> Change {
    Change {
        set: set.iter().map(|(slot, value)| (*slot, Arc::new(SecretValue::from(*value)))).collect(),
        remove: remove.to_vec(),
        progress: progress(Phase::Staged),
    }
}

fn written(text: &str, change: &Change, readers: Readers) -> Result<String, Misfit> {
    rewritten(text, "KEY", change, &Ledger::default(), readers).map(|new| {
        assert_eq!(fields(&parsed(&new), "KEY").unwrap().unwrap().ledger.of("KEY"), Some(&change.progress));
        (*new).clone()
    })
}

/// The new text without its last line, which is the state and ends like this.
#[track_caller]
fn becomes(text: &str, change: &Change, new: &str, end: &str) {
    let found = written(text, change, Readers::All).unwrap_or_else(|misfit| panic!("{text:?}: {misfit}"));
    let at = found.rfind("DLCONF_STATE=").unwrap();
    let (before, state) = found.split_at(at);
    assert_eq!(before, new, "{text:?}");
    assert!(state.starts_with("DLCONF_STATE='{") && state.ends_with(&format!("}}'{end}")), "{state:?}");
}

#[test]
fn new_fields_come_behind_their_owner_and_the_rest_stays() {
    let staged = change(&[(Slot::Next, NEW)], &[]);
    for (text, new) in [
        ("KEY=old\n", "KEY=old\nKEY_NEXT=n3w_Key-0\n"),
        ("# a\nA=1\n\nKEY='old' # c\n B = 2 \n", "# a\nA=1\n\nKEY='old' # c\nKEY_NEXT=n3w_Key-0\n B = 2 \n"),
        ("export KEY=old\nA=1\n", "export KEY=old\nexport KEY_NEXT=n3w_Key-0\nA=1\n"),
        ("KEY=old", "KEY=old\nKEY_NEXT=n3w_Key-0\n"),
        ("KEY=old\nA=1", "KEY=old\nKEY_NEXT=n3w_Key-0\nA=1\n"),
        ("KEY=\"o\nld\"\nA=1\n", "KEY=\"o\nld\"\nKEY_NEXT=n3w_Key-0\nA=1\n"),
        ("\u{feff}KEY=old\n", "\u{feff}KEY=old\nKEY_NEXT=n3w_Key-0\n"),
        // The line that counts is the last one that is not empty.
        ("KEY=a\nKEY=old\nKEY=\n", "KEY=a\nKEY=old\nKEY_NEXT=n3w_Key-0\nKEY=\n"),
        // A field that is there is changed in its place.
        (
            "KEY_NEXT= 'x'# was it\nKEY=old\nKEY_NEXTS=1\n",
            "KEY_NEXT= n3w_Key-0 # was it\nKEY=old\nKEY_NEXTS=1\n",
        ),
        ("KEY_NEXT=\nKEY=old\n", "KEY_NEXT=n3w_Key-0\nKEY=old\n"),
    ] {
        becomes(text, &staged, new, "\n");
    }
    becomes("A=1\r\nKEY=old\r\n", &staged, "A=1\r\nKEY=old\r\nKEY_NEXT=n3w_Key-0\r\n", "\r\n");
    becomes("A=1\r\nKEY=old", &staged, "A=1\r\nKEY=old\r\nKEY_NEXT=n3w_Key-0\r\n", "\r\n");
}

#[test]
fn what_goes_leaves_no_line() {
    let activated = change(&[(Slot::Current, NEW), (Slot::Previous, "old")], &[Slot::Next]);
    becomes(
        "KEY=old\nKEY_NEXT=n3w_Key-0\n# end\n",
        &activated,
        "KEY=n3w_Key-0\nKEY_PREVIOUS=old\n# end\n",
        "\n",
    );
    becomes("KEY_NEXT=x\nKEY=old\nKEY_NEXT='y\nz'", &activated, "KEY=n3w_Key-0\nKEY_PREVIOUS=old\n", "\n");
    becomes("KEY=old\nexport KEY_NEXT=x", &activated, "KEY=n3w_Key-0\nKEY_PREVIOUS=old\n", "\n");
}

#[test]
fn the_state_is_the_last_line_and_there_once() {
    let staged = change(&[(Slot::Next, NEW)], &[]);
    let first = written("KEY=old\n", &staged, Readers::All).unwrap();
    let appended = format!("{first}A=1\n");
    let again = written(&appended, &staged, Readers::All).unwrap();
    assert_eq!(again.matches("DLCONF_STATE").count(), 1);
    assert!(again.starts_with("KEY=old\nKEY_NEXT=n3w_Key-0\nA=1\nDLCONF_STATE="), "{again}");
}

#[test]
fn the_state_survives_whatever_somebody_gave_as_a_reason() {
    let reason = "it's \"$HOME\" ${X} \\ `id` \n\r\t\u{1} ü \\' \\\\";
    let progress = Progress { reason: Some(reason.into()), ..progress(Phase::Steady) };
    let change = Change { set: Vec::new(), remove: Vec::new(), progress };
    let new = written("KEY=old\n", &change, Readers::All).unwrap();
    let state = new.lines().last().unwrap();
    assert!(!state.contains(['$', '`', '"']) || !state.contains(['$', '`']), "{state}");
    assert_eq!(new.lines().count(), 2);
}

#[test]
fn a_value_that_stands_there_is_written_as_it_stands() {
    let moved = change(&[(Slot::Current, NEW), (Slot::Previous, "a b$c'")], &[]);
    becomes("KEY=\"a b\\$c'\" # c\n", &moved, "KEY=n3w_Key-0 # c\nKEY_PREVIOUS=\"a b\\$c'\"\n", "\n");
    let kept = change(&[(Slot::Current, NEW), (Slot::Kept, "#old")], &[]);
    becomes("KEY='#old'\n", &kept, "KEY=n3w_Key-0\nDLCONF_KEPT_KEY='#old'\n", "\n");
}

#[test]
fn what_readers_disagree_on_is_refused_where_others_read() {
    for value in ["a b", "a$b", "a#b", "a\"", "a'", "a\\", "a\nb", "a\u{a0}", &"x".repeat(70_000)] {
        let change = change(&[(Slot::Next, value)], &[]);
        let misfit = written("KEY=old\n", &change, Readers::All).unwrap_err();
        assert_eq!(misfit, Misfit::NotPortable("KEY_NEXT".into()));
        let new = written("KEY=old\n", &change, Readers::Ours).unwrap();
        let read = fields(&parsed(&new), "KEY").unwrap().unwrap();
        assert_eq!(read.values[&Slot::Next].expose(), value);
    }
    let nul = change(&[(Slot::Next, "a\0b")], &[]);
    assert!(written("KEY=old\n", &nul, Readers::Ours).is_err());
}

#[test]
fn what_shares_a_line_is_refused() {
    let current = change(&[(Slot::Current, NEW)], &[]);
    let shared = |name: &str| Misfit::SharedLine(name.into());
    assert_eq!(written("KEY='x' A=1\n", &current, Readers::All).unwrap_err(), shared("KEY"));
    let gone = change(&[], &[Slot::Next]);
    for text in ["KEY=x\nKEY_NEXT='x' A=1\n", "KEY=x\nA='1' KEY_NEXT=x\n"] {
        assert_eq!(written(text, &gone, Readers::All).unwrap_err(), shared("KEY_NEXT"), "{text:?}");
    }
    assert_eq!(written("A=1\n", &gone, Readers::All).unwrap_err(), Misfit::NotSet("KEY".into()));
    assert_eq!(written("KEY=\n", &gone, Readers::All).unwrap_err(), Misfit::NotSet("KEY".into()));
}

#[test]
fn a_documents_fields_are_the_owners() {
    let text = "KEY=1\nKEY=2\nKEY=\nKEY_NEXT=n\nKEY_PREVIOUS=\nKEY_7=s\nKEYS=x\nDLCONF_KEPT_KEY=k\nDLCONF_KEPT_A=a\n";
    let found = fields(&parsed(text), "KEY").unwrap().unwrap();
    let shown: Vec<_> = found.values.iter().map(|(slot, value)| (*slot, value.expose())).collect();
    let wanted = [(Slot::Current, "2"), (Slot::Next, "n"), (Slot::Numbered(7), "s"), (Slot::Kept, "k")];
    assert_eq!(shown, wanted);
    assert!(fields(&parsed("A=1\n"), "KEY").unwrap().is_none());
    for text in ["KEY=${A}\n", "KEY=1\nKEY_NEXT=\"$A\"\n"] {
        assert!(matches!(fields(&parsed(text), "KEY"), Err(Misfit::Template(_))), "{text:?}");
    }
    for state in ["x", "'{}'", "'{\"version\":9}'", "\"${A}\""] {
        let text = format!("KEY=1\nDLCONF_STATE={state}\n");
        assert!(matches!(fields(&parsed(&text), "KEY"), Err(Misfit::State(_))), "{state}");
    }
}

#[test]
fn values_have_the_names_that_the_file_notes_for_them() {
    let kid = Kid::new("k1").unwrap();
    let print = Some(Print::of(&kid, &"v".into()));
    let note = KeyNote { kid: kid.clone(), print, not_before: Some(7), rest: serde_json::Map::new() };
    let noted = Progress { keys: [(Slot::Current, note)].into(), ..progress(Phase::Steady) };
    let state = quoted_state(&Ledger::default().with("KEY", noted).to_text());
    let marks = |text: &str| {
        let mut parsed = parsed(text);
        parsed.mark(&SourceName::new("local"), &".env".into(), None);
        let kid = |mark: &Arc<crate::model::rotation::Mark>| mark.kid.to_string();
        let marks: Vec<_> = parsed.offers.iter().map(|offer| offer.origin.mark.as_ref().map(kid)).collect();
        (marks, parsed.remarks)
    };
    let (found, remarks) = marks(&format!("DLCONF_STATE={state}\nKEY=v\nA=v\nKEY_NEXT=v\n"));
    assert_eq!(found, [Some("k1".to_owned()), None, None]);
    assert!(remarks.is_empty());
    assert_eq!(marks(&format!("KEY=other\nDLCONF_STATE={state}\n")).0, [None], "a foreign write");
    let (found, remarks) = marks("KEY=v\nDLCONF_STATE='canary'\n");
    assert_eq!(found, [None]);
    let [remark] = remarks.as_slice() else { panic!("{remarks:?}") };
    assert_eq!(remark.origin.location.to_string(), ".env:2:14");
    assert!(!format!("{remark:?}").contains("canary"));
}

/// Lines that come near everything that a file may have.
fn line() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "A=1",
        "export B='x y'",
        "# KEY=no",
        "",
        "C: \"a\\\"b\"",
        "KEY_NEXT=x",
        "KEY_PREVIOUS='y z' # c",
        "D=\"1\n2\"",
        "NAME",
        "KEY=",
        "  KEY='z'",
        "E=a#b",
        "DLCONF_STATE=''",
        "F='${G}'",
        "KEY_1=q",
    ])
    .prop_map(ToOwned::to_owned)
}

proptest! {
    /// Whatever is in the file: what is not of the rotation stays, and a second write
    /// undoes the first.
    #[test]
    fn nothing_else_changes(
        lines in prop::collection::vec(line(), 0..8),
        place in 0_usize..8,
        crlf in any::<bool>(),
        ended in any::<bool>(),
    ) {
        let mut lines = lines;
        lines.insert(place.min(lines.len()), "KEY=old".into());
        let end = if crlf { "\r\n" } else { "\n" };
        let text = lines.join(end) + if ended { end } else { "" };
        let staged = change(&[(Slot::Next, NEW)], &[]);
        let new = written(&text, &staged, Readers::All).unwrap();
        let others = |text: &str| -> Vec<String> {
            let of = assignments(text);
            let name = |one: &Assignment| text[one.key.clone()].to_owned();
            of.iter().filter(|one| !["KEY_NEXT", FIELD].contains(&name(one).as_str()))
                .map(|one| text[one.key.start..one.value.end].to_owned()).collect()
        };
        prop_assert_eq!(others(&new), others(&text));
        prop_assert_eq!(new.matches('#').count(), text.matches('#').count());
        prop_assert!(new.ends_with(end) || !new.contains(end));
        let gone = written(&new, &change(&[], &[Slot::Next]), Readers::All).unwrap();
        prop_assert!(!gone.contains("KEY_NEXT"));
    }
}
