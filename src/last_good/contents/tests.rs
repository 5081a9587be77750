use proptest::prelude::*;

use super::*;
use crate::model::rotation::Kid;

/// All of it in words, values included: two that read the same are the same.
fn told(kept: &Kept) -> String {
    let offers: Vec<String> = kept
        .layer
        .offers
        .iter()
        .map(|offer| {
            let value = match &offer.value {
                Value::Literal(value) => format!("text {:?}", value.expose()),
                Value::Template(template) => format!("template {}", template_told(template)),
            };
            format!("{} {value} {:?}", offer.key, offer.origin)
        })
        .collect();
    format!(
        "{} {} {:?} {:?} {} {:?} {offers:?}",
        kept.source, kept.identity, kept.confirmed, kept.lent, kept.layer.source, kept.layer.places
    )
}

fn template_told(template: &Template) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => format!("{:?}", text.expose()),
        Part::Reference { name, operator } => match operator {
            Operator::Bare => format!("${name}"),
            Operator::Braced => format!("${{{name}}}"),
            Operator::Default { or_empty, word } => format!("{name}-{or_empty}{}", template_told(word)),
            Operator::Alternative { or_empty, word } => format!("{name}+{or_empty}{}", template_told(word)),
            Operator::Required { or_empty, message } => {
                format!("{name}?{or_empty}{}", template_told(message))
            }
        },
    };
    format!("[{}]", template.0.iter().map(part).collect::<Vec<_>>().join(" "))
}

fn moment() -> impl Strategy<Value = SystemTime> {
    (-5_000_000_000_i64..250_000_000_000, 0_u32..1_000_000_000).prop_map(|(seconds, nanos)| {
        let moment = Moment(seconds, nanos);
        moment.time().unwrap()
    })
}

fn name() -> impl Strategy<Value = Key> {
    "[A-Z_][A-Z0-9_]{0,8}".prop_map(|name| Key::new(&name).unwrap())
}

fn template() -> impl Strategy<Value = Template> {
    let part = prop_oneof![
        ".{0,12}".prop_map(|text: String| Part::Text(SecretValue::new(text))),
        (name(), any::<bool>()).prop_map(|(name, is_bare)| {
            let operator = if is_bare { Operator::Bare } else { Operator::Braced };
            Part::Reference { name, operator }
        }),
    ];
    // A template is no value that can be copied: recipes are, and are followed last.
    let leaf = prop::collection::vec(part, 0..3).prop_map(Template);
    (leaf, prop::collection::vec((name(), any::<bool>(), 0..3, ".{0,6}"), 0..40)).prop_map(
        |(leaf, around)| {
            around.into_iter().fold(leaf, |inner, (name, or_empty, kind, text)| {
                let operator = match kind {
                    0 => Operator::Default { or_empty, word: inner },
                    1 => Operator::Alternative { or_empty, word: inner },
                    _ => Operator::Required { or_empty, message: inner },
                };
                let text = SecretValue::new(text);
                Template(vec![Part::Text(text), Part::Reference { name, operator }])
            })
        },
    )
}

fn location() -> impl Strategy<Value = Location> {
    let place = || ".{0,12}".prop_map(|text: String| std::sync::Arc::<str>::from(text));
    prop_oneof![
        (place(), prop::option::of((any::<u32>(), any::<u32>()))).prop_map(|(path, at)| Location::File {
            path,
            at: at.map(|(line, column)| Span { line, column })
        }),
        ".{0,12}".prop_map(|text| Location::Named(text.into())),
        (place(), ".{0,6}", prop::option::of("[0-9]{1,3}")).prop_map(|(of, name, revision)| {
            Location::Field { of, name: name.into(), revision: revision.map(Into::into) }
        }),
    ]
}

