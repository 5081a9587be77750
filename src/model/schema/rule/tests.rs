use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::schema::kind::{Dialect, Kind};

/// Variables for the tables: name, kind, value; `!` marks an unreadable one.
fn vars() -> BTreeMap<Key, (Option<Typed>, &'static str)> {
    let list = Kind::from_name("list").unwrap();
    let kind = |name| Kind::from_name(name).unwrap();
    [
        ("HOST", kind("string"), "db.internal"),
        ("SECRET", kind("hmac-key"), "hunter2-hunter2"),
        ("OTHER_SECRET", kind("hmac-key"), "hunter2-hunter2"),
        ("OPEN", kind("int"), "25"),
        ("IDLE", kind("int"), "10"),
        ("TLS", kind("bool"), "true"),
        ("SHARE", kind("float"), "0.5"),
        ("ACCESS", kind("duration"), "15m"),
        ("REFRESH", kind("duration"), "168h"),
        ("ORIGINS", list, "http://a,http://b"),
        ("SIZE", kind("bytes-size"), "1KiB"),
        ("ZERO", kind("int"), "0"),
        ("BAD_INT", kind("int"), "abc"),
    ]
    .into_iter()
    .map(|(name, kind, text)| (Key::new(name).unwrap(), (kind.judge(text, Dialect::Go).ok(), text)))
    .collect()
}

fn evaluate(source: &str) -> Outcome {
    let vars = vars();
    let lookup = |key: &Key| match vars.get(key) {
        None => Operand::Unset,
        Some((None, _)) => Operand::Unreadable,
        Some((Some(typed), text)) => Operand::Set { typed, text },
    };
    let scope = Scope { lookup: &lookup, env: "production", service: None };
    match Expression::parse(source) {
        Ok(expression) => expression.evaluate(&scope),
        Err(mistake) => Outcome::Broken(mistake.message),
    }
}

#[test]
fn rules_hold_or_fail() {
    for (source, expected) in [
        ("vars.HOST == 'db.internal'", Outcome::Holds),
        ("vars['HOST'].endsWith('.internal')", Outcome::Holds),
        ("vars.HOST.matches('^db[.]')", Outcome::Holds),
        ("vars.HOST in ['require', 'verify-ca']", Outcome::Fails),
        ("vars.IDLE <= vars.OPEN", Outcome::Holds),
        ("vars.IDLE > vars.OPEN", Outcome::Fails),
        ("vars.TLS && vars.SHARE < 1.0", Outcome::Holds),
        ("vars.SHARE < 1", Outcome::Holds),
        ("vars.REFRESH >= vars.ACCESS", Outcome::Holds),
        ("vars.ACCESS == duration('900s')", Outcome::Holds),
        ("vars.ACCESS + vars.ACCESS == duration('30m')", Outcome::Holds),
        ("vars.REFRESH - vars.ACCESS > duration('167h')", Outcome::Holds),
        ("vars.REFRESH.getHours() == 168 && vars.ACCESS.getMinutes() == 15", Outcome::Holds),
        ("vars.ACCESS.getSeconds() == 900 && vars.ACCESS.getMilliseconds() == 900000", Outcome::Holds),
        ("duration(vars.ACCESS) == vars.ACCESS", Outcome::Holds),
        ("vars.ORIGINS.all(o, !o.contains('*')) && size(vars.ORIGINS) == 2", Outcome::Holds),
        ("vars.ORIGINS.exists(o, o.startsWith('https://'))", Outcome::Fails),
        ("'http://a' in vars.ORIGINS", Outcome::Holds),
        ("vars.SIZE == 1024", Outcome::Holds),
        ("vars.SECRET != vars.OTHER_SECRET", Outcome::Fails),
        ("env == 'production' && service == ''", Outcome::Holds),
        ("has(vars.HOST) && !has(vars.NOWHERE)", Outcome::Holds),
        // A value that misses its type is there all the same.
        ("has(vars.BAD_INT)", Outcome::Holds),
        ("has(vars.HOST) == has(vars.NOWHERE)", Outcome::Fails),
        ("vars.NOWHERE == 'x'", Outcome::NotApplicable),
        ("vars.BAD_INT > 1", Outcome::NotApplicable),
        ("!has(vars.NOWHERE) || vars.NOWHERE == 'x'", Outcome::NotApplicable),
        ("true || vars['NOWHERE'] == 'x'", Outcome::NotApplicable),
    ] {
        assert_eq!(evaluate(source), expected, "{source}");
    }
}

