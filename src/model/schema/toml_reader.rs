//! Reading TOML tables with places: every mistake in one run, each with its
//! stretch of the text, and an unknown field with the nearest known one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::finding::Severity;
use crate::model::origin::Span;

/// A mistake in a schema or settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Errors make the file unusable; warnings are shown by `schema lint`.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// The stretch of the text it is about, in bytes.
    pub at: Range<usize>,
    /// Written beside the mark.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// Whether the line must not be shown: it may hold a secret, or the file may
    /// be no schema at all.
    pub hidden: bool,
}

/// The mistakes of one reading, collected from everywhere at once.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// Adds an error.
    pub fn error(&self, at: Range<usize>, message: String, label: impl Into<String>, help: Option<String>) {
        let mistake =
            Mistake { severity: Severity::Error, message, at, label: label.into(), help, hidden: false };
        self.0.borrow_mut().push(mistake);
    }

    /// Adds an error whose line must not be shown.
    pub fn hidden(&self, at: Range<usize>, message: String, help: Option<String>) {
        let (severity, label) = (Severity::Error, String::new());
        self.0.borrow_mut().push(Mistake { severity, message, at, label, help, hidden: true });
    }

    /// Adds a warning.
    pub fn warning(&self, at: Range<usize>, message: String, label: impl Into<String>, help: Option<String>) {
        let mistake =
            Mistake { severity: Severity::Warning, message, at, label: label.into(), help, hidden: false };
        self.0.borrow_mut().push(mistake);
    }

    /// All of them, in the order of the text.
    pub fn into_sorted(self) -> Vec<Mistake> {
        let mut all = self.0.into_inner();
        all.sort_by_key(|m| m.at.start);
        all
    }
}

/// A table being read. Every name that is asked for counts as known; what is
/// left over when the reading ends is an unknown field.
pub struct Table<'t> {
    fields: &'t DeTable<'t>,
    /// What the table describes, for messages: `variable JWT_SECRET`.
    subject: String,
    /// Where the table's header stands.
    pub at: Range<usize>,
    known: RefCell<BTreeSet<&'static str>>,
    mistakes: &'t Mistakes,
}

impl<'t> Table<'t> {
    /// Starts reading a table.
    pub fn new(
        table: &'t DeTable<'t>,
        subject: impl Into<String>,
        at: Range<usize>,
        mistakes: &'t Mistakes,
    ) -> Self {
        Self { fields: table, subject: subject.into(), at, known: RefCell::default(), mistakes }
    }

    /// What the table describes.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The field, unread; it counts as known from now on.
    pub fn get(&self, name: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.borrow_mut().insert(name);
        self.fields.get(name)
    }

    /// Adds a mistake about a field's type.
    pub fn wrong(&self, name: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        self.mistakes.error(
            value.span(),
            format!("`{name}` of {} must be {expected}", self.subject),
            format!("this is {}", article(value.get_ref().type_str())),
            None,
        );
    }

