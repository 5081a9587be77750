//! Schemas: reading one, drawing its mistakes, exporting it, judging by it.
//!
//! Shared by the fuzz target and by the test that replays its corpus.

use std::collections::BTreeSet;
use std::sync::Arc;

use dlconf::model::key::SourceName;
use dlconf::model::layer::{Layer, Offer, Place};
use dlconf::model::origin::{Location, Origin, Span};
use dlconf::model::resolve::resolve;
use dlconf::model::schema::Schema;
use dlconf::model::schema::export::{docs, env_example, json_schema};
use dlconf::model::schema::parse::parse;
use dlconf::model::schema::toml_reader::Mistake;
use dlconf::model::secret::SecretValue;
use dlconf::model::validate::{Question, validate};
use dlconf::report::{Style, mistake};
use dlconf::source::dotenv;

const LONGEST: usize = 64 * 1024;

/// How many mistakes are drawn.
const DRAWN: usize = 16;

/// How many variables get a value.
const OFFERED: usize = 64;

/// Given to secret variables alone; no finding may quote it.
const CANARY: &str = "c4n!4ry-5e0d-9f1b-Zq7w";

/// Given to plain variables in turn.
const PLAIN: [&str; 8] =
    ["", "7d", "8080", "true", "https://example.com/x?y#z", "a, b", "é\u{202e}\n", "-1e9"];

/// What every input must satisfy.
pub(crate) fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input.get(..LONGEST).unwrap_or(input)) else { return };
    match parse("dlconf.schema.toml", text) {
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "a refusal has a reason");
            drawn(text, &mistakes);
        }
        Ok(parsed) => {
            drawn(text, &parsed.warnings);
            exported(&parsed.schema);
            if !text.contains("c4n") {
                judged(&parsed.schema);
            }
        }
    }
}

/// Mistakes stand inside the text, in order, and can be drawn over it.
fn drawn(text: &str, mistakes: &[Mistake]) {
    assert!(mistakes.iter().is_sorted_by_key(|mistake| mistake.at.start));
    for mistake in mistakes {
        assert!(text.get(mistake.at.clone()).is_some(), "{:?} of {}", mistake.at, text.len());
        assert!(!mistake.message.is_empty());
    }
    for mistake in mistakes.iter().take(DRAWN) {
        let style = Style { color: false, width: 80, unicode: true };
        assert!(!mistake::draw("dlconf.schema.toml", text, mistake, style).is_empty());
    }
}

fn exported(schema: &Schema) {
    let example = env_example(schema);
    let read = dotenv::parse(&SourceName::new("dotenv"), &Arc::from(".env.example"), &example, None);
    let offers = read.expect("dlconf reads what it writes").offers;
    for offer in &offers {
        assert!(schema.var(&offer.key).is_some(), "{} is not of the schema", offer.key);
    }
    assert!(!docs(schema).is_empty());
    assert!(json_schema(schema).is_object());
}

fn judged(schema: &Schema) {
    let source = SourceName::new("dotenv");
    let offers = schema.vars.iter().take(OFFERED).enumerate().map(|(i, var)| {
        let value = if var.secret { CANARY } else { PLAIN[i % PLAIN.len()] };
        let at = Span { line: u32::try_from(i).unwrap_or_default() + 1, column: 1 };
        let location = Location::File { path: ".env".into(), at: Some(at) };
        let origin = Origin { mark: None, source: source.clone(), location, revision: None, modified: None };
        Offer { key: var.key.clone(), value: SecretValue::from(value).into(), origin, excerpt: None }
    });
    let places = vec![Place { label: ".env".into(), mode: Some(0o644) }];
    let layer = Layer { source: source.clone(), places, offers: offers.collect(), remarks: Vec::new() };
    let resolution = resolve([&layer], &|_| None);
    let known: BTreeSet<&str> = schema.environments.names.iter().map(|name| &**name).collect();
    for environment in known.into_iter().take(3) {
        for names_only in [false, true] {
            let service = schema.services.first().map(|service| &**service);
            let question =
                Question { environment, service, names_only, value_free: false, unread: &[], forgotten: &[] };
            let verdict = validate(schema, &resolution, question);
            assert!(!format!("{verdict:?}").contains(CANARY), "a verdict tells a secret");
            assert!(verdict.fine() <= verdict.judged.len());
        }
    }
}