#[test]
fn reasons_show_no_values() {
    for source in [
        "int(vars.SECRET) > 1",
        "vars.SECRET + 1 == 2",
        "vars.SECRET < 1",
        "vars.SECRET - vars.SECRET == 1",
        "{'a': 1}[vars.SECRET] == 1",
        "{'a': 1, vars.SECRET: 2, vars.OTHER_SECRET: 3}.size() == 3",
        "[1][vars.SECRET] == 1",
        "[1][vars.SECRET.size()] == 1",
        "vars.SECRET.foo == 1",
        "vars.SECRET.startsWith(1)",
        "vars.SECRET.nothing()",
        "vars.SECRET.matches('(')",
        "'a'.matches(vars.SECRET + '(')",
        "duration(vars.SECRET) > duration('1s')",
        "bool(vars.SECRET)",
        "double(vars.SECRET) > 1.0",
        "vars.SECRET",
        "-vars.SECRET == 'x'",
        "vars.SECRET in vars.SECRET",
        "vars.SECRET && true",
        "vars.SECRET ? true : false",
        "vars.SECRET.all(c, c == 'h')",
        "vars[vars.SECRET] == 1",
        "vars.SECRET.value.more == 1",
        "vars.ACCESS + vars.SECRET == vars.ACCESS",
        "vars.ACCESS < vars.SECRET",
        "duration('9223372036854775807ns') + vars.ACCESS == vars.ACCESS",
        "vars.OPEN / vars.ZERO == 1",
        "vars.OPEN % vars.ZERO == 1",
        "9223372036854775807 + vars.OPEN == 1",
        "nowhere == vars.SECRET",
        "nowhere(vars.SECRET)",
    ] {
        let Outcome::Broken(reason) = evaluate(source) else { panic!("{source} is not broken") };
        for piece in ["hunter", "2-", "25", "900", "15m"] {
            assert!(!reason.contains(piece), "{source}: {reason}");
        }
        assert!(!reason.is_empty());
    }
    assert_eq!(evaluate("1 + 1"), Outcome::Broken("it gives a int, not true or false".into()));
}

#[test]
fn what_a_rule_mentions_and_needs() {
    for (source, variables, needs) in [
        ("vars.A == vars['B']", "A B", "A B"),
        ("has(vars.A) && vars.B == 'x'", "A B", "B"),
        ("has(vars.A) || vars.A == 'x'", "A", "A"),
        ("has(vars.A.field)", "A", "A"),
        ("vars.L.all(o, o == vars.B)", "L B", "L B"),
        (".vars.A == {'k': vars.B}['k']", "A B", "A B"),
        ("vars['no name'] == 'x'", "", ""),
        ("env == 'x'", "", ""),
    ] {
        let expression = Expression::parse(source).unwrap();
        let names = |keys: &[Key]| keys.iter().map(Key::as_str).collect::<Vec<_>>().join(" ");
        assert_eq!(names(expression.variables()), variables, "{source}");
        assert_eq!(names(expression.needs()), needs, "{source}");
    }
}

#[test]
fn mistakes_of_syntax_have_a_place() {
    for (source, at) in [
        ("vars.A ==", Some(9..9)),
        ("vars.A === 'x'", Some(9..10)),
        ("vars.A ==\n  ) 'x'", Some(12..13)),
        ("'open", Some(0..1)),
        ("", Some(0..0)),
        ("vars.?A", Some(4..5)),
    ] {
        let mistake = Expression::parse(source).unwrap_err();
        assert_eq!(mistake.at, at, "{source}: {}", mistake.message);
        assert!(!mistake.message.is_empty());
    }
    assert!(Expression::parse("has(1)").is_err());
}

#[test]
fn rules_have_limits() {
    let chain = |piece: &str, times| format!("{}true", piece.repeat(times));
    assert!(Expression::parse(&chain("true&&", 300)).is_ok(), "logical chains are balanced");
    assert!(
        Expression::parse(&format!("{}1{} == 1", "(".repeat(1000), ")".repeat(1000))).is_ok(),
        "and these vanish"
    );
    for (source, limit) in [
        (" ".repeat(2049), "2048 bytes"),
        (format!("0 == {}1", "1+".repeat(500)), "nests too deeply"),
        (format!("{}1{} == 1", "[".repeat(900), "]".repeat(900)), "recursion"),
        (format!("a{}", ".b".repeat(900)), "nests too deeply"),
        (format!("a{}", ".b()".repeat(400)), "nests too deeply"),
        (format!("{}true", "true?true:".repeat(190)), ""),
        (format!("[1]{}.size() == 1", ".map(x,x)".repeat(150)), ""),
        ("[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))".into(), "three loops"),
    ] {
        let mistake = Expression::parse(&source).map(drop).expect_err(limit);
        assert!(mistake.message.contains(limit), "{}: {source:.40}", mistake.message);
    }
}

