//! Mistakes in a schema, as `schema lint` and every other command draw them.

use dlconf::model::schema::parse::parse;
use dlconf::report::{Style, mistake};
use expect_test::{Expect, expect};

use super::without_colours;
use crate::program::Folder;

const HEAD: &str = "schema_version = 1\nname = \"s\"\n\
    environments = { variable = \"E\", names = [\"development\"] }\n";

/// A schema whose variables have no description.
fn undescribed(names: &[String]) -> String {
    let vars = names.iter().map(|name| format!("[var.{name}]\ntype = \"string\"\nrequired = false\n"));
    HEAD.to_owned() + &vars.collect::<String>()
}

fn check(schema: &str, style: Style, expected: &Expect) {
    let mistakes = match parse("s.toml", schema) {
        Ok(parsed) => parsed.warnings,
        Err(mistakes) => mistakes,
    };
    expected.assert_eq(
        &mistakes.iter().map(|found| mistake::draw("s.toml", schema, found, style)).collect::<String>(),
    );
}

#[test]
fn missing_descriptions_are_one_warning() {
    let style = Style { width: 60, ..Style::default() };
    check(
        &undescribed(&["PORT".to_owned()]),
        style,
        &expect![[r#"
            warning: PORT has no description
             --> s.toml:4:6
              |
            4 | [var.PORT
              |      ^^^^ say what it is for
              = fix: `dlconf schema docs`, `.env.example` and `explain`
                     print it
        "#]],
    );
    let names = |count: usize| -> Vec<String> { (1..=count).map(|n| format!("NAME_{n:02}")).collect() };
    check(
        &undescribed(&names(19)),
        style,
        &expect![[r#"
            warning: 19 variables have no description: NAME_01, NAME_02,
                     NAME_03, NAME_04, NAME_05, NAME_06, NAME_07,
                     NAME_08, NAME_09, NAME_10, NAME_11, NAME_12,
                     NAME_13, NAME_14, NAME_15, NAME_16, NAME_17,
                     NAME_18, NAME_19
             --> s.toml:4:6
              |
            4 | [var.NAME_01
              |      ^^^^^^^ say what it is for
              = fix: `dlconf schema docs`, `.env.example` and `explain`
                     print it
        "#]],
    );
    check(
        &undescribed(&names(22)),
        style,
        &expect![[r#"
            warning: 22 variables have no description: NAME_01, NAME_02,
                     NAME_03, NAME_04, NAME_05, NAME_06, NAME_07,
                     NAME_08, NAME_09, NAME_10, NAME_11, NAME_12,
                     NAME_13, NAME_14, NAME_15, NAME_16, NAME_17,
                     NAME_18, NAME_19, NAME_20 and 2 more
             --> s.toml:4:6
              |
            4 | [var.NAME_01
              |      ^^^^^^^ say what it is for
              = fix: `dlconf schema docs`, `.env.example` and `explain`
                     print it
        "#]],
    );
    let described = HEAD.to_owned() + "[var.A]\ntype = \"string\"\ndescription = \"It is.\"\n";
    check(&described, style, &expect![[r#""#]]);
}

#[test]
fn mistakes_wrap_at_words() {
    let schema = HEAD.to_owned() + "[var.A]\ntype = \"string\"\ndescription = \"x\"\ncolour = \"red\"\n";
    check(
        &schema,
        Style { width: 60, ..Style::default() },
        &expect![[r#"
            error: variable A has no field `colour`
             --> s.toml:7:1
              |
            7 | colour
              | ^^^^^^ unknown field
              = fix: it may have: allow, default, description, dialect,
                     example, fallback, forbid, generate, max_bytes,
                     min_bytes, on_invalid, pattern, published,
                     replaces, required, rotation, secret, services,
                     stale, type
        "#]],
    );
    let Err(mistakes) = parse("s.toml", &schema) else { panic!("there is no colour") };
    let [plain, coloured] = [false, true]
        .map(|color| mistake::draw("s.toml", &schema, &mistakes[0], Style { color, ..Style::default() }));
    assert_ne!(coloured, plain);
    assert_eq!(without_colours(&coloured), plain);
}

#[test]
fn numbers_and_nouns_agree() {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", &undescribed(&["E".to_owned()]));
    folder.run(&["schema", "lint"]).exits(0).says("1 variable, 0 groups, 0 rules; 1 warning\n");
    folder.file("dlconf.schema.toml", &undescribed(&["E".to_owned(), "B".to_owned()]));
    folder.run(&["schema", "lint"]).exits(0).says("2 variables, 0 groups, 0 rules; 1 warning\n");
}

/// Values are printed as they are, words are wrapped.
#[test]
fn provenance_keeps_its_values_whole() {
    let folder = Folder::new();
    let words = "word ".repeat(60);
    let schema = format!("{HEAD}[var.A]\ntype = \"string\"\ndescription = \"{}\"\n", words.trim());
    folder.file("dlconf.schema.toml", &schema);
    folder.file(".env", &format!("A='{words}x'\n"));
    let ran = folder.run(&["explain", "A"]).exits(0).says(&format!("{words}x\n"));
    let (described, _) = ran.stdout.split_once("\n\n").unwrap();
    assert!(described.lines().all(|line| line.chars().count() <= 100), "{described}");
}
