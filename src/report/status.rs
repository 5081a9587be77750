//! What a daemon tells of itself, on one screen; and what of that is trouble,
//! for everybody who shows it.
//!
//! Invariants: as of all reports (see the module above). What is wrong comes
//! before what is well; a variable is one line.

use annotate_snippets::renderer::{AnsiColor, Effects, Style as Paint};

use super::doctor::{BAD, DOUBTFUL, GOOD, STRONG};
use super::rotations::{rotation_facts, rotation_word, rotator, worries};
use super::snapshots::snapshot_facts;
use super::{Style, hang, plural, to_json, visible};
use crate::model::finding::Code;
use crate::status::{
    ConsumerStatus, DeliveryStatus, FindingStatus, Health, KeysInUse, SourceStatus, Status, VariableState,
    VariableStatus,
};

const QUIET: Paint = AnsiColor::BrightBlack.on_default();
const FAINT: Paint = Paint::new().effects(Effects::DIMMED);

/// The widest word for a state: `withheld`.
const STATE: usize = 8;
/// A name wider than this does not widen its column.
const WIDEST: usize = 40;
/// An origin has these columns, however narrow the terminal.
const ORIGIN: usize = 20;

/// How much a trouble weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// Something failed.
    Error,
    /// Something is held, withheld or doubtful.
    Warning,
}

/// Something that a person should know of.
#[derive(Debug)]
pub(crate) struct Trouble<'a> {
    pub(crate) weight: Weight,
    /// What: `source vault is down`.
    pub(crate) title: String,
    /// What that means now, as a clause.
    pub(crate) meaning: String,
    pub(crate) findings: Vec<&'a FindingStatus>,
}

/// All troubles, the worst first.
pub(crate) fn troubles(status: &Status) -> Vec<Trouble<'_>> {
    let mut all = Vec::new();
    let mut add = |weight, title: String, meaning: String, findings: Vec<_>| {
        all.push(Trouble { weight, title, meaning, findings });
    };
    if let Some(rejected) = &status.rejected {
        let holds = match &status.version {
            Some(version) => format!("{version} holds"),
            None => "nothing is published yet".into(),
        };
        let meaning = format!("seen {}; {holds}", moment(&rejected.at));
        add(
            Weight::Error,
            "the new state is not published".into(),
            meaning,
            rejected.findings.iter().collect(),
        );
    }
    if let Some(refused) = &status.reload_refused {
        let meaning = format!("at {}; the settings and the schema from before hold", moment(&refused.at));
        add(Weight::Error, "a reload was refused".into(), meaning, refused.findings.iter().collect());
    }
    for source in &status.sources {
        let confirmed = match source.age_seconds {
            Some(seconds) => format!("last confirmed {} ago", age(seconds)),
            None => "never read yet".into(),
        };
        let stands_in = source
            .snapshot_age_seconds
            .map(|_| format!("{confirmed}; the last-known-good snapshot stands in for it"));
        let (title, meaning) = match (source.health, stands_in) {
            (Health::Waiting, Some(stands_in)) => {
                (format!("source {} does not answer", source.name), stands_in)
            }
            (Health::Down, Some(stands_in)) => (format!("source {} is down", source.name), stands_in),
            (Health::Stale, Some(stands_in)) => (
                format!("source {} is stale", source.name),
                format!("{stands_in}; it may be {} old", age(source.max_age_seconds)),
            ),
            (Health::Down, None) if source.age_seconds.is_none() => {
                (format!("source {} is down", source.name), confirmed)
            }
            (Health::Down, None) => {
                (format!("source {} is down", source.name), format!("{confirmed}; what it gave before holds"))
            }
            (Health::Stale, None) => (
                format!("source {} is stale", source.name),
                format!("{confirmed}; it may be {} old", age(source.max_age_seconds)),
            ),
            (Health::Up | Health::Waiting, _) => continue,
        };
        add(Weight::Error, title, meaning, source.faults.iter().collect());
    }
    for delivery in &status.deliveries {
        if let Some(failure) = &delivery.failure {
            let there = match &delivery.version {
                Some(version) => format!("{version} is still there; it is tried again"),
                None => "nothing is there yet; it is tried again".into(),
            };
            add(Weight::Error, format!("delivery {} failed", delivery.name), there, vec![failure]);
        }
        if let Some(hook) = delivery.on_change.as_ref().filter(|hook| !hook.ok) {
            let meaning = format!("{}, {} ago", hook.detail, age(hook.age_seconds));
            add(Weight::Error, format!("delivery {}: on_change failed", delivery.name), meaning, Vec::new());
        }
    }
    if let Some((audit, failure)) =
        status.audit.as_ref().and_then(|audit| Some((audit, audit.failure.as_ref()?)))
    {
        let means = if audit.required {
            "whatever it would have to record is refused"
        } else {
            "values are released without a record"
        };
        add(
            Weight::Error,
            format!("the audit log {} cannot be written", audit.path),
            format!("{failure}; {means}"),
            Vec::new(),
        );
    }
    if let Some(failure) = status.snapshot.as_ref().and_then(|snapshot| snapshot.failure.as_ref()) {
        let means = "at the next start there may be nothing to stand in for a source";
        add(Weight::Error, "the last-known-good snapshot failed".into(), means.into(), vec![failure]);
    }
    for (weight, title, meaning, finding) in worries(status) {
        add(weight, title, meaning, finding.into_iter().collect());
    }
    let named = |state: VariableState| -> Vec<&str> {
        let such = status.variables.iter().filter(|variable| variable.state == state);
        such.map(|variable| variable.key.as_str()).collect()
    };
    let withheld = named(VariableState::Withheld);
    if !withheld.is_empty() {
        let title = format!("{} withheld: too old to be given", plural(withheld.len(), "variable"));
        add(Weight::Error, title, withheld.join(", "), Vec::new());
    }
    let deleted = named(VariableState::Deleted);
    if let Some(first) = deleted.first() {
        let title = format!("{} held, though deleted at the source", plural(deleted.len(), "variable"));
        let meaning = format!("{}; `dlconf forget {first}` gives it up", deleted.join(", "));
        add(Weight::Warning, title, meaning, Vec::new());
    }
    // What a source says of itself stands there.
    let of_sources = || status.sources.iter().flat_map(|source| &source.faults);
    let is_stand_in = |finding: &FindingStatus| {
        finding.severity == "warning" && finding.code.as_deref() == Some(Code::SourceUnreachable.as_str())
    };
    let is_of_source =
        |finding: &&FindingStatus| of_sources().any(|fault| fault == *finding) || is_stand_in(finding);
    let (errors, warnings): (Vec<_>, Vec<_>) = status
        .findings
        .iter()
        .filter(|finding| !is_of_source(finding))
        .partition(|finding| finding.severity == "error");
    for (weight, findings) in [(Weight::Error, errors), (Weight::Warning, warnings)] {
        if !findings.is_empty() {
            let noun = if weight == Weight::Error { "error" } else { "warning" };
            let title = format!("{} about what is published", plural(findings.len(), noun));
            add(weight, title, String::new(), findings);
        }
    }
    all.sort_by_key(|trouble| trouble.weight);
    all
}

