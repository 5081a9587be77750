//! The verdict on an audit log.

use serde_json::{Value, json};

use super::doctor::{BAD, GOOD};
use super::{Style, plural, to_json, visible};
use crate::access::audit::verify::{Mark, Verdict};

/// For people, ending with a newline.
pub fn text(verdict: &Verdict, style: Style) -> String {
    let paint = |paint: annotate_snippets::renderer::Style, text: &str| {
        if style.color {
            format!("{}{text}{}", paint.render(), paint.render_reset())
        } else {
            text.to_owned()
        }
    };
    let mut out = String::new();
    for (file, records) in &verdict.files {
        out.push_str(&format!("{}: {}\n", visible(file), records_of(*records)));
    }
    if let (Some(first), Some(last)) = (&verdict.first, &verdict.last) {
        out.push_str(&format!(
            "records {} ({}) to {} ({})\nhead {}\n",
            first.seq,
            visible(&first.time),
            last.seq,
            visible(&last.time),
            last.code
        ));
        if first.seq > 1 {
            out.push_str(&format!("those before {} are not in these files\n", first.seq));
        }
    }
    if let Some(behind) = verdict.behind_head {
        out.push_str(&match behind {
            0 => "the expected head is the last record's\n".to_owned(),
            behind => format!("the expected head is there; {} after it\n", records_of(behind)),
        });
    }
    for (place, words) in &verdict.breaks {
        out.push_str(&format!("{}: {}: {}\n", paint(BAD, "broken"), visible(place), visible(words)));
    }
    if verdict.more_breaks > 0 {
        out.push_str(&format!("{}: and {} more\n", paint(BAD, "broken"), verdict.more_breaks));
    }
    if verdict.is_whole() {
        out.push_str(&format!("{}\n", paint(GOOD, "whole: nothing was changed, removed or put in")));
    }
    out
}

fn records_of(count: u64) -> String {
    plural(usize::try_from(count).unwrap_or(usize::MAX), "record")
}

/// One line of JSON.
pub fn json(verdict: &Verdict) -> String {
    let mark = |mark: &Option<Mark>| match mark {
        Some(mark) => json!({ "seq": mark.seq, "time": mark.time, "mac": mark.code }),
        None => Value::Null,
    };
    let files = verdict.files.iter().map(|(file, records)| json!({ "file": file, "records": records }));
    let breaks = verdict.breaks.iter().map(|(place, words)| json!({ "place": place, "message": words }));
    to_json(&json!({
        "ok": verdict.is_whole(),
        "records": verdict.records,
        "first": mark(&verdict.first),
        "last": mark(&verdict.last),
        "files": files.collect::<Vec<_>>(),
        "breaks": breaks.collect::<Vec<_>>(),
        "more_breaks": verdict.more_breaks,
        "behind_expected_head": verdict.behind_head,
    }))
}
