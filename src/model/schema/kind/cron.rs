//! Cron schedules: five fields, or a name such as `@daily`.

use super::{Fault, quoted};

const NAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
}

/// In the order of a line. Both 0 and 7 are Sunday.
const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day of the month", low: 1, high: 31, words: &[] },
    Field { name: "month", low: 1, high: 12, words: &MONTHS },
    Field { name: "day of the week", low: 0, high: 7, words: &DAYS },
];

/// A schedule. `@every` takes a Go duration, as in Go's cron packages.
pub(super) fn cron(value: &str) -> Result<(), Fault> {
    if value.starts_with('@') {
        if NAMES.contains(&value) {
            return Ok(());
        }
        if let Some(interval) = value.strip_prefix("@every ") {
            return super::parse_go_duration(interval)
                .filter(|nanos| *nanos > 0)
                .map(drop)
                .ok_or_else(|| Fault::not("after @every stands a Go duration").at(7..value.len()));
        }
        let lower = value.trim().to_ascii_lowercase();
        return Err(Fault::not(format!("there is no schedule {}", quoted(value))).works(lower));
    }
    let fields: Vec<&str> = value.split_ascii_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(Fault::not(match fields.len() {
            6 => "there are six fields; seconds (or a year) are not read".to_owned(),
            1 => "there is one field, five are needed".to_owned(),
            count => format!("there are {count} fields, five are needed"),
        }));
    }
    let mut from = 0;
    for (text, field) in fields.iter().zip(&FIELDS) {
        // Found again from where the last one ended: fields may repeat.
        let start = value.get(from..).and_then(|rest| rest.find(text)).map_or(from, |at| from + at);
        from = start + text.len();
        for item in text.split(',') {
            judge(item, field).map_err(|reason| Fault::not(reason).at(start..from))?;
        }
    }
    Ok(())
}

/// One item of a field's list: `*`, `5`, `1-5`, `*/10`, `mon-fri/2`.
fn judge(item: &str, field: &Field) -> Result<(), String> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    if let Some(step) = step
        && !digits(step).is_some_and(|step| (1..=field.high).contains(&step))
    {
        return Err(format!("{} is no step of a {}", quoted(step), field.name));
    }
    let number = |text: &str| {
        let word = field.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let number = match word {
            Some(position) => u32::try_from(position).ok().map(|position| position + field.low),
            None => digits(text),
        };
        number
            .filter(|number| (field.low..=field.high).contains(number))
            .ok_or_else(|| format!("{} is no {} ({} to {})", quoted(text), field.name, field.low, field.high))
    };
    if range == "*" || (range == "?" && field.name.starts_with("day")) {
        return Ok(());
    }
    match range.split_once('-') {
        Some((from, to)) => {
            if number(from)? > number(to)? {
                return Err(format!("{} runs backwards", quoted(range)));
            }
        }
        None => {
            number(range)?;
        }
    }
    Ok(())
}

fn digits(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