    /// A text.
    pub fn string(&self, name: &'static str) -> Option<(&'t str, Range<usize>)> {
        let value = self.get(name)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong(name, value, "a string");
        }
        text.map(|t| (t, value.span()))
    }

    /// True or false.
    pub fn boolean(&self, name: &'static str) -> Option<bool> {
        let value = self.get(name)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong(name, value, "true or false");
        }
        flag
    }

    /// A whole number.
    pub fn integer(&self, name: &'static str) -> Option<(i64, Range<usize>)> {
        let value = self.get(name)?;
        let number = integer(value.get_ref());
        if number.is_none() {
            self.wrong(name, value, "a whole number");
        }
        number.map(|n| (n, value.span()))
    }

    /// A whole number of zero or more.
    pub fn count(&self, name: &'static str) -> Option<usize> {
        let (number, at) = self.integer(name)?;
        let count = usize::try_from(number).ok();
        if count.is_none() {
            self.mistakes.error(
                at,
                format!("`{name}` of {} must not be negative", self.subject),
                "a number of bytes or pieces",
                None,
            );
        }
        count
    }

    /// A list of texts; a single text counts as a list of one.
    pub fn strings(&self, name: &'static str) -> Vec<(&'t str, Range<usize>)> {
        let Some(value) = self.get(name) else { return Vec::new() };
        if let Some(text) = value.get_ref().as_str() {
            return vec![(text, value.span())];
        }
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(name, value, "a list of strings");
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(array.len());
        for item in array {
            match item.get_ref().as_str() {
                Some(text) => texts.push((text, item.span())),
                None => self.wrong(name, item, "a list of strings"),
            }
        }
        texts
    }

    /// A table under a name.
    pub fn table(&self, name: &'static str, subject: impl Into<String>) -> Option<Table<'t>> {
        let value = self.get(name)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(name, value, "a table");
            return None;
        };
        Some(Table::new(table, subject, value.span(), self.mistakes))
    }

    /// The named tables under a name (`[var.A]`, `[var.B]`), in the order of
    /// the text.
    pub fn tables(&self, name: &'static str, subject: &str) -> Vec<(&'t str, Table<'t>)> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(name, value, "a table of tables");
            return Vec::new();
        };
        let mut all = Vec::with_capacity(table.len());
        for (key, value) in table {
            match value.get_ref().as_table() {
                Some(inner) => {
                    let label = format!("{subject} {}", key.get_ref());
                    all.push((key.get_ref().as_ref(), Table::new(inner, label, key.span(), self.mistakes)));
                }
                None => self.wrong(key.get_ref(), value, "a table"),
            }
        }
        all.sort_by_key(|(_, t)| t.at.start);
        all
    }

    /// Every field with its name, in the order of the text, for tables whose
    /// names are the user's own.
    pub fn fields(&self) -> Vec<(&'t str, Range<usize>, &'t Spanned<DeValue<'t>>)> {
        let mut all: Vec<_> = self.fields.iter().map(|(k, v)| (k.get_ref().as_ref(), k.span(), v)).collect();
        all.sort_by_key(|(_, at, _)| at.start);
        all
    }

    /// Ends the reading: fields nobody asked for are unknown.
    pub fn finish(self) {
        let known = self.known.into_inner();
        for key in self.fields.keys() {
            let name: &str = key.get_ref();
            if known.contains(name) {
                continue;
            }
            let help = nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            self.mistakes.error(
                key.span(),
                format!("{} has no field `{name}`", self.subject),
                "unknown field",
                help.or_else(|| {
                    Some(format!("it may have: {}", known.iter().copied().collect::<Vec<_>>().join(", ")))
                }),
            );
        }
    }
}

/// A whole number in any of TOML's notations.
pub fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn article(kind: &str) -> String {
    if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { format!("an {kind}") } else { format!("a {kind}") }
}

/// The known name that was probably meant: one of which at most a third of the
/// characters differ, else the only one that begins so (`prod`: `production`).
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    let limit = (length / 3).clamp(1, 4);
    let known: Vec<&str> = known.into_iter().collect();
    // `db-host` is meant as DB_HOST.
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '.'], "_");
    let name = &plain(name);
    let near = known
        .iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= limit)
        .map(|candidate| (strsim::osa_distance(name, &plain(candidate)), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate);
    near.or_else(|| {
        let mut longer = known.into_iter().filter(|known| name.len() > 2 && plain(known).starts_with(name));
        longer.next().filter(|_| longer.next().is_none())
    })
}

/// Byte offsets to lines and columns.
#[derive(Debug)]
pub struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// Indexes a text.
    pub fn new(text: &'t str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        Self { text, starts }
    }

    /// The line and column of a byte offset.
    pub fn span(&self, offset: usize) -> Span {
        let line = self.starts.partition_point(|&start| start <= offset).max(1);
        let start = self.starts[line - 1];
        let column = self.text.get(start..offset).map_or(0, |t| t.chars().count()) + 1;
        Span { line: narrow(line), column: narrow(column) }
    }
}

impl Lines<'_> {
    /// Whether a stretch is a one-line string in quotes that writes `content`
    /// letter by letter, without escapes.
    pub fn is_verbatim(&self, at: &Range<usize>, content: &str) -> bool {
        let inner = at.start.saturating_add(1)..at.end.saturating_sub(1);
        inner.start <= inner.end && self.text.get(inner) == Some(content)
    }

    /// The byte offset of a place that [`Lines::span`] gave.
    pub fn offset(&self, at: Span) -> usize {
        let start = self.starts.get(at.line.saturating_sub(1) as usize).copied().unwrap_or(0);
        let line = self.text.get(start..).unwrap_or_default();
        start + line.chars().take(at.column.saturating_sub(1) as usize).map(char::len_utf8).sum::<usize>()
    }
}

/// Places beyond `u32::MAX` do not occur: files are capped far below.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
