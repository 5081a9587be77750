//! Findings for people: the offending line, what is wrong with it, the fix.
//!
//! Invariant: only colours (and those only if asked for) are sent as escape
//! sequences; everything from outside goes through `visible`.

use annotate_snippets::renderer::{
    AnsiColor, DEFAULT_ERROR_STYLE, DEFAULT_LINE_NUM_STYLE, DEFAULT_WARNING_STYLE, Effects, Style as Paint,
};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet as Source};

use super::visible::{visible, visible_marked};
use super::{Report, Style, Unjudged, hang, place_of, plural};
use crate::model::finding::{Finding, Severity, Snippet};

/// Narrower terminals are treated as this wide: a source line needs room.
const NARROWEST: usize = 40;
/// A note that begins so stands beside the place.
const LOOKED: &str = "looked ";
/// What stands between the place and such a note.
const BESIDE: &str = "      ";
/// Of more unjudged variables than this, only the required ones are named.
const MANY: usize = 12;

const GOOD: Paint = AnsiColor::Green.on_default().effects(Effects::BOLD);
const DOUBTFUL: Paint = AnsiColor::Yellow.on_default().effects(Effects::BOLD);
const BAD: Paint = AnsiColor::BrightRed.on_default().effects(Effects::BOLD);
const STRONG: Paint = Paint::new().effects(Effects::BOLD);
const QUIET: Paint = Paint::new().effects(Effects::DIMMED);

/// The whole report, ending with a newline.
pub fn render(report: &Report<'_>, style: Style) -> String {
    let pen = Pen { style: Style { width: style.width.max(NARROWEST), ..style } };
    let mut out = String::new();
    pen.header(&mut out, report);
    for finding in report.findings {
        pen.finding(&mut out, finding);
    }
    pen.unjudged(&mut out, report);
    pen.probes(&mut out, report);
    pen.verdict(&mut out, report);
    out
}

/// The errors alone, each as the report draws it.
pub fn errors(findings: &[Finding], style: Style) -> String {
    let pen = Pen { style: Style { width: style.width.max(NARROWEST), ..style } };
    let mut out = String::new();
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Error) {
        pen.finding(&mut out, finding);
    }
    out
}

struct Pen {
    style: Style,
}

impl Pen {
    fn header(&self, out: &mut String, report: &Report<'_>) {
        let plain = Paint::new();
        let mut parts = vec![("", STRONG, visible(report.environment).into_owned())];
        let service = report.service.map(|service| format!("service {}", visible(service)));
        parts.extend(service.map(|service| (self.dot(), plain, service)));
        parts.push((self.dot(), plain, visible(report.schema_path).into_owned()));
        for (index, place) in report.read.iter().enumerate() {
            let shown = format!("{} ({})", visible(&place.label), place.offers);
            parts.push(match index {
                0 => (self.dot(), plain, format!("read {shown}")),
                _ => (", ", plain, shown),
            });
        }
        if report.read.is_empty() {
            parts.push((self.dot(), plain, "read nothing".to_owned()));
        }
        self.row(out, &parts);
        out.push('\n');
    }

    fn finding(&self, out: &mut String, finding: &Finding) {
        let gutter = " ".repeat(gutter_width(finding));
        let (looked_in, notes): (Vec<&String>, Vec<&String>) =
            finding.notes.iter().partition(|note| finding.snippet.is_none() && note.starts_with(LOOKED));
        let mut notes: Vec<String> = notes.iter().map(|note| visible(note).into_owned()).collect();

        self.title(out, finding);
        let mut place = place_of(finding).map(|place| visible(&place).into_owned()).unwrap_or_default();
        let mut looked_in: Vec<String> = looked_in.iter().map(|note| visible(note).into_owned()).collect();
        if !looked_in.is_empty() {
            let beside = format!("{place}{BESIDE}{}", looked_in.join(BESIDE));
            if !place.is_empty() && gutter.len() + "--> ".len() + beside.chars().count() <= self.style.width {
                place = beside;
            } else {
                looked_in.append(&mut notes);
                notes = looked_in;
            }
        }
        if !place.is_empty() {
            push_line(out, &format!("{gutter}{} {place}", self.paint(DEFAULT_LINE_NUM_STYLE, "-->")));
        }
        let (source, label) = self.source(finding);
        for line in source {
            push_line(out, &line);
        }
        let head = format!("{gutter} {} ", self.paint(DEFAULT_LINE_NUM_STYLE, "="));
        let columns = gutter.len() + " = ".len();
        for note in label.into_iter().chain(notes) {
            self.hang(out, (&head, columns), &note);
        }
        if let Some(help) = &finding.help {
            let head = format!("{head}{} ", self.paint(STRONG, "fix:"));
            self.hang(out, (&head, columns + "fix: ".len()), &visible(help));
        }
        out.push('\n');
    }