/// Since when a source was not confirmed, in words.
pub(crate) fn confirmed(source: &SourceStatus) -> String {
    match (source.snapshot_age_seconds, source.faults.first(), source.age_seconds) {
        (Some(seconds), Some(fault), _) => {
            format!("snapshot, {} old (cannot be read: {})", age(seconds), fault.message)
        }
        (Some(seconds), None, _) => format!("snapshot, {} old (does not answer)", age(seconds)),
        (None, _, Some(seconds)) => format!("seen {} ago", age(seconds)),
        (None, _, None) => "not read yet".into(),
    }
}

/// Why it is not ready, a sentence each; with names only where they may be told.
pub(crate) fn waits_for(status: &Status, names: bool) -> Vec<String> {
    let mut reasons = Vec::new();
    if status.version.is_none() {
        let unread = status.sources.iter().filter(|source| source.age_seconds.is_none());
        let unread: Vec<&str> = unread.map(|source| source.name.as_str()).collect();
        reasons.push("no configuration is published yet".to_owned());
        if !unread.is_empty() {
            let number = format!("{} not read yet", plural(unread.len(), "source"));
            reasons.push(if names { format!("{number}: {}", unread.join(", ")) } else { number });
        }
        if let Some(rejected) = &status.rejected {
            let number = format!("what was read is refused: {}", plural(rejected.findings.len(), "finding"));
            let words = |finding: &FindingStatus| match &finding.code {
                Some(code) => format!("[{code}] {}", finding.message),
                None => finding.message.clone(),
            };
            let list = rejected.findings.iter().map(words).collect::<Vec<_>>().join("; ");
            reasons.push(if names { format!("{number}: {list}") } else { number });
        }
    }
    let empty: Vec<&str> = status
        .deliveries
        .iter()
        .filter(|delivery| delivery.version.is_none())
        .map(|delivery| delivery.name.as_str())
        .collect();
    if !empty.is_empty() && status.version.is_some() {
        let noun = if empty.len() == 1 { "delivery" } else { "deliveries" };
        let number = format!("{} {noun} without a version", empty.len());
        reasons.push(if names { format!("{number}: {}", empty.join(", ")) } else { number });
    }
    if reasons.is_empty() {
        reasons.push("it says that it is not ready".to_owned());
    }
    reasons
}

