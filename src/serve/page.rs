//! The status page: what the status says, for a person.
//!
//! Invariants: no script; nothing of it is a value, since a status has none;
//! what is wrong stands above what is well; a state is a word and a shape, not a
//! colour alone. maud escapes every text.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::plural;
use crate::report::rotations::{due, kids, rotation_word, rotator};
use crate::report::snapshots::snapshot_facts;
use crate::report::status::{
    Trouble, Weight, age, consumer_word, delivery_word, health_word, keys_in_use, moment, state_word,
    troubles, waits_for,
};
use crate::status::{
    ChildHealth, ConsumerStatus, DeliveryStatus, FindingStatus, Health, RotationStatus, SourceStatus, Status,
    VariableState, VariableStatus,
};
use crate::visible::visible;

/// The query of a page that does not load itself again.
pub const RESTS: &str = "still";

/// How often it loads itself again, in seconds.
const EVERY: u32 = 10;

const STYLE: &str = include_str!("page.css");

/// How something is, as it is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Waiting,
    Doubtful,
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Waiting => "waiting",
            Self::Doubtful => "doubtful",
            Self::Bad => "bad",
        }
    }

    /// A shape, for who does not tell the colours apart.
    fn shape(self) -> &'static str {
        match self {
            Self::Good => "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z",
            Self::Waiting => {
                "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 2.4a3.6 3.6 0 1 1 0 7.2 3.6 3.6 0 0 1 0-7.2z"
            }
            Self::Doubtful => "M8 1.6 15 14H1z",
            Self::Bad => {
                "M4.1 2.2 8 6.1l3.9-3.9 1.9 1.9L9.9 8l3.9 3.9-1.9 1.9L8 9.9l-3.9 3.9-1.9-1.9L6.1 8 2.2 4.1z"
            }
        }
    }

    fn of_source(health: Health) -> Self {
        match health {
            Health::Up => Self::Good,
            Health::Waiting => Self::Waiting,
            Health::Down | Health::Stale => Self::Bad,
        }
    }

    fn of_variable(state: VariableState) -> Self {
        match state {
            VariableState::Current => Self::Good,
            VariableState::Held | VariableState::Deleted => Self::Doubtful,
            VariableState::Withheld | VariableState::Missing => Self::Bad,
        }
    }

    fn of_consumer(consumer: &ConsumerStatus) -> Self {
        match consumer.health {
            Some(ChildHealth::Failed) => Self::Bad,
            Some(ChildHealth::Stopped) => Self::Doubtful,
            _ if consumer.current => Self::Good,
            _ => Self::Doubtful,
        }
    }

    fn of_rotation(rotation: &RotationStatus) -> Self {
        match rotation_word(rotation) {
            "failed" => Self::Bad,
            "waiting" | "overdue" => Self::Doubtful,
            "moving" => Self::Waiting,
            _ => Self::Good,
        }
    }

    fn of_delivery(delivery: &DeliveryStatus) -> Self {
        match (&delivery.failure, &delivery.version) {
            (Some(_), _) => Self::Bad,
            (None, None) => Self::Waiting,
            (None, Some(_)) => Self::Good,
        }
    }
}

/// The whole page. `nonce` lets its style, and nothing else, in; one that rests
/// does not load itself again.
pub fn html(status: &Status, nonce: &str, rests: bool) -> Markup {
    let troubles = troubles(status);
    let worst = match troubles.first().map(|trouble| trouble.weight) {
        Some(Weight::Error) => Tone::Bad,
        Some(Weight::Warning) => Tone::Doubtful,
        None if status.ready => Tone::Good,
        None => Tone::Waiting,
    };
    let count = if troubles.is_empty() { String::new() } else { format!("({}) ", troubles.len()) };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if !rests { meta http-equiv="refresh" content=(EVERY); }
                title { (count) (visible(&status.environment)) " · dlconf" }
                link rel="icon" href=(icon(worst));
                style nonce=(nonce) { (PreEscaped(STYLE)) }
            }
            body {
                (header(status, worst, troubles.len()))
                main {
                    @if !status.ready { (not_ready(status)) }
                    @if !troubles.is_empty() {
                        section aria-labelledby="attention" {
                            (heading("attention", "Needs attention", troubles.len()))
                            @for trouble in &troubles { (attention(trouble)) }
                        }
                    }
                    (sources(status))
                    @if !status.deliveries.is_empty() { (deliveries(&status.deliveries, status.version.as_deref())) }
                    @if !status.consumers.is_empty() { (consumers(&status.consumers)) }
                    @if status.rotator.is_some() { (rotations(status)) }
                    (variables(&status.variables, !status.deliveries.is_empty()))
                }
                footer {
                    p { "dlconf " (visible(&status.release)) ", started " (time(&status.started)) ". No values are shown here, nor known to this page." }
                    p {
                        @if rests { "This page rests. " a href="/" { "Follow it again" } }
                        @else { "Loads again every " (EVERY) " seconds. " a href={ "/?" (RESTS) } { "Let it rest" } }
                    }
                }
            }
        }
    }
}

