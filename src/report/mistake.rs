//! A mistake in a schema, drawn over its line.

use annotate_snippets::renderer::{
    DEFAULT_EMPHASIS_STYLE, DEFAULT_ERROR_STYLE, DEFAULT_LINE_NUM_STYLE, DEFAULT_WARNING_STYLE,
    Style as Paint,
};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet as Source};

use super::visible::visible;
use super::{Style, hang};
use crate::model::finding::Severity;
use crate::model::schema::toml_reader::{Lines, Mistake};

/// Draws a mistake of the file `label` whose text is `text`, ending with a
/// newline. A schema holds no secrets, so its lines may be shown; where it may be
/// none, the mistake says so and only its place is.
pub fn draw(label: &str, text: &str, mistake: &Mistake, style: Style) -> String {
    let (level, paint) = match mistake.severity {
        Severity::Error => (Level::ERROR, DEFAULT_ERROR_STYLE),
        Severity::Warning => (Level::WARNING, DEFAULT_WARNING_STYLE),
    };
    let line = Lines::new(text).span(mistake.at.start).line as usize;
    let (start, end) = lines_around(text, &mistake.at);
    let shown = text.get(start..end).unwrap_or_default();
    // Control characters of a stranger's file are replaced one by one, so that
    // the marks stay where they are.
    let shown: String = shown.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let mark = mistake.at.start.saturating_sub(start).min(shown.len())
        ..mistake.at.end.saturating_sub(start).min(shown.len());
    let tag = visible(&mistake.label);
    let snippet = Source::source(shown.as_str())
        .path(label)
        .line_start(line)
        .annotation(AnnotationKind::Primary.span(mark).label(tag.as_ref()));
    let group = Group::with_level(level);
    let group = if mistake.hidden {
        let column = Lines::new(text).span(mistake.at.start).column as usize;
        group.element(Origin::path(label).line(line).char_column(column))
    } else {
        group.element(snippet)
    };
    let renderer = if style.color { Renderer::styled() } else { Renderer::plain() };
    let painted = |paint: Paint, text: &str| {
        if style.color { format!("{paint}{text}{paint:#}") } else { text.to_owned() }
    };

    let severity = mistake.severity.as_str();
    let head = format!("{}{}", painted(paint, severity), painted(DEFAULT_EMPHASIS_STYLE, ": "));
    let mut drawn = String::new();
    hang(&mut drawn, (&head, severity.len() + 2), &visible(&mistake.message), style.width, |line| {
        painted(DEFAULT_EMPHASIS_STYLE, line)
    });
    drawn.push_str(&renderer.term_width(style.width).render(&[group]));
    drawn.push('\n');
    if let Some(help) = &mistake.help {
        let gutter = line.to_string().len();
        let bullet = painted(DEFAULT_LINE_NUM_STYLE, "=");
        let head = format!("{:gutter$} {bullet} {} ", "", painted(DEFAULT_EMPHASIS_STYLE, "fix:"));
        hang(&mut drawn, (&head, gutter + " = fix: ".len()), &visible(help), style.width, str::to_owned);
    }
    drawn
}

/// The stretch's first line, up to its end: what follows on the line is not what
/// the mistake is about, and if the file is no schema at all it may be a secret.
fn lines_around(text: &str, at: &std::ops::Range<usize>) -> (usize, usize) {
    let start = text.get(..at.start).and_then(|before| before.rfind('\n')).map_or(0, |i| i + 1);
    let line_end = text.get(start..).and_then(|rest| rest.find('\n')).map_or(text.len(), |i| start + i);
    (start, at.end.clamp(start, line_end))
}