/// `12s`, `4m`, `3h`, `26d`: two digits where they do.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `2026-11-22 07:01:12 UTC` of `2026-11-22T07:01:12Z`.
pub(crate) fn moment(time: &str) -> String {
    match time.split_once('T') {
        Some((day, clock)) => {
            let clock = clock.strip_suffix('Z').unwrap_or(clock);
            format!("{day} {} UTC", clock.split_once('.').map_or(clock, |(seconds, _)| seconds))
        }
        None => time.to_owned(),
    }
}

/// A variable's state in a word.
pub(crate) fn state_word(state: VariableState) -> &'static str {
    match state {
        VariableState::Current => "current",
        VariableState::Held => "held",
        VariableState::Deleted => "deleted",
        VariableState::Withheld => "withheld",
        VariableState::Missing => "missing",
    }
}

/// A source's health in a word.
pub(crate) fn health_word(health: Health) -> &'static str {
    match health {
        Health::Waiting => "waiting",
        Health::Up => "up",
        Health::Down => "down",
        Health::Stale => "stale",
    }
}

/// How a delivery is, in a word.
pub(crate) fn delivery_word(delivery: &DeliveryStatus) -> &'static str {
    match (&delivery.failure, &delivery.version) {
        (Some(_), _) => "failed",
        (None, None) => "waiting",
        (None, Some(_)) => "current",
    }
}

/// The place of a value, with its revision where the place does not tell it.
pub(crate) fn origin(variable: &VariableStatus) -> String {
    match (&variable.origin, &variable.revision) {
        (Some(origin), Some(revision)) if !origin.ends_with(&format!("@{revision}")) => {
            format!("{origin}@{revision}")
        }
        (Some(origin), _) => origin.clone(),
        (None, _) => "not set".into(),
    }
}

/// For people, ending with a newline. `place` is where the daemon was asked.
pub fn text(status: &Status, place: &str, style: Style) -> String {
    let page = Page { style };
    let mut out = page.header(status, place);
    for trouble in troubles(status) {
        page.trouble(&mut out, &trouble);
    }
    page.sources(&mut out, &status.sources);
    page.deliveries(&mut out, &status.deliveries);
    page.consumers(&mut out, &status.consumers);
    page.rotations(&mut out, status);
    page.variables(&mut out, &status.variables);
    out
}

/// The daemon's own document, as one line of JSON.
pub fn json(status: &Status) -> String {
    to_json(status)
}

struct Page {
    style: Style,
}

impl Page {
    fn paint(&self, paint: Paint, text: &str) -> String {
        if self.style.color {
            format!("{}{text}{}", paint.render(), paint.render_reset())
        } else {
            text.to_owned()
        }
    }

    fn header(&self, status: &Status, place: &str) -> String {
        let readiness = if status.ready { self.paint(GOOD, "ready") } else { self.paint(BAD, "not ready") };
        let service = status.service.as_ref().map_or(String::new(), |name| format!(" · {}", visible(name)));
        let version = match (&status.version, &status.since) {
            (Some(version), Some(since)) => format!("{} since {}", visible(version), moment(&visible(since))),
            (Some(version), None) => visible(version).into_owned(),
            (None, _) => "nothing published yet".to_owned(),
        };
        let mut out = String::new();
        let first = format!(
            "{}{service} · {} · {readiness}",
            self.paint(STRONG, &visible(&status.environment)),
            self.paint(STRONG, &version),
        );
        out.push_str(&format!("{first}\n"));
        let second = format!(
            "schema {} ({}) · dlconf {} at {}, started {}",
            visible(&status.schema),
            visible(&status.schema_path),
            visible(&status.release),
            visible(place),
            moment(&visible(&status.started)),
        );
        hang(&mut out, ("", 0), &second, self.style.width, |line| self.paint(QUIET, line));
        if let Some(audit) = &status.audit {
            let third = format!(
                "audit {} · {} · head {}",
                visible(&audit.path),
                plural(usize::try_from(audit.records).unwrap_or(usize::MAX), "record"),
                visible(&audit.head),
            );
            hang(&mut out, ("", 0), &third, self.style.width, |line| self.paint(QUIET, line));
        }
        if let Some(snapshot) = &status.snapshot {
            let line =
                visible(&format!("snapshot {} · {}", snapshot.path, snapshot_facts(snapshot))).into_owned();
            hang(&mut out, ("", 0), &line, self.style.width, |line| self.paint(QUIET, line));
        }
        out
    }