/// The deepest rule that parses is evaluated on a stack of 1.5 MiB, where the
/// smallest that any thread gets by default is 2.
#[test]
fn the_deepest_rule_fits_the_stack() {
    let deep = |links: usize| {
        [
            format!("0 == {}1", "1+".repeat(links)),
            format!("{}true", "true?true:".repeat(links)),
            format!("{}true{}", "!(".repeat(links), ")".repeat(links)),
            format!("{}1{} == 1", "-(".repeat(links), ")".repeat(links)),
            format!("[1]{} == [1]", ".map(x,x)".repeat(links)),
            format!("{}1{} == 1", "size([".repeat(links), "])".repeat(links)),
        ]
    };
    let run = move || {
        for rule in 0..6 {
            let deepest = (1..400)
                .rev()
                .map(|links| deep(links)[rule].clone())
                .find(|source| Expression::parse(source).is_ok());
            let source = deepest.expect("a short one parses");
            let _ = evaluate(&source);
        }
    };
    std::thread::Builder::new().stack_size(3 << 19).spawn(run).unwrap().join().unwrap();
}

fn declared(name: &str) -> Option<Shape> {
    Some(match name {
        "TEXT" => Shape::Text,
        "FLAG" => Shape::Bool,
        "COUNT" => Shape::Int,
        "SHARE" => Shape::Float,
        "AGE" => Shape::Duration,
        "ITEMS" => Shape::List,
        _ => return None,
    })
}

#[test]
fn lint_finds_what_cel_does_not() {
    for (source, expected) in [
        ("vars.TXET == 'x' || true", "no variable is named TXET"),
        ("has(vars.TXET)", "no variable is named TXET"),
        ("vars['TXET'] == 'x'", "no variable is named TXET"),
        ("vars['no name'] == 'x'", "no variable is named no name"),
        ("vars.TEXT.all(c, true)", "a text cannot be looped over"),
        ("TEXT == 'x'", "TEXT is not known here; write vars.TEXT"),
        ("environment == 'x'", "environment is not known here; a rule sees vars, env and service"),
        ("vars[vars.TEXT] == 'x'", "vars is indexed by a computed name; write vars.NAME"),
        ("'TEXT' in vars", "vars stands alone; write vars.NAME, or has(vars.NAME)"),
        ("vars.COUNT == '5'", "vars.COUNT (an integer) meets a text, which is never true"),
        ("vars.COUNT != '5'", "vars.COUNT (an integer) meets a text, which is always true"),
        ("vars.FLAG == 'true'", "vars.FLAG (a boolean) meets a text, which is never true"),
        ("vars.AGE == '5m'", "vars.AGE (a duration) meets a text, which is never true"),
        ("vars.AGE > 300", "vars.AGE (a duration) meets an integer, which have no order"),
        ("vars.ITEMS < vars.ITEMS", "vars.ITEMS (a list) meets vars.ITEMS (a list), which have no order"),
        ("vars.COUNT in ['1', '2']", "vars.COUNT (an integer) meets a text, so it is never in the list"),
        ("vars.ITEMS == [1, 2]", "vars.ITEMS (a list) meets a list, which is never true"),
        ("vars.TEXT in 'abc'", "`in` looks into a list, not into a text; use contains()"),
        ("vars.ITEMS.exists(o, o == 5)", "a text meets an integer, which is never true"),
        ("[1, 2].exists(o, o == vars.TEXT)", "an integer meets vars.TEXT (a text), which is never true"),
        ("vars.TEXT", "a rule is true or false, this one is a text"),
        ("vars.TEXT && true", "vars.TEXT (a text) stands where true or false is needed"),
        ("!vars.COUNT", "vars.COUNT (an integer) stands where true or false is needed"),
        (
            "vars.COUNT + 1.0 == 2.0",
            "vars.COUNT (an integer) meets a float, which this operator does not combine",
        ),
        ("vars.TEXT * 2 == 'x'", "vars.TEXT (a text) meets an integer, which this operator does not combine"),
        ("vars.TEXT.field == 'x'", "a text has no field field"),
        ("nothing(vars.TEXT)", "there is no function nothing()"),
        ("vars.TEXT.trim() == 'x'", "there is no function trim()"),
        ("timestamp('2024-01-01T00:00:00Z') < timestamp('x')", "there is no function timestamp()"),
        ("contains(vars.TEXT, 'x')", "contains() stands after a dot: x.contains()"),
        ("vars.TEXT.int() == 5", "int() does not stand after a dot: int(x)"),
        ("vars.COUNT.startsWith('5')", "startsWith() does not take vars.COUNT (an integer)"),
        ("vars.TEXT.startsWith('a', 'b')", "startsWith() takes 1 argument"),
        ("size() == 1", "size() takes 1 argument"),
        ("vars.ITEMS.contains('x')", "contains() does not take vars.ITEMS (a list)"),
        ("vars.AGE < duration('7d')", "\"7d\" is no Go duration; write duration('168h')"),
        ("vars.AGE < duration('soon')", "\"soon\" is no Go duration"),
        ("vars.TEXT.matches('(')", "the pattern does not compile: unclosed group"),
        ("vars.ITEMS.all(env, env == 'x')", "the loop hides env; name its variable otherwise"),
        ("vars.ITEMS.all(o)", "all() is written with other arguments"),
    ] {
        let mistakes = Expression::parse(source).unwrap().lint(&declared);
        let found: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
        assert!(found.contains(&expected), "{source}: {found:#?}");
    }
}

