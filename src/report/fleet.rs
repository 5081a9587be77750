//! What every replica says of itself, wherever it runs: a line each.
//!
//! Invariants: as of all reports (see the module above). Whoever is not well stands first;
//! an instance whose word counts no more is shown as long as its Lease is there.

use std::collections::BTreeMap;
use std::time::SystemTime;

use annotate_snippets::renderer::{AnsiColor, Effects, Style as Paint};
use serde::Serialize;

use super::doctor::{BAD, DOUBTFUL, GOOD, STRONG};
use super::status::{age, keys_in_use};
use super::{Style, plural, to_json, visible};
use crate::rotation::board::{Entry, SaidOfInstance, Standing};
use crate::status::{ChildHealth, KeysInUse};

const QUIET: Paint = AnsiColor::BrightBlack.on_default();
const FAINT: Paint = Paint::new().effects(Effects::DIMMED);

/// The widest word for a state: `disputed`.
const STATE: usize = 8;

/// All replicas.
#[derive(Debug, Serialize)]
pub struct Fleet {
    /// Where their Leases are: `leases/PREFIX in namespace NAME`.
    pub place: String,
    /// Each of them.
    pub replicas: Vec<Replica>,
}

/// One of them. Where its Lease cannot be understood, little is known.
#[derive(Debug, Serialize)]
pub struct Replica {
    /// Its Lease.
    pub lease: String,
    /// What its word is worth: `present`, `silent`, `lapsed`, `gone`, `unclear`.
    pub standing: &'static str,
    /// The consumer.
    pub consumer: Option<String>,
    /// Which instance of it.
    pub instance: Option<String>,
    /// Who says it.
    pub holder: Option<String>,
    /// How the program is, where whoever runs it says so.
    pub health: Option<&'static str>,
    /// The version that it has taken up.
    pub version: Option<String>,
    /// Whether nothing of what it runs has changed since, where it runs.
    pub current: Option<bool>,
    /// The keys in use, by variable.
    pub runs: BTreeMap<String, KeysInUse>,
    /// Seconds since it said so, by both machines' clocks.
    pub age_seconds: Option<u64>,
}

impl Fleet {
    /// Of what stands in the Leases.
    pub fn new(place: String, entries: &[Entry], now: SystemTime) -> Self {
        let mut replicas: Vec<Replica> = entries.iter().map(|entry| Replica::of(entry, now)).collect();
        replicas.sort_by(|a, b| {
            let place = |replica: &Replica| {
                (replica.consumer.clone(), replica.instance.clone(), replica.lease.clone())
            };
            (a.weight(), place(a)).cmp(&(b.weight(), place(b)))
        });
        Self { place, replicas }
    }
}

impl Replica {
    fn of(entry: &Entry, now: SystemTime) -> Self {
        let said = entry.said.as_ref();
        // Nobody saw its holder: what it says is of then.
        let standing = if entry.standing == Standing::Doubtful { Standing::Lapsed } else { entry.standing };
        Self {
            lease: entry.lease.to_string(),
            standing: standing.as_str(),
            consumer: said.map(|said| said.consumer.to_string()),
            instance: said.map(|said| said.said.instance.as_str().to_owned()),
            holder: entry.holder.as_deref().map(str::to_owned),
            health: said.and_then(|said| said.said.health).map(ChildHealth::as_str),
            version: said.map(|said| said.said.version.as_str().to_owned()),
            current: said.map(|said| said.current),
            runs: said.map(runs).unwrap_or_default(),
            age_seconds: entry.renewed.map(|at| now.duration_since(at).map_or(0, |age| age.as_secs())),
        }
    }

    /// How it is, in a word.
    fn word(&self) -> &'static str {
        match (self.standing, self.health) {
            ("present", Some(health @ ("failed" | "stopped"))) => health,
            ("present", _) if self.current == Some(true) => "current",
            ("present", _) => "behind",
            (standing, _) => standing,
        }
    }

    /// The worse, the earlier.
    fn weight(&self) -> u8 {
        match self.word() {
            "failed" | "unclear" | "disputed" => 0,
            "stopped" | "behind" => 1,
            "current" => 2,
            _ => 3,
        }
    }
}

fn runs(said: &SaidOfInstance) -> BTreeMap<String, KeysInUse> {
    let runs = said.said.runs.iter().map(|(key, used)| {
        let verifies = used.verifies.iter().map(|kid| kid.as_str().to_owned()).collect();
        (
            key.to_string(),
            KeysInUse { verifies, signs: used.signs.as_ref().map(|kid| kid.as_str().to_owned()) },
        )
    });
    runs.collect()
}

/// The document.
pub fn json(fleet: &Fleet) -> String {
    to_json(fleet)
}