    fn trouble(&self, out: &mut String, trouble: &Trouble<'_>) {
        let (word, paint) = match trouble.weight {
            Weight::Error => ("error", BAD),
            Weight::Warning => ("warning", DOUBTFUL),
        };
        let head =
            format!("\n{}: {}\n", self.paint(paint, word), self.paint(STRONG, &visible(&trouble.title)));
        out.push_str(&head);
        let hung = |out: &mut String, head: &str, columns: usize, text: &str| {
            hang(out, (head, columns), &visible(text), self.style.width, str::to_owned);
        };
        if !trouble.meaning.is_empty() {
            hung(out, "  ", 2, &trouble.meaning);
        }
        for finding in &trouble.findings {
            let weight = if finding.severity == "error" { BAD } else { DOUBTFUL };
            let code = finding.code.as_deref().unwrap_or("-");
            hung(
                out,
                &format!("  {} ", self.paint(weight, &visible(code))),
                code.chars().count() + 3,
                &finding.message,
            );
            let indent = " ".repeat(code.chars().count() + 3);
            if let Some(place) = &finding.place {
                hung(out, &format!("{indent}--> "), indent.len() + 4, place);
            }
            if let Some(help) = &finding.help {
                let head = format!("{indent}{} ", self.paint(STRONG, "fix:"));
                hung(out, &head, indent.len() + 5, help);
            }
        }
    }

    fn heading(&self, out: &mut String, title: &str, count: usize) {
        out.push_str(&format!("\n{} {}\n", self.paint(STRONG, title), self.paint(QUIET, &count.to_string())));
    }

    /// The state, padded.
    fn state(&self, word: &str) -> String {
        let paint = match word {
            "current" | "up" | "steady" | "moving" => GOOD,
            "held" | "deleted" | "waiting" | "behind" | "overdue" | "stopped" => DOUBTFUL,
            _ => BAD,
        };
        format!("{}{}", self.paint(paint, word), " ".repeat(STATE.saturating_sub(word.len())))
    }

    /// The text in at most so many columns: the middle goes, since a place is told
    /// by its beginning and its end.
    fn fit(&self, text: &str, room: usize) -> String {
        let text = visible(text);
        let length = text.chars().count();
        if length <= room {
            return text.into_owned();
        }
        let (gap, wide) = if self.style.unicode { ("…", 1) } else { ("...", 3) };
        let end = (room - wide) * 2 / 3;
        let beginning: String = text.chars().take(room - wide - end).collect();
        let ending: String = text.chars().skip(length - end).collect();
        format!("{beginning}{gap}{ending}")
    }

    fn sources(&self, out: &mut String, sources: &[SourceStatus]) {
        self.heading(out, "sources", sources.len());
        let name = widest(sources.iter().map(|source| source.name.as_str()));
        let kind = widest(sources.iter().map(|source| source.kind.as_str()));
        for source in sources {
            let next = source.leases.iter().filter_map(|lease| lease.ttl_seconds).min();
            let leases = match (source.leases.len(), next) {
                (0, _) => String::new(),
                (count, None) => format!(", {}", plural(count, "lease")),
                (1, Some(seconds)) => format!(", lease {}", age(seconds)),
                (count, Some(seconds)) => format!(", {count} leases, next {}", age(seconds)),
            };
            let variables = plural(source.offers, "variable");
            let rest = format!("{variables}, {}{leases}", confirmed(source));
            let head = format!(
                "  {}  {:name$}  {}  ",
                self.state(health_word(source.health)),
                visible(&source.name),
                self.paint(FAINT, &format!("{:kind$}", visible(&source.kind))),
            );
            let columns = 2 + STATE + 2 + name + 2 + kind + 2;
            hang(out, (&head, columns), &visible(&rest), self.style.width, str::to_owned);
        }
    }

