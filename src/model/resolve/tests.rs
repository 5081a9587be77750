use super::*;
use crate::model::key::SourceName;
use crate::model::origin::Location;

fn text(text: &str) -> Part {
    Part::Text(SecretValue::from(text))
}

fn reference(name: &str, operator: Operator) -> Part {
    Part::Reference { name: Key::new(name).unwrap(), operator }
}

fn offer(name: &str, place: &str, value: Value) -> super::super::layer::Offer {
    super::super::layer::Offer {
        key: Key::new(name).unwrap(),
        value,
        origin: Origin {
            mark: None,
            source: SourceName::new("s"),
            location: Location::Named(place.into()),
            revision: None,
            modified: None,
        },
        excerpt: None,
    }
}

fn literal(value: &str) -> Value {
    SecretValue::from(value).into()
}

fn layer(offers: Vec<super::super::layer::Offer>) -> Layer {
    let places = vec![Place { label: "p".into(), mode: None }];
    Layer { source: SourceName::new("s"), places, offers, remarks: Vec::new() }
}

fn check(layers: &[Layer], expected: &[&str]) -> Resolution {
    let ambient = |name: &str| (name == "HOSTSET").then(|| SecretValue::from("hs"));
    let resolution = resolve(layers, &ambient);
    let told: Vec<String> = resolution
        .variables
        .iter()
        .map(|(key, c)| {
            let winner = c
                .winner
                .as_ref()
                .map_or("-".into(), |w| format!("{}@{}", w.value.expose(), w.origin.location));
            let losers: Vec<String> =
                c.losers.iter().map(|l| format!("{} {:?}", l.origin.location, l.why)).collect();
            format!("{key}={winner} [{}]", losers.join(", "))
        })
        .collect();
    assert_eq!(told, expected);
    resolution
}

#[test]
fn the_last_layer_wins_and_the_others_are_told() {
    check(
        &[
            layer(vec![offer("A", "low", literal("1")), offer("A", "low2", literal("2"))]),
            layer(vec![offer("A", "mid", literal("3"))]),
            layer(vec![offer("A", "top", literal("3")), offer("B", "top", literal("b"))]),
        ],
        &["A=3@top [mid ShadowedBySame, low2 Shadowed, low Shadowed]", "B=b@top []"],
    );
}

#[test]
fn empty_is_unset_and_shadows_nothing() {
    check(
        &[
            layer(vec![offer("A", "low", literal("1")), offer("B", "low", literal(""))]),
            layer(vec![offer("A", "top", literal(""))]),
        ],
        &["A=1@low [top Empty]", "B=- [low Empty]"],
    );
}

#[test]
fn references_see_the_environment_then_earlier_lines_then_lower_layers() {
    let read = |name: &str| Value::from(Template(vec![reference(name, Operator::Braced)]));
    let resolution = check(
        &[
            layer(vec![offer("LOW", "low", literal("l")), offer("HOSTSET", "low", literal("no"))]),
            layer(vec![
                offer("A", "1", read("LATER")),
                offer("B", "2", read("LOW")),
                offer("C", "3", read("HOSTSET")),
                offer("D", "4", read("B")),
                offer("LATER", "5", literal("x")),
            ]),
        ],
        &[
            "A=- [1 Empty]",
            "B=l@2 []",
            "C=hs@3 []",
            "D=l@4 []",
            "HOSTSET=no@low []",
            "LATER=x@5 []",
            "LOW=l@low []",
        ],
    );
    let d = resolution.variables["D"].winner.as_ref().unwrap();
    let seen: Vec<&str> = d.references.iter().map(Key::as_str).collect();
    assert_eq!(seen, ["B", "LOW"], "what a value is made of is known through every step");
}

#[test]
fn operators() {
    let word = || Template(vec![text("w")]);
    let value = |operator| Value::from(Template(vec![text("<"), reference("X", operator), text(">")]));
    let all = |x: Option<&str>| {
        let mut offers: Vec<_> = x.map(|x| offer("X", "x", literal(x))).into_iter().collect();
        offers.extend([
            offer("A", "", value(Operator::Bare)),
            offer("B", "", value(Operator::Braced)),
            offer("C", "", value(Operator::Default { or_empty: true, word: word() })),
            offer("D", "", value(Operator::Default { or_empty: false, word: word() })),
            offer("E", "", value(Operator::Alternative { or_empty: true, word: word() })),
            offer("F", "", value(Operator::Alternative { or_empty: false, word: word() })),
            offer("G", "", value(Operator::Required { or_empty: true, message: word() })),
        ]);
        let resolution = resolve([&layer(offers)], &|_| None);
        let told: Vec<String> = "ABCDEFG"
            .chars()
            .filter_map(|k| resolution.variables.get(k.to_string().as_str())?.winner.as_ref())
            .map(|w| w.value.expose().to_owned())
            .collect();
        (told.join(" "), resolution.broken.len())
    };
    assert_eq!(all(Some("v")), ("<v> <v> <v> <v> <w> <w> <v>".into(), 0));
    assert_eq!(all(Some("")), ("<> <> <w> <> <> <w>".into(), 1));
    assert_eq!(all(None), ("<$X> <> <w> <w> <> <>".into(), 1));
}