#[test]
fn lint_passes_what_is_right() {
    for source in [
        "vars.TEXT in ['require', 'verify-ca', 'verify-full']",
        "vars.COUNT <= vars.COUNT && vars.COUNT > 0",
        "vars.COUNT < 1.5 && vars.SHARE == 1",
        "vars.AGE + vars.AGE >= duration('192h') && vars.AGE.getHours() > 1",
        "vars.ITEMS.all(o, o != '*' && !o.contains(' ') && o.startsWith('https://'))",
        "vars.ITEMS.exists_one(o, o == 'x') || vars.ITEMS.filter(o, o == 'x').size() == 1",
        "vars.ITEMS.map(o, o.size()).all(n, n > 3)",
        "has(vars.TEXT) == has(vars.COUNT)",
        "!has(vars.TEXT) || vars.TEXT.matches('^[^@:/?#%]*$')",
        "env == 'production' ? vars.TEXT != 'disable' : true",
        "service in ['cc', 'admin'] || vars.FLAG",
        "int(vars.TEXT) > 5 && string(vars.COUNT) == '5' && double(vars.COUNT) > 0.5",
        "type(vars.COUNT) == int",
        "dyn(vars.COUNT) == '5'",
        "{'a': 1}['a'] == vars.COUNT",
        "-vars.COUNT < 0",
        "size(vars.TEXT) >= 32",
        "vars.ITEMS[0] == 'x'",
    ] {
        let mistakes = Expression::parse(source).unwrap().lint(&declared);
        assert_eq!(mistakes, [], "{source}");
    }
}

#[test]
fn lint_marks_the_place() {
    let source = "vars.TEXT == 'COUNT' && vars.COUNT == '5' && vars.NOPE";
    let mistakes = Expression::parse(source).unwrap().lint(&declared);
    let unknown = mistakes.iter().find(|mistake| mistake.unknown.is_some()).unwrap();
    assert_eq!(unknown.unknown.as_deref(), Some("NOPE"));
    assert_eq!(&source[unknown.at.clone().unwrap()], "NOPE");
}

/// Every function that lint knows is one of the library's: called, none is
/// undeclared. (Calling it with the wrong types may fail.)
#[test]
fn lint_knows_only_functions_that_exist() {
    for (name, method, count) in lint::signatures() {
        let arguments = vec!["'5'"; count - usize::from(method)].join(", ");
        let call = if method { format!("'5'.{name}({arguments})") } else { format!("{name}({arguments})") };
        let outcome = evaluate(&format!("dyn({call}) == 1"));
        if let Outcome::Broken(reason) = outcome {
            assert!(!reason.contains("nothing is named"), "{call}: {reason}");
        }
    }
}

proptest! {
    #[test]
    fn random_rules_do_not_panic(pieces in proptest::collection::vec(
        prop_oneof![
            Just("vars.SECRET"), Just("vars.OPEN"), Just("vars.ACCESS"), Just("vars.ORIGINS"), Just("vars"),
            Just("has("), Just("size("), Just("duration("), Just("int("), Just(".all(x,"), Just(".map(x,"),
            Just(".exists(x,"), Just(".matches("), Just(")"), Just("("), Just("["), Just("]"), Just("{"),
            Just("}"), Just("'a'"), Just("'7d'"), Just("1"), Just("0"), Just("1.5"), Just("x"), Just("env"),
            Just(" == "), Just(" + "), Just(" - "), Just(" / "), Just(" % "), Just(" < "), Just(" in "),
            Just(" && "), Just(" || "), Just("!"), Just("-"), Just("?"), Just(":"), Just(","), Just("."),
            Just("null"), Just("true"), Just("b'\\xff'"), Just("9223372036854775807"),
        ], 1..24,
    )) {
        let source = pieces.concat();
        if let Ok(expression) = Expression::parse(&source) {
            let _ = expression.lint(&declared);
        }
        if let Outcome::Broken(reason) = evaluate(&source) {
            prop_assert!(!reason.contains("hunter"), "{}: {}", source, reason);
        }
    }

    #[test]
    fn random_text_does_not_panic(source in any::<String>()) {
        if let Ok(expression) = Expression::parse(&source) {
            let _ = expression.lint(&declared);
        }
        let _ = evaluate(&source);
    }
}