    fn deliveries(&self, out: &mut String, deliveries: &[DeliveryStatus]) {
        if deliveries.is_empty() {
            return;
        }
        self.heading(out, "deliveries", deliveries.len());
        let name = widest(deliveries.iter().map(|delivery| delivery.name.as_str()));
        let facts: Vec<String> = deliveries.iter().map(delivery_facts).collect();
        let wide = widest(facts.iter().map(String::as_str));
        let room = self.style.width.saturating_sub(2 + STATE + 2 + name + 2 + wide + 2).max(ORIGIN);
        for (delivery, facts) in deliveries.iter().zip(&facts) {
            out.push_str(&format!(
                "  {}  {:name$}  {:wide$}  {}\n",
                self.state(delivery_word(delivery)),
                visible(&delivery.name),
                visible(facts),
                self.paint(FAINT, &self.fit(&delivery.path, room)),
            ));
        }
    }

    fn consumers(&self, out: &mut String, consumers: &[ConsumerStatus]) {
        if consumers.is_empty() {
            return;
        }
        self.heading(out, "consumers", consumers.len());
        let names: Vec<String> =
            consumers.iter().map(|consumer| format!("{} {}", consumer.name, consumer.instance)).collect();
        let name = widest(names.iter().map(String::as_str));
        for (consumer, shown) in consumers.iter().zip(&names) {
            let health = consumer.health.filter(|health| health.is_up());
            let health = health.map_or_else(String::new, |health| format!(", {}", health.as_str()));
            let facts = format!("{}{health}, {}", consumer.version, age(consumer.age_seconds));
            let runs: Vec<String> = consumer.runs.iter().map(|(key, used)| keys_in_use(key, used)).collect();
            let room =
                self.style.width.saturating_sub(2 + STATE + 2 + name + 2 + facts.len() + 2).max(ORIGIN);
            out.push_str(&format!(
                "  {}  {:name$}  {}  {}\n",
                self.state(consumer_word(consumer)),
                visible(shown),
                visible(&facts),
                self.paint(FAINT, &self.fit(&runs.join("; "), room)),
            ));
        }
    }

    fn rotations(&self, out: &mut String, status: &Status) {
        let Some(told) = &status.rotator else { return };
        self.heading(out, "rotations", status.rotations.len());
        if let Some(line) = rotator(told) {
            hang(out, ("  ", 2), &visible(&line), self.style.width, str::to_owned);
        }
        let name = widest(status.rotations.iter().map(|rotation| rotation.key.as_str()));
        for rotation in &status.rotations {
            let head =
                format!("  {}  {:name$}  ", self.state(rotation_word(rotation)), visible(&rotation.key));
            let columns = 2 + STATE + 2 + name + 2;
            hang(out, (&head, columns), &visible(&rotation_facts(rotation)), self.style.width, str::to_owned);
        }
    }

    fn variables(&self, out: &mut String, variables: &[VariableStatus]) {
        self.heading(out, "variables", variables.len());
        let name = widest(variables.iter().map(|variable| variable.key.as_str()));
        let room = self.style.width.saturating_sub(2 + STATE + 2 + name + 2 + 4 + 2).max(ORIGIN);
        for variable in variables {
            let age = variable.age_seconds.map_or_else(|| "-".to_owned(), age);
            out.push_str(&format!(
                "  {}  {:name$}  {age:>4}  {}\n",
                self.state(state_word(variable.state)),
                visible(&variable.key),
                self.paint(FAINT, &self.fit(&origin(variable), room)),
            ));
        }
    }
}

/// How a consumer is, in a word.
pub(crate) fn consumer_word(consumer: &ConsumerStatus) -> &'static str {
    match consumer.health {
        // What does not run is not behind.
        Some(health) if !health.is_up() => health.as_str(),
        _ if consumer.current => "current",
        _ => "behind",
    }
}

/// `JWT_SECRET signs k2, verifies k2 k1`.
pub(crate) fn keys_in_use(key: &str, used: &KeysInUse) -> String {
    let signs = used.signs.as_ref().map(|kid| format!(" signs {kid}"));
    let verifies = (!used.verifies.is_empty()).then(|| format!(" verifies {}", used.verifies.join(" ")));
    let parts: Vec<String> = [signs, verifies].into_iter().flatten().collect();
    format!("{key}{}", parts.join(","))
}

/// `7f3a.42, 65 variables, 4m`.
fn delivery_facts(delivery: &DeliveryStatus) -> String {
    let version = delivery.version.as_deref().unwrap_or("nothing yet");
    let since = delivery.age_seconds.map_or(String::new(), |seconds| format!(", {}", age(seconds)));
    format!("{version}, {}{since}", plural(delivery.vars, "variable"))
}

/// The columns of a list, in which the odd name that is wider runs over.
fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| visible(text).chars().count()).filter(|wide| *wide <= WIDEST).max().unwrap_or(0)
}