    fn title(&self, out: &mut String, finding: &Finding) {
        let paint = match finding.severity {
            Severity::Error => DEFAULT_ERROR_STYLE,
            Severity::Warning => DEFAULT_WARNING_STYLE,
        };
        let tag = format!("{}[{}]", finding.severity.as_str(), finding.code);
        let head = format!("{}{}", self.paint(paint, &tag), self.paint(STRONG, ": "));
        hang(out, (&head, tag.len() + 2), &visible(&finding.message), self.style.width, |line| {
            self.paint(STRONG, line)
        });
    }

    /// The source line with its mark, where there is one. A label that has no
    /// room beside the mark comes back as a note.
    fn source(&self, finding: &Finding) -> (Vec<String>, Option<String>) {
        let Some(snippet) = &finding.snippet else { return (Vec::new(), None) };
        let (text, mark) = self.shorten(snippet);
        let (text, mark) = visible_marked(&text, mark);
        let label = visible(&snippet.label);
        // The line number, the bar and the space beside it are not the text's.
        let room = self.style.width.saturating_sub(gutter_width(finding) + 3);
        let draw = |label: Option<&str>| -> Vec<String> {
            let level = match finding.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let group = Group::with_level(level).element(
                Source::source(text.as_str())
                    .line_start(snippet.line as usize)
                    .annotation(AnnotationKind::Primary.span(mark.clone()).label(label)),
            );
            let renderer = if self.style.color { Renderer::styled() } else { Renderer::plain() };
            let drawn = renderer.term_width(room).render(&[group]);
            // The renderer sets the source line apart by lines of nothing but
            // the bar; in a list of findings they only push each other off the
            // screen.
            let lines = drawn.lines().filter(|line| without_colours(line).trim() != "|");
            lines.map(|line| line.trim_end().to_owned()).collect()
        };
        let drawn = draw(Some(&label));
        if drawn.iter().any(|line| without_colours(line).chars().count() > self.style.width) {
            (draw(None), Some(label.into_owned()))
        } else {
            (drawn, None)
        }
    }

    /// A marked stretch that is wider than half the room is cut at its end:
    /// the renderer only cuts what is not marked.
    fn shorten(&self, snippet: &Snippet) -> (String, std::ops::Range<usize>) {
        let room = self.style.width / 2;
        let length = snippet.text.chars().count();
        let start = snippet.mark.start.min(length);
        let end = snippet.mark.end.clamp(start, length);
        if end - start <= room {
            return (snippet.text.clone(), start..end);
        }
        let dots = if self.style.unicode { "…" } else { "..." };
        let kept = room - dots.chars().count();
        let mut text: String = snippet.text.chars().take(start + kept).collect();
        text.push_str(dots);
        text.extend(snippet.text.chars().skip(end));
        (text, start..start + room)
    }

    fn unjudged(&self, out: &mut String, report: &Report<'_>) {
        if report.unjudged.is_empty() {
            return;
        }
        let mut reasons: Vec<&str> = Vec::new();
        for unjudged in report.unjudged {
            if !reasons.contains(&unjudged.reason.as_str()) {
                reasons.push(&unjudged.reason);
            }
        }
        let title = format!("not judged: {}", plural(report.unjudged.len(), "variable"));
        push_line(out, &self.paint(DOUBTFUL, &title));
        let many = report.unjudged.len() > MANY;
        for reason in reasons {
            self.hang(out, ("  ", 2), &visible(reason));
            let alike = report.unjudged.iter().filter(|unjudged| unjudged.reason == reason);
            let (named, counted): (Vec<&Unjudged>, Vec<&Unjudged>) =
                alike.partition(|unjudged| unjudged.required || !many);
            let mut list =
                named.iter().map(|unjudged| unjudged.variable.as_str()).collect::<Vec<_>>().join(", ");
            if !counted.is_empty() {
                let and = if named.is_empty() { "" } else { " and " };
                list.push_str(&format!("{and}{}", plural(counted.len(), "optional one")));
            }
            self.hang(out, ("    ", 4), &list);
        }
        out.push('\n');
    }

