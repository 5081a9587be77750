//! What an access policy gives to somebody, for people and for machines.
//!
//! Invariants: as of all reports (see the module above).

use annotate_snippets::renderer::Style as Paint;
use serde::Serialize;

use super::doctor::{BAD, GOOD, STRONG};
use super::{Style, hang, to_json, visible};

/// A variable's name that is wider does not widen its column.
const WIDEST: usize = 40;
/// So many variables are named, however alike what is said of them.
const FEW: usize = 8;
/// The two words for a verdict are equally wide.
const VERDICT: usize = "allowed".len();

/// What was tried, and what came of it.
#[derive(Debug)]
pub struct Trial {
    /// Who was taken to ask, in words.
    pub caller: String,
    /// The user.
    pub uid: u32,
    /// The groups.
    pub groups: Vec<u32>,
    /// The program.
    pub exe: Option<String>,
    /// The systemd unit.
    pub unit: Option<String>,
    /// What of that was looked up, as a clause.
    pub note: Option<String>,
    /// The policy's file; none where there is no policy.
    pub policy: Option<String>,
    /// The schema's file.
    pub schema: String,
    /// The daemon's service; none means all.
    pub service: Option<String>,
    /// Every action on every variable, in schema order.
    pub verdicts: Vec<Verdict>,
    /// The rules that verdicts name.
    pub rules: Vec<RuleTold>,
    /// What would change a refusal, each once.
    pub fixes: Vec<String>,
}

/// One action on one variable.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// What.
    pub action: &'static str,
    /// With what.
    pub variable: String,
    /// The rule that allows it, or the one that came nearest.
    pub rule: Option<u32>,
    /// Why it is refused; none where it is allowed.
    pub reason: Option<String>,
    /// What would change that.
    pub help: Option<String>,
}

/// A rule of the policy.
#[derive(Debug, Serialize)]
pub struct RuleTold {
    /// Its number.
    pub number: u32,
    /// Where it is written, ready to print; none of what is implied.
    #[serde(skip)]
    pub place: Option<String>,
    /// The line there.
    pub line: Option<u32>,
    /// What its author says of it.
    pub description: String,
    /// For whom it is, and what it permits.
    pub terms: String,
}

impl Trial {
    /// Whether all of it is allowed.
    pub fn ok(&self) -> bool {
        self.verdicts.iter().all(Verdict::is_allowed)
    }
}

impl Verdict {
    fn is_allowed(&self) -> bool {
        self.reason.is_none()
    }
}

/// For people, ending with a newline.
pub fn text(trial: &Trial, style: Style) -> String {
    let paint = |paint: Paint, text: &str| {
        if style.color {
            format!("{}{text}{}", paint.render(), paint.render_reset())
        } else {
            text.to_owned()
        }
    };
    let mut out = String::new();
    let line = |out: &mut String, head: &str, columns: usize, words: &str| {
        hang(out, (head, columns), &visible(words), style.width, str::to_owned);
    };
    line(&mut out, "", 0, &trial.caller);
    if let Some(note) = &trial.note {
        line(&mut out, "", 0, note);
    }
    let policy = trial.policy.as_deref().unwrap_or("no policy: only the daemon's own user may ask");
    let service = trial.service.as_ref().map_or("all services".to_owned(), |name| format!("service {name}"));
    line(&mut out, "", 0, &format!("{policy} · {} · {service}", trial.schema));
    out.push('\n');

    let rows = rows(&trial.verdicts);
    let width =
        |widths: &mut dyn Iterator<Item = usize>| widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    let actions = width(&mut rows.iter().map(|(verdict, _)| verdict.action.len()));
    let names = width(&mut rows.iter().map(|(_, what)| what.chars().count()));
    for (Verdict { action, rule, reason, .. }, what) in &rows {
        let (word, color) = if reason.is_none() { ("allowed", GOOD) } else { ("refused", BAD) };
        let head = format!("  {}  {action:actions$}  {what:names$}  ", paint(color, word));
        let columns = 2 + VERDICT + 2 + actions + 2 + names.max(what.chars().count()) + 2;
        let by = rule.map_or_else(String::new, |rule| format!("rule {rule}"));
        line(&mut out, &head, columns, reason.as_deref().unwrap_or(&by));
    }
    if !trial.rules.is_empty() {
        out.push('\n');
    }
    for RuleTold { number, place, description, terms, .. } in &trial.rules {
        let head = format!("rule {number}");
        let columns = 2 + head.len() + 2;
        let place = place.as_ref().map_or_else(String::new, |place| format!("{place} · "));
        line(&mut out, &format!("  {}  ", paint(STRONG, &head)), columns, &format!("{place}{description}"));
        line(&mut out, &" ".repeat(columns), columns, terms);
    }
    if !trial.fixes.is_empty() {
        out.push('\n');
    }
    for fix in &trial.fixes {
        line(&mut out, &format!("  {} ", paint(STRONG, "fix:")), "  fix: ".len(), fix);
    }
    let allowed = trial.verdicts.iter().filter(|verdict| verdict.is_allowed()).count();
    out.push_str(&match trial.verdicts.len() - allowed {
        0 => format!("\n{allowed} allowed\n"),
        refused => format!("\n{allowed} allowed, {refused} refused\n"),
    });
    out
}

/// The lines, each with what it is about: one a verdict, but where an action is
/// refused throughout for one reason, one is enough.
fn rows(verdicts: &[Verdict]) -> Vec<(&Verdict, String)> {
    let alike = |one: &Verdict| {
        let all = verdicts.iter().filter(|verdict| verdict.action == one.action);
        one.reason.is_some()
            && all.clone().count() > FEW
            && all.clone().all(|verdict| verdict.reason == one.reason)
    };
    let first = |one: &Verdict| verdicts.iter().find(|verdict| verdict.action == one.action);
    let mut rows = Vec::new();
    for verdict in verdicts {
        if !alike(verdict) {
            rows.push((verdict, verdict.variable.clone()));
        } else if first(verdict).is_some_and(|first| std::ptr::eq(first, verdict)) {
            let count = verdicts.iter().filter(|other| other.action == verdict.action).count();
            rows.push((verdict, format!("all {count} variables")));
        }
    }
    rows
}

/// One line of JSON.
pub fn json(trial: &Trial) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        ok: bool,
        caller: CallerJson<'a>,
        policy: Option<&'a str>,
        schema: &'a str,
        service: Option<&'a str>,
        verdicts: Vec<VerdictJson<'a>>,
        rules: &'a [RuleTold],
    }
    #[derive(Serialize)]
    struct CallerJson<'a> {
        uid: u32,
        groups: &'a [u32],
        exe: Option<&'a str>,
        unit: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct VerdictJson<'a> {
        allowed: bool,
        #[serde(flatten)]
        verdict: &'a Verdict,
    }
    let verdicts = trial.verdicts.iter();
    to_json(&Document {
        ok: trial.ok(),
        caller: CallerJson {
            uid: trial.uid,
            groups: &trial.groups,
            exe: trial.exe.as_deref(),
            unit: trial.unit.as_deref(),
        },
        policy: trial.policy.as_deref(),
        schema: &trial.schema,
        service: trial.service.as_deref(),
        verdicts: verdicts.map(|verdict| VerdictJson { allowed: verdict.is_allowed(), verdict }).collect(),
        rules: &trial.rules,
    })
}
