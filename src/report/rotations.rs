//! Rotations in words, for everybody who shows them.
//!
//! Invariants: as of all reports (see the module above). A kid is shown as far as it takes
//! to tell two apart.

use super::status::{Weight, age};
use crate::status::{FindingStatus, RotationStatus, RotatorStatus, Status};

/// So much of a kid tells it from others.
const KID: usize = 8;

/// How a rotation is, in a word.
pub(crate) fn rotation_word(rotation: &RotationStatus) -> &'static str {
    match () {
        () if rotation.trouble.is_some() => "failed",
        () if !rotation.waiting.is_empty() => "waiting",
        () if rotation.due_seconds.is_some_and(|seconds| seconds < 0) => "overdue",
        () if rotation.phase == "steady" => "steady",
        () => "moving",
    }
}

/// `overlap, rotation 3 staged 4m ago · current initial, next 3f2a9c11 · waits: …`.
pub(crate) fn rotation_facts(rotation: &RotationStatus) -> String {
    let mut facts = vec![match (rotation.number, rotation.phase.as_str()) {
        (0, _) => format!("{}, never rotated", rotation.strategy),
        (number, "steady") => format!("{}, rotation {number} is over", rotation.strategy),
        (number, phase) => {
            format!("{}, rotation {number} {phase} {} ago", rotation.strategy, age(rotation.phase_seconds))
        }
    }];
    facts.extend(kids(rotation));
    if let Some(seconds) = rotation.retires_seconds {
        facts.push(match rotation.strategy.as_str() {
            "supplied" => format!("the value before is kept for another {}", age(seconds)),
            _ => format!("the key before is retired in {}", age(seconds)),
        });
    }
    facts.extend(due(rotation));
    if !rotation.waiting.is_empty() {
        facts.push(format!("waits: {}", rotation.waiting.join("; ")));
    }
    facts.join(" · ")
}

/// `due in 10d`.
pub(crate) fn due(rotation: &RotationStatus) -> Option<String> {
    let seconds = rotation.due_seconds?;
    let span = age(seconds.unsigned_abs());
    Some(if seconds < 0 { format!("overdue by {span}") } else { format!("due in {span}") })
}

/// `current 3f2a9c11, previous initial`; none where there are none.
pub(crate) fn kids(rotation: &RotationStatus) -> Option<String> {
    let short = |kid: &str| kid.chars().take(KID).collect::<String>();
    let kids: Vec<String> =
        rotation.kids.iter().map(|(slot, kid)| format!("{slot} {}", short(kid))).collect();
    (!kids.is_empty()).then(|| kids.join(", "))
}

/// Who rotates, where that is not simply this daemon.
pub(crate) fn rotator(told: &RotatorStatus) -> Option<String> {
    let lease = told.lease.as_deref()?;
    Some(match (told.leads, &told.holder, &told.trouble) {
        (true, ..) => format!("this daemon rotates: it holds {lease}"),
        (false, Some(holder), _) => format!("{holder} rotates, which holds {lease}"),
        (false, None, Some(trouble)) => format!("nobody can tell who holds {lease}: {trouble}"),
        (false, None, None) => format!("another daemon rotates, which holds {lease}"),
    })
}

/// Something that a person should know of: how much it weighs, what it is, what it means,
/// and the finding.
type Worry<'a> = (Weight, String, String, Option<&'a FindingStatus>);

/// What of it a person should know.
pub(super) fn worries(status: &Status) -> Vec<Worry<'_>> {
    let mut worries = Vec::new();
    if let Some(told) = status.rotator.as_ref().filter(|told| told.trouble.is_some()) {
        let meaning = rotator(told).unwrap_or_default();
        worries.push((Weight::Warning, "no rotation begins or goes on".to_owned(), meaning, None));
    }
    for rotation in &status.rotations {
        let key = &rotation.key;
        if let Some(trouble) = &rotation.trouble {
            let title = format!("the rotation of {key} does not go on");
            worries.push((Weight::Error, title, format!("it stays {}", rotation.phase), Some(trouble)));
        } else if !rotation.waiting.is_empty() {
            let since = age(rotation.phase_seconds);
            let meaning = format!("{} for {since}: {}", rotation.phase, rotation.waiting.join("; "));
            worries.push((Weight::Warning, format!("the rotation of {key} waits"), meaning, None));
        }
    }
    worries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged() -> RotationStatus {
        let kid = |slot: &str, kid: &str| (slot.to_owned(), kid.to_owned());
        RotationStatus {
            key: "JWT_SECRET".into(),
            strategy: "overlap".into(),
            phase: "staged".into(),
            phase_seconds: 240,
            number: 3,
            waiting: vec!["cc: api-1 does not have it yet".into()],
            kids: [kid("next", "3f2a9c1155667788"), kid("current", "initial")].into(),
            ..RotationStatus::default()
        }
    }

    #[test]
    fn a_rotation_is_a_line() {
        let waits = staged();
        let retires = RotationStatus {
            phase: "activated".into(),
            retires_seconds: Some(7200),
            waiting: vec![],
            ..staged()
        };
        let over = RotationStatus {
            phase: "steady".into(),
            due_seconds: Some(864_000),
            waiting: vec![],
            kids: [].into(),
            ..staged()
        };
        let late = RotationStatus { number: 0, due_seconds: Some(-180), ..over.clone() };
        for (rotation, word, facts) in [
            (
                &waits,
                "waiting",
                "overlap, rotation 3 staged 4m ago · current initial, next 3f2a9c11 · waits: cc: api-1 does not have it yet",
            ),
            (
                &retires,
                "moving",
                "overlap, rotation 3 activated 4m ago · current initial, next 3f2a9c11 · the key before is retired in 2h",
            ),
            (&over, "steady", "overlap, rotation 3 is over · due in 10d"),
            (&late, "overdue", "overlap, never rotated · overdue by 3m"),
        ] {
            assert_eq!((rotation_word(rotation), rotation_facts(rotation)), (word, facts.to_owned()));
        }
    }

    #[test]
    fn who_rotates_is_told_where_it_is_a_question() {
        let told = |leads, holder: Option<&str>, trouble: Option<&str>| RotatorStatus {
            leads,
            lease: Some("lease/turn".to_owned()),
            holder: holder.map(str::to_owned),
            trouble: trouble.map(str::to_owned),
        };
        assert_eq!(rotator(&RotatorStatus { leads: true, ..RotatorStatus::default() }), None);
        for (told, expected) in [
            (told(true, None, None), "this daemon rotates: it holds lease/turn"),
            (told(false, Some("b_1"), None), "b_1 rotates, which holds lease/turn"),
            (told(false, None, None), "another daemon rotates, which holds lease/turn"),
            (told(false, None, Some("x is away")), "nobody can tell who holds lease/turn: x is away"),
        ] {
            assert_eq!(rotator(&told).as_deref(), Some(expected));
        }
    }
}