/// A table for people.
pub fn text(fleet: &Fleet, style: Style) -> String {
    let paint = |paint: Paint, text: &str| {
        if style.color { format!("{paint}{text}{paint:#}") } else { text.to_owned() }
    };
    let mut out = format!(
        "{}  {}\n",
        paint(STRONG, &plural(fleet.replicas.len(), "replica")),
        paint(FAINT, &visible(&fleet.place))
    );
    let name = |replica: &Replica| match (&replica.consumer, &replica.instance) {
        (Some(consumer), Some(instance)) => format!("{consumer} {instance}"),
        _ => replica.lease.clone(),
    };
    let wide = |text: &str| visible(text).chars().count();
    let widest = fleet.replicas.iter().map(|replica| wide(&name(replica))).max().unwrap_or(0);
    for replica in &fleet.replicas {
        let word = replica.word();
        let colour = match word {
            "current" => GOOD,
            "behind" | "stopped" => DOUBTFUL,
            "lapsed" | "gone" => QUIET,
            _ => BAD,
        };
        let health = replica.health.filter(|health| *health != word);
        let facts: Vec<String> = [
            replica.version.clone(),
            health.map(str::to_owned),
            replica.age_seconds.map(|seconds| format!("said {} ago", age(seconds))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let runs: Vec<String> = replica.runs.iter().map(|(key, used)| keys_in_use(key, used)).collect();
        out.push_str(&format!(
            "  {}{}  {:widest$}  {}\n",
            paint(colour, word),
            " ".repeat(STATE.saturating_sub(word.len())),
            visible(&name(replica)),
            visible(&facts.join(", ")),
        ));
        for run in runs {
            out.push_str(&format!("  {}  {}\n", " ".repeat(STATE), paint(FAINT, &visible(&run))));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::key::Key;
    use crate::rotation::consumers::{Acknowledgement, Name, Use};

    fn entry(instance: &str, standing: Standing, health: Option<ChildHealth>, current: bool) -> Entry {
        let name = |text: &str| Name::new(text).unwrap();
        let used = Use { verifies: vec![name("k2"), name("k1")], signs: Some(name("k2")) };
        let runs = [(Key::new("JWT_SECRET").unwrap(), used)];
        let runs = runs.into_iter().filter(|_| health.is_none_or(ChildHealth::is_up)).collect();
        let said = Acknowledgement { instance: name(instance), runs, version: name("7f3a.42"), health };
        let said = SaidOfInstance { consumer: "api".into(), uid: 1, said, current };
        Entry {
            lease: format!("acks-api-{instance}").into(),
            standing,
            said: Some(said).filter(|_| standing != Standing::Unclear),
            holder: Some("node_1".into()),
            renewed: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1000)),
        }
    }

    fn fleet() -> Fleet {
        let entries = [
            entry("a", Standing::Counts, Some(ChildHealth::Healthy), true),
            entry("b", Standing::Counts, None, false),
            entry("c", Standing::Counts, Some(ChildHealth::Failed), true),
            entry("d", Standing::Doubtful, Some(ChildHealth::Running), true),
            entry("e", Standing::Unclear, None, true),
        ];
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1042);
        Fleet::new("leases/acks in namespace shop".into(), &entries, now)
    }

    #[test]
    fn a_replica_is_a_line_and_the_worst_stand_first() {
        let style = Style { color: false, unicode: true, width: 80 };
        expect_test::expect![[r"
            5 replicas  leases/acks in namespace shop
              unclear   acks-api-e  said 42s ago
              failed    api c       7f3a.42, said 42s ago
              behind    api b       7f3a.42, said 42s ago
                        JWT_SECRET signs k2, verifies k2 k1
              current   api a       7f3a.42, healthy, said 42s ago
                        JWT_SECRET signs k2, verifies k2 k1
              lapsed    api d       7f3a.42, running, said 42s ago
                        JWT_SECRET signs k2, verifies k2 k1
        "]]
        .assert_eq(&text(&fleet(), style));
    }

    #[test]
    fn the_document_says_the_same() {
        let document: serde_json::Value = serde_json::from_str(&json(&fleet())).unwrap();
        let replicas = document["replicas"].as_array().unwrap();
        let told: Vec<String> = replicas
            .iter()
            .map(|replica| {
                format!(
                    "{} {} {} {}",
                    replica["standing"], replica["health"], replica["current"], replica["age_seconds"]
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "\"unclear\" null null 42",
                "\"present\" \"failed\" true 42",
                "\"present\" null false 42",
                "\"present\" \"healthy\" true 42",
                "\"lapsed\" \"running\" true 42",
            ]
        );
        assert_eq!(replicas[3]["runs"]["JWT_SECRET"]["verifies"], serde_json::json!(["k2", "k1"]));
    }
}