/// A drawn state for the browser's tab.
fn icon(tone: Tone) -> String {
    let color = match tone {
        Tone::Good => "1a7f4b",
        Tone::Waiting => "6b7280",
        Tone::Doubtful => "b7791f",
        Tone::Bad => "d03438",
    };
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='%23{color}' d='{}'/%3E%3C/svg%3E",
        tone.shape()
    )
}

/// A state: its shape and its word.
fn state(tone: Tone, word: &str) -> Markup {
    html! {
        span class={ "state " (tone.class()) } {
            svg viewBox="0 0 16 16" aria-hidden="true" { path d=(tone.shape()); }
            (word)
        }
    }
}

fn time(time: &str) -> Markup {
    html! { time datetime=(visible(time)) { (moment(&visible(time))) } }
}

fn heading(id: &str, title: &str, count: usize) -> Markup {
    html! { h2 id=(id) { (title) " " span.count { (count) } } }
}

fn header(status: &Status, worst: Tone, troubles: usize) -> Markup {
    let health = match (troubles, worst) {
        (0, Tone::Good) => state(Tone::Good, "All well"),
        (0, tone) => state(tone, "Starting"),
        (count, tone) => state(tone, &plural(count, "problem")),
    };
    let readiness = if status.ready { state(Tone::Good, "Ready") } else { state(Tone::Bad, "Not ready") };
    html! {
        header {
            div.title {
                p.product { "dlconf" }
                h1 { (visible(&status.environment)) }
                p.health { (health) (readiness) }
            }
            dl.facts {
                div {
                    dt { "Version" }
                    dd {
                        @if let Some(version) = &status.version { strong.number { (visible(version)) } }
                        @else { strong { "nothing published" } }
                        @if let Some(since) = &status.since { small { "since " (time(since)) } }
                    }
                }
                div {
                    dt { "Generation" }
                    dd { strong.number { (status.generation) } small { (plural(status.variables.len(), "variable")) } }
                }
                div {
                    dt { "Schema" }
                    dd { strong { (visible(&status.schema)) } small.code { (breaks(&status.schema_path)) } }
                }
                div {
                    dt { "Service" }
                    dd {
                        @if let Some(service) = &status.service { strong { (visible(service)) } }
                        @else { strong { "all" } small { "the union of their variables" } }
                    }
                }
            }
        }
    }
}

fn not_ready(status: &Status) -> Markup {
    html! {
        section.notice aria-labelledby="waiting" {
            h2 id="waiting" { "Not ready" }
            ul { @for reason in waits_for(status, true) { li { (visible(&sentence_case(&reason))) } } }
        }
    }
}

fn attention(trouble: &Trouble<'_>) -> Markup {
    let (tone, word) = match trouble.weight {
        Weight::Error => (Tone::Bad, "Error"),
        Weight::Warning => (Tone::Doubtful, "Warning"),
    };
    html! {
        article class={ "trouble " (tone.class()) } {
            h3 { (state(tone, word)) span { (visible(&sentence_case(&trouble.title))) } }
            @if !trouble.meaning.is_empty() { p.meaning { (prose(&trouble.meaning)) } }
            @if !trouble.findings.is_empty() { ul.findings { @for one in &trouble.findings { (finding(one)) } } }
        }
    }
}

fn finding(finding: &FindingStatus) -> Markup {
    html! {
        li {
            p {
                @if let Some(code) = &finding.code { span.code.tag { (visible(code)) } " " }
                (prose(&finding.message))
            }
            @if finding.place.is_some() || finding.help.is_some() {
                dl {
                    @if let Some(place) = &finding.place { dt { "Where" } dd.code { (breaks(place)) } }
                    @if let Some(help) = &finding.help { dt { "Fix" } dd { (prose(help)) } }
                }
            }
        }
    }
}

/// One cell; `label` names it where the columns are stacked. The roles are said
/// because a table that is drawn otherwise is none to some readers.
fn cell(class: &str, label: &str, content: &Markup) -> Markup {
    html! { td role="cell" class=(class) data-label=(label) { div { (content) } } }
}