#[test]
fn a_bare_name_that_is_set_nowhere_stays_and_is_marked() {
    let resolution = resolve(
        [&layer(vec![offer("A", "", Value::from(Template(vec![reference("abc", Operator::Bare)])))])],
        &|_| None,
    );
    assert!(resolution.variables["A"].winner.as_ref().unwrap().literal_reference);
}

#[test]
fn expansion_is_bounded() {
    let mut offers = vec![offer("A0", "", literal("0123456789"))];
    for i in 1..64 {
        let double = [0, 1].map(|_| reference(&format!("A{}", i - 1), Operator::Braced));
        offers.push(offer(&format!("A{i}"), "", Value::from(Template(double.into()))));
    }
    let resolution = resolve([&layer(offers)], &|_| None);
    assert!(resolution.broken[0].message.contains("grows beyond 1 MiB"));
}

#[test]
fn many_values_that_copy_one_are_bounded_together() {
    let copy = || Value::from(Template(vec![reference("LONG", Operator::Braced)]));
    let mut offers = vec![offer("LONG", "", literal(&"x".repeat(EXPANSION_LIMIT)))];
    offers.extend((0..100).map(|i| offer(&format!("V{i}"), "", copy())));
    let resolution = resolve([&layer(offers)], &|_| None);
    let made: usize =
        resolution.variables.values().filter_map(|c| Some(c.winner.as_ref()?.value.len())).sum();
    assert!(made <= EXPANSION_TOTAL + EXPANSION_LIMIT, "{made}");
    assert!(resolution.broken[0].message.contains("more than 64 MiB"));
}

#[test]
fn a_long_chain_remembers_no_more_than_it_may() {
    let mut offers = vec![offer("A0", "", literal("x"))];
    offers.extend((1..5000).map(|i| {
        let before = reference(&format!("A{}", i - 1), Operator::Braced);
        offer(&format!("A{i}"), "", Value::from(Template(vec![before])))
    }));
    let resolution = resolve([&layer(offers)], &|_| None);
    let remembered: usize =
        resolution.variables.values().filter_map(|c| Some(c.winner.as_ref()?.references.len())).sum();
    assert!(remembered * REFERENCE_COST <= EXPANSION_TOTAL, "{remembered}");
    assert!(!resolution.broken.is_empty());
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Of any pile of layers: the last value that is not empty wins, every
        /// other offer is told, highest first.
        #[test]
        fn the_last_value_wins_and_nothing_is_forgotten(
            layers in prop::collection::vec(prop::collection::vec(("[A-D]", "[xy]{0,2}"), 0..6), 0..5)
        ) {
            let mut flat: Vec<(String, String, String)> = Vec::new();
            let mut piled = Vec::new();
            for (l, offers) in layers.iter().enumerate() {
                let mut made = Vec::new();
                for (o, (name, value)) in offers.iter().enumerate() {
                    let place = format!("{l}.{o}");
                    made.push(offer(name, &place, literal(value)));
                    flat.push((name.clone(), value.clone(), place));
                }
                piled.push(layer(made));
            }
            let resolution = resolve(&piled, &|_| None);
            for name in ["A", "B", "C", "D"] {
                let of_name: Vec<_> = flat.iter().filter(|(n, ..)| n == name).collect();
                let Some(candidates) = resolution.variables.get(name) else {
                    prop_assert!(of_name.is_empty());
                    continue;
                };
                let expected = of_name.iter().rev().find(|(_, value, _)| !value.is_empty());
                let won = candidates.winner.as_ref();
                prop_assert_eq!(
                    won.map(|w| (w.value.expose().to_owned(), w.origin.location.to_string())),
                    expected.map(|(_, value, place)| (value.clone(), place.clone()))
                );
                prop_assert_eq!(candidates.losers.len() + usize::from(won.is_some()), of_name.len());
            }
        }

        /// Whatever a template says, expansion ends, in bounds.
        #[test]
        fn expansion_never_fails_to_end(names in prop::collection::vec("[A-C]", 0..40)) {
            let offers = names.iter().enumerate().map(|(i, name)| {
                let others = names.iter().take(i % 5).map(|n| reference(n, Operator::Bare));
                offer(name, "", Value::from(Template(others.chain([text("z")]).collect())))
            });
            let resolution = resolve([&layer(offers.collect())], &|_| None);
            for candidates in resolution.variables.values() {
                prop_assert!(candidates.winner.as_ref().is_none_or(|w| w.value.len() <= EXPANSION_LIMIT));
            }
        }
    }
}