    fn probes(&self, out: &mut String, report: &Report<'_>) {
        let Some(probes) = report.probes else { return };
        for tried in probes {
            let (tag, paint) = match tried.outcome.severity() {
                Some(Severity::Error) => ("error: ", DEFAULT_ERROR_STYLE),
                Some(Severity::Warning) => ("warning: ", DEFAULT_WARNING_STYLE),
                None => ("", GOOD),
            };
            let head = self.paint(paint, tag);
            self.hang(out, (&head, tag.len()), &visible(&tried.message()));
            if let Some(help) = tried.help() {
                let head =
                    format!("  {} {} ", self.paint(DEFAULT_LINE_NUM_STYLE, "="), self.paint(STRONG, "fix:"));
                self.hang(out, (&head, "  = fix: ".len()), &visible(&help));
            }
        }
        if probes.is_empty() {
            push_line(out, "no secret that is set has a probe");
        }
        out.push('\n');
    }

    fn verdict(&self, out: &mut String, report: &Report<'_>) {
        let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
        let mut parts = Vec::new();
        if errors > 0 {
            parts.push((", ", BAD, plural(errors, "error")));
        }
        if warnings > 0 {
            parts.push((", ", DOUBTFUL, plural(warnings, "warning")));
        }
        let fine = format!("{} fine", plural(report.fine, "variable"));
        let spotless = report.findings.is_empty() && report.ok;
        parts.push(match (spotless, self.style.unicode) {
            (true, true) => (", ", GOOD, format!("✓ {fine}")),
            (true, false) => (", ", GOOD, format!("ok: {fine}")),
            (false, _) => (", ", Paint::new(), fine),
        });
        if !report.unjudged.is_empty() {
            parts.push((", ", Paint::new(), format!("{} not judged", report.unjudged.len())));
        }
        let wrong = report
            .probes
            .unwrap_or_default()
            .iter()
            .filter(|tried| tried.outcome.severity() == Some(Severity::Error))
            .count();
        if wrong > 0 {
            parts.push((", ", BAD, format!("{} wrong by their probes", plural(wrong, "secret"))));
        }
        if report.fixable() > 0 {
            let offer = format!("`dlconf check --fix` mends {}", report.fixable());
            parts.push((self.dot(), Paint::new(), offer));
        }
        let code = report.leading_code();
        parts.extend(code.map(|code| (self.dot(), QUIET, format!("dlconf explain {code}"))));
        self.row(out, &parts);
    }

    /// Parts in a row, each behind what sets it apart from the one before. The
    /// row is broken between parts only: each is one thing to read or to copy.
    fn row(&self, out: &mut String, parts: &[(&str, Paint, String)]) {
        let mut columns = 0;
        for (index, (apart, paint, text)) in parts.iter().enumerate() {
            let apart = if index == 0 { "" } else { apart };
            let (between, wide) = (apart.chars().count(), text.chars().count());
            // What follows begins on this line with its comma or dot.
            let next = parts.get(index + 1).map_or(0, |(apart, ..)| apart.trim_end().chars().count());
            if index > 0 && columns + between + wide + next > self.style.width {
                out.push_str(apart.trim_end());
                out.push_str("\n  ");
                columns = 2 + wide;
            } else {
                out.push_str(apart);
                columns += between + wide;
            }
            out.push_str(&self.paint(*paint, text));
        }
        out.push('\n');
    }

    fn hang(&self, out: &mut String, head: (&str, usize), text: &str) {
        hang(out, head, text, self.style.width, str::to_owned);
    }

    fn dot(&self) -> &'static str {
        if self.style.unicode { " · " } else { " - " }
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        if self.style.color && paint != Paint::new() {
            format!("{paint}{text}{paint:#}")
        } else {
            text.to_owned()
        }
    }
}

/// The columns left of the bar: as many as the line number has digits, and two
/// where there is none, so that most findings are flush.
fn gutter_width(finding: &Finding) -> usize {
    let of_origin = finding.origin.as_ref().and_then(|origin| origin.location.span()).map(|span| span.line);
    let line = finding.snippet.as_ref().map(|snippet| snippet.line).or(of_origin);
    line.map_or(2, |line| line.to_string().len())
}

/// A drawn line without its colours.
fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    for (index, piece) in line.split('\x1b').enumerate() {
        let shown = if index == 0 { piece } else { piece.split_once('m').map_or("", |(_, rest)| rest) };
        plain.push_str(shown);
    }
    plain
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}