fn table(class: &str, labelled_by: &str, columns: &[(&str, &str)], rows: &Markup) -> Markup {
    html! {
        table class=(class) role="table" aria-labelledby=(labelled_by) {
            thead role="rowgroup" {
                tr role="row" {
                    @for (class, column) in columns { th role="columnheader" scope="col" class=(class) { (column) } }
                }
            }
            tbody role="rowgroup" { (rows) }
        }
    }
}

fn name(text: &str, more: &Markup) -> Markup {
    html! { th role="rowheader" scope="row" class="name code" { (breaks(text)) (more) } }
}

fn sources(Status { sources, snapshot, .. }: &Status) -> Markup {
    let rows = html! {
        @for source in sources {
            @let confirmed = source.age_seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{} ago", age(seconds)));
            @let stands_in = source.snapshot_age_seconds.is_some();
            tr role="row" {
                (name(&source.name, &html! { span.kind { (visible(&source.kind)) } }))
                (cell("state-cell", "State", &html! {
                    (state(Tone::of_source(source.health), health_word(source.health)))
                    @if stands_in { span.kind { "snapshot" } }
                }))
                (cell("number", "Confirmed", &html! { (confirmed) }))
                (cell("number", "May be", &html! { (age(source.max_age_seconds)) " old" }))
                (cell("number", "Variables", &html! { (source.offers) }))
                (cell("leases", "Leases", &leases(source)))
            }
        }
    };
    let columns = [
        ("", "Source"),
        ("", "State"),
        ("number", "Confirmed"),
        ("number", "May be"),
        ("number", "Variables"),
        ("", "Leases"),
    ];
    html! {
        section aria-labelledby="sources" {
            (heading("sources", "Sources", sources.len()))
            p.aside { "Lowest first: where two offer a variable, the later one wins." }
            (table("sources", "sources", &columns, &rows))
            @if let Some(snapshot) = snapshot {
                p.aside.below { "Snapshot " span.code { (breaks(&snapshot.path)) } ": " (prose(&snapshot_facts(snapshot))) "." }
            }
        }
    }
}

fn leases(source: &SourceStatus) -> Markup {
    html! {
        @if source.leases.is_empty() { span.none { "none" } }
        @else {
            ul.plain {
                @for lease in &source.leases {
                    li {
                        span.code { (breaks(&lease.path)) } " "
                        span.number { @match lease.ttl_seconds { Some(seconds) => { (age(seconds)) " left" }, None => {} } }
                    }
                }
            }
        }
    }
}

fn deliveries(deliveries: &[DeliveryStatus], newest: Option<&str>) -> Markup {
    let rows = html! {
        @for delivery in deliveries {
            tr role="row" {
                (name(&delivery.name, &html! { span.kind { (visible(&delivery.kind)) } }))
                (cell("state-cell", "State", &state(Tone::of_delivery(delivery), delivery_word(delivery))))
                (cell("number", "Version", &html! {
                    @if let Some(version) = &delivery.version {
                        (visible(version))
                        @if newest != Some(version) { " " span.behind { "behind" } }
                    } @else { span.none { "none yet" } }
                }))
                (cell("number", "Age", &html! { (aged(delivery.age_seconds)) }))
                (cell("number", "Variables", &html! { (delivery.vars) }))
                (cell("path code", "Path", &breaks(&delivery.path)))
                (cell("hook", "On change", &html! {
                    @match &delivery.on_change {
                        Some(hook) => {
                            (state(if hook.ok { Tone::Good } else { Tone::Bad }, &visible(&hook.detail)))
                            " " span.none { (age(hook.age_seconds)) " ago" }
                        }
                        None => { span.none { "none" } }
                    }
                }))
            }
        }
    };
    let columns = [
        ("", "Delivery"),
        ("", "State"),
        ("number", "Version"),
        ("number", "Age"),
        ("number", "Variables"),
        ("", "Path"),
        ("", "On change"),
    ];
    html! {
        section aria-labelledby="deliveries" {
            (heading("deliveries", "Deliveries", deliveries.len()))
            (table("deliveries", "deliveries", &columns, &rows))
        }
    }
}