fn kept() -> impl Strategy<Value = Kept> {
    let value = prop_oneof![
        ".{0,40}".prop_map(|text: String| Value::from(SecretValue::new(text))),
        template().prop_map(Value::from),
    ];
    let offer = (name(), value, location(), prop::option::of("[a-z0-9]{1,6}"), prop::option::of(moment()));
    let lease = (".{0,9}", prop::option::of(moment()))
        .prop_map(|(place, ends)| KeptLease { place: place.into(), ends });
    (
        "[a-z]{1,8}",
        ".{0,20}",
        moment(),
        prop::collection::vec(lease, 0..3),
        prop::collection::vec((".{0,9}", prop::option::of(any::<u32>())), 0..3),
        prop::collection::vec(offer, 0..6),
    )
        .prop_map(|(source, identity, confirmed, lent, places, offers)| {
            let source = SourceName::new(&source);
            let offer = |(key, value, location, revision, modified): (_, _, _, Option<String>, _)| {
                let revision = revision.map(|revision| Revision(revision.into()));
                let mark = revision.as_ref().map(|revision| mark(&revision.0));
                let origin = Origin { mark, source: source.clone(), location, revision, modified };
                Offer { key, value, origin, excerpt: None }
            };
            let place = |(label, mode): (String, _)| Place { label: label.into(), mode };
            let layer = Layer {
                source: source.clone(),
                places: places.into_iter().map(place).collect(),
                offers: offers.into_iter().map(offer).collect(),
                remarks: Vec::new(),
            };
            Kept { source, identity: identity.into(), confirmed, max_age: None, lent, layer, is_cut: false }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(kept in prop::collection::vec(kept(), 0..4), milliseconds in any::<u32>()) {
        let max_age = Duration::from_millis(milliseconds.into());
        let bytes = encode(&kept, max_age).unwrap();
        prop_assert_eq!(bytes.capacity(), bytes.len(), "one buffer of the final size");
        let read = decode(&bytes).unwrap();
        prop_assert!(read.iter().all(|kept| kept.max_age == Some(max_age)));
        let words = |kept: &[Kept]| kept.iter().map(told).collect::<Vec<_>>();
        prop_assert_eq!(words(&read), words(&kept));
    }

    /// Whatever else is sealed: never a panic.
    #[test]
    fn what_is_nothing_is_refused(text in ".{0,200}") {
        prop_assert_eq!(decode(text.as_bytes()).unwrap_err(), NotUnderstood::Malformed);
    }
}

/// Of a key of this name.
fn mark(kid: &str) -> Arc<KeyMark> {
    let kid = Kid::new(kid).unwrap();
    Arc::new(KeyMark {
        kid,
        not_before: Some(7),
        retire_after: None,
        beside: std::collections::BTreeSet::new(),
    })
}

/// What was written before there were names of keys is still read, and who does not know
/// them passes them over.
#[test]
fn the_names_of_keys_are_no_other_version() {
    let mut marked = one(Location::Named("x".into()));
    marked.layer.offers[0].origin.mark = Some(mark("k1"));
    let text = String::from_utf8(encode(&[marked], Duration::ZERO).unwrap().to_vec()).unwrap();
    let form = r#","mark":{"kid":"k1","not_before":7,"retire_after":null}"#;
    assert!(text.starts_with(r#"{"version":1,"#) && text.contains(form), "{text}");
    let read = decode(text.replace(form, "").as_bytes()).unwrap();
    assert_eq!(read[0].layer.offers[0].origin.mark, None);
    let other = text.replace(r#""kid":"k1""#, r#""kid":"a b""#);
    assert_eq!(decode(other.as_bytes()).unwrap_err(), NotUnderstood::Malformed);
}

fn one(location: Location) -> Kept {
    let source = SourceName::new("a");
    let origin = Origin { mark: None, source: source.clone(), location, revision: None, modified: None };
    let value = SecretValue::from("x").into();
    let offer = Offer { key: Key::new("A").unwrap(), value, origin, excerpt: None };
    let layer =
        Layer { source: source.clone(), places: Vec::new(), offers: vec![offer], remarks: Vec::new() };
    Kept {
        source,
        identity: "i".into(),
        confirmed: UNIX_EPOCH,
        max_age: None,
        lent: Vec::new(),
        layer,
        is_cut: false,
    }
}

#[test]
fn what_came_from_a_snapshot_is_kept_by_its_first_place() {
    let inner = Location::Field { of: "vault:secret/x".into(), name: "A".into(), revision: Some("7".into()) };
    let twice = Location::Snapshot(Box::new(Location::Snapshot(Box::new(inner.clone()))));
    let bytes = encode(&[one(twice)], Duration::from_secs(1)).unwrap();
    assert_eq!(decode(&bytes).unwrap()[0].layer.offers[0].origin.location, inner);
}

#[test]
fn a_later_form_is_told_from_a_broken_one() {
    for (text, error) in [
        (r#"{"version":2,"anything":["else"]}"#, NotUnderstood::Newer(2)),
        (r#"{"version":0,"kept":[]}"#, NotUnderstood::Malformed),
        (r#"{"version":1}"#, NotUnderstood::Malformed),
        (r#"{"version":1,"kept":[]} "x""#, NotUnderstood::Malformed),
        ("", NotUnderstood::Malformed),
    ] {
        assert_eq!(decode(text.as_bytes()).unwrap_err(), error, "{text}");
    }
    let bytes = encode(&[one(Location::Named("n".into()))], Duration::from_secs(1)).unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    for broken in [
        text.replace("\"A\"", "\"1A\""),
        text.replace("{\"Text\":\"x\"}", "{\"Template\":[\"End\"]}"),
        text.replace("{\"Text\":\"x\"}", "{\"Template\":[{\"Default\":[\"B\",true]}]}"),
        text.replace("\"confirmed\":[0,0]", "\"confirmed\":[-9223372036854775808,0]"),
    ] {
        assert_ne!(broken, text);
        assert_eq!(decode(broken.as_bytes()).unwrap_err(), NotUnderstood::Malformed, "{broken}");
    }
}