fn consumers(consumers: &[ConsumerStatus]) -> Markup {
    let rows = html! {
        @for consumer in consumers {
            tr role="row" {
                (name(&consumer.name, &html! { span.kind { (visible(&consumer.instance)) } }))
                (cell("state-cell", "State", &state(Tone::of_consumer(consumer), consumer_word(consumer))))
                (cell("number", "Version", &html! { (visible(&consumer.version)) }))
                (cell("number", "Said", &html! { (age(consumer.age_seconds)) " ago" }))
                (cell("to", "Runs", &html! {
                    @if consumer.runs.is_empty() { span.none { "no keys named" } }
                    @for (key, used) in &consumer.runs { p { (breaks(&keys_in_use(key, used))) } }
                }))
            }
        }
    };
    let columns = [("", "Consumer"), ("", "State"), ("number", "Version"), ("number", "Said"), ("", "Runs")];
    html! {
        section aria-labelledby="consumers" {
            (heading("consumers", "Consumers", consumers.len()))
            (table("consumers", "consumers", &columns, &rows))
        }
    }
}

fn rotations(Status { rotator: told, rotations, .. }: &Status) -> Markup {
    let rows = html! {
        @for rotation in rotations {
            tr role="row" {
                (name(&rotation.key, &html! { span.kind { (visible(&rotation.strategy)) } }))
                (cell("state-cell", "State", &state(Tone::of_rotation(rotation), rotation_word(rotation))))
                (cell("number", "Phase", &html! {
                    (visible(&rotation.phase)) " "
                    @if rotation.phase != "steady" { span.none { (age(rotation.phase_seconds)) " ago" } }
                }))
                (cell("number", "Rotations", &html! { (rotation.number) }))
                (cell("to", "Keys", &html! {
                    @match kids(rotation) { Some(kids) => { (breaks(&kids)) }, None => { span.none { "none noted" } } }
                }))
                (cell("to", "Next", &html! {
                    @for clause in &rotation.waiting { p { "waits: " (breaks(clause)) } }
                    @if let Some(seconds) = rotation.retires_seconds { p { "retires in " (age(seconds)) } }
                    @if let Some(due) = due(rotation) { p { (due) } }
                }))
            }
        }
    };
    let columns = [
        ("", "Variable"),
        ("", "State"),
        ("number", "Phase"),
        ("number", "Rotations"),
        ("", "Keys"),
        ("", "Next"),
    ];
    html! {
        section aria-labelledby="rotations" {
            (heading("rotations", "Rotations", rotations.len()))
            @if let Some(line) = told.as_ref().and_then(rotator) { p.aside { (breaks(&sentence_case(&line))) "." } }
            (table("rotations", "rotations", &columns, &rows))
        }
    }
}

fn variables(variables: &[VariableStatus], delivered: bool) -> Markup {
    let rows = html! {
        @for variable in variables {
            tr role="row" {
                (name(&variable.key, &html! { @if variable.secret { span.kind { "secret" } } }))
                (cell("state-cell", "State", &state(Tone::of_variable(variable.state), state_word(variable.state))))
                (cell("path code", "Origin", &html! {
                    @match &variable.origin { Some(origin) => { (breaks(origin)) }, None => { span.none { "not set" } } }
                }))
                (cell("revision code", "Revision", &html! {
                    @match &variable.revision { Some(revision) => { (breaks(revision)) }, None => { span.none { "–" } } }
                }))
                (cell("number", "Age", &html! { (aged(variable.age_seconds)) }))
                @if delivered {
                    (cell("to", "Delivered to", &html! {
                        @if variable.deliveries.is_empty() { span.none { "nobody" } }
                        @else { (breaks(&variable.deliveries.join(", "))) }
                    }))
                }
            }
        }
    };
    let mut columns =
        vec![("", "Variable"), ("", "State"), ("", "Origin"), ("", "Revision"), ("number", "Age")];
    if delivered {
        columns.push(("", "Delivered to"));
    }
    html! {
        section aria-labelledby="variables" {
            (heading("variables", "Variables", variables.len()))
            @if variables.is_empty() { p.none { "None yet: they come with the first version." } }
            @else { (table("variables", "variables", &columns, &rows)) }
        }
    }
}

fn aged(seconds: Option<u64>) -> Markup {
    html! { @match seconds { Some(seconds) => { (age(seconds)) }, None => { span.none { "–" } } } }
}

fn sentence_case(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Words, in which backticks stand around code.
fn prose(text: &str) -> Markup {
    if text.matches('`').count() % 2 == 1 {
        return breaks(text);
    }
    html! {
        @for (index, piece) in text.split('`').enumerate() {
            @if index % 2 == 1 { code.code { (breaks(piece)) } } @else { (breaks(piece)) }
        }
    }
}

/// A text that may break where a place has its joints, rather than anywhere.
fn breaks(text: &str) -> Markup {
    let text = visible(text);
    let pieces = text.split_inclusive(['/', '#', '@', ':', '_', '.', '-', ',']);
    html! { @for piece in pieces { (piece) wbr; } }
}
