//! What people read in a terminal.

use dlconf::report::{Style, Unjudged, text};
use expect_test::{Expect, expect};

use super::{Case, at, hostile, key, missing, sample, silently_defaulted, unknown, without_colours};

fn check(case: &Case, style: Style, expected: &Expect) {
    expected.assert_eq(&text::render(&case.report(), style));
}

#[test]
fn text_reads_like_the_sample() {
    check(
        &sample(),
        Style::default(),
        &expect![[r#"
            production · policies/datalens.schema.toml · read .env (37), environment (2)

            error[DLC013]: the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d
              --> .env:15:26
            15 | JWT_REFRESH_TOKEN_EXPIRY=7d
               |                          ^^ Go has no unit "d"; the default, 168h, is used
               = fix: write 168h

            error[DLC001]: PORTAL_JWT_SECRET is not set
              --> policies/datalens.schema.toml:74      looked in: .env, environment
               = the portal would sign tokens with a key printed in its source
               = fix: set 32 bytes or more; `openssl rand -base64 48` makes one

            warning[DLC030]: JWT_SECERT is not declared, so it is not delivered
              --> env:JWT_SECERT
               = fix: did you mean JWT_SECRET?

            2 errors, 1 warning, 35 variables fine · `dlconf check --fix` mends 1 · dlconf explain DLC013
        "#]],
    );
}

#[test]
fn text_without_findings_is_one_friendly_line() {
    let case = Case { fine: 37, ..Case::new(Vec::new()) };
    check(
        &case,
        Style::default(),
        &expect![[r#"
        production · policies/datalens.schema.toml · read .env (37), environment (2)

        ✓ 37 variables fine
    "#]],
    );
    check(
        &case,
        Style { unicode: false, ..Style::default() },
        &expect![[r#"
        production - policies/datalens.schema.toml - read .env (37), environment (2)

        ok: 37 variables fine
    "#]],
    );
}

#[test]
fn text_lists_what_was_not_judged() {
    let unjudged =
        |name: &str, reason: &str| Unjudged { variable: key(name), reason: reason.into(), required: true };
    let mut case = Case::new(vec![unknown()]);
    case.unjudged = vec![
        unjudged("DB_PASSWORD", "--offline leaves vault out"),
        unjudged("OPENAI_API_KEY", "source config could not be read"),
        unjudged("PORTAL_JWT_SECRET", "--offline leaves vault out"),
        unjudged("CONSENT_SIGNING_KEY", "--offline leaves vault out"),
    ];
    check(
        &case,
        Style { width: 40, ..Style::default() },
        &expect![[r#"
            production ·
              policies/datalens.schema.toml ·
              read .env (37), environment (2)

            warning[DLC030]: JWT_SECERT is not
                             declared, so it is not
                             delivered
              --> env:JWT_SECERT
               = fix: did you mean JWT_SECRET?

            not judged: 4 variables
              --offline leaves vault out
                DB_PASSWORD, PORTAL_JWT_SECRET,
                CONSENT_SIGNING_KEY
              source config could not be read
                OPENAI_API_KEY

            1 warning, 35 variables fine,
              4 not judged · dlconf explain DLC030
        "#]],
    );
}

#[test]
fn text_names_only_the_required_of_many_unjudged() {
    let unjudged = |number: u8, reason: &str, required| Unjudged {
        variable: key(&format!("NAME_{number:02}")),
        reason: reason.into(),
        required,
    };
    let mut case = Case::new(Vec::new());
    case.unjudged = (1..=12).map(|number| unjudged(number, "vault is silent", number % 6 == 0)).collect();
    let all = text::render(&case.report(), Style::default());
    assert!(all.contains("NAME_01, NAME_02") && all.contains("NAME_12\n"), "{all}");
    case.unjudged.push(unjudged(13, "the file is gone", false));
    check(
        &case,
        Style::default(),
        &expect![[r#"
        production · policies/datalens.schema.toml · read .env (37), environment (2)

        not judged: 13 variables
          vault is silent
            NAME_06, NAME_12 and 10 optional ones
          the file is gone
            1 optional one

        35 variables fine, 13 not judged
    "#]],
    );
}

#[test]
fn text_wraps_at_words() {
    let mut long = silently_defaulted();
    long.message = "the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d, and nobody is told".into();
    long.notes = vec!["Kubernetes injects such values into every pod beside a Service of that name".into()];
    long.help = Some("set `enableServiceLinks: false` in the pod's spec, or rename https://example.com/a/very/long/address/of/a/service/that/cannot/be/broken".into());
    let mut unset = missing();
    unset.notes[0] = "looked in: .env, .env.production, /run/secrets/datalens, environment".into();
    let mut placeless = missing();
    placeless.origin = None;
    let mut case = Case::new(vec![long, unset, placeless]);
    case.read.push(dlconf::report::Read { label: "/run/secrets/datalens".into(), offers: 3, is_file: false });
    check(
        &case,
        Style { width: 60, ..Style::default() },
        &expect![[r#"
            production · policies/datalens.schema.toml · read .env (37),
              environment (2), /run/secrets/datalens (3)

            error[DLC013]: the API silently ignores
                           JWT_REFRESH_TOKEN_EXPIRY=7d, and nobody is
                           told
              --> .env:15:26
            15 | JWT_REFRESH_TOKEN_EXPIRY=7d
               |                          ^^
               = Go has no unit "d"; the default, 168h, is used
               = Kubernetes injects such values into every pod beside a
                 Service of that name
               = fix: set `enableServiceLinks: false` in the pod's spec,
                      or rename
                      https://example.com/a/very/long/address/of/a/service/that/cannot/be/broken

            error[DLC001]: PORTAL_JWT_SECRET is not set
              --> policies/datalens.schema.toml:74
               = looked in: .env, .env.production,
                 /run/secrets/datalens, environment
               = the portal would sign tokens with a key printed in its
                 source
               = fix: set 32 bytes or more; `openssl rand -base64 48`
                      makes one

            error[DLC001]: PORTAL_JWT_SECRET is not set
               = looked in: .env, environment
               = the portal would sign tokens with a key printed in its
                 source
               = fix: set 32 bytes or more; `openssl rand -base64 48`
                      makes one

            3 errors, 35 variables fine · `dlconf check --fix` mends 1 ·
              dlconf explain DLC001
        "#]],
    );
    for width in [60, 61, 80, 99, 100, 140] {
        let style = Style { width, ..Style::default() };
        for line in text::render(&sample().report(), style).lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn text_places_a_value_that_does_not_begin_its_line() {
    let mut found = silently_defaulted();
    found.origin = Some(at("deploy/.env", 7, 33));
    let snippet = found.snippet.as_mut().unwrap();
    (snippet.line, snippet.column) = (7, 8);
    check(
        &Case::new(vec![found]),
        Style::default(),
        &expect![[r#"
        production · policies/datalens.schema.toml · read .env (37), environment (2)

        error[DLC013]: the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d
         --> deploy/.env:7:33
        7 | JWT_REFRESH_TOKEN_EXPIRY=7d
          |                          ^^ Go has no unit "d"; the default, 168h, is used
          = fix: write 168h

        1 error, 35 variables fine · `dlconf check --fix` mends 1 · dlconf explain DLC013
    "#]],
    );
}

#[test]
fn text_cuts_long_lines_around_the_mark() {
    let long = |text: String, mark| {
        let mut found = silently_defaulted();
        let snippet = found.snippet.as_mut().unwrap();
        (snippet.text, snippet.mark, snippet.label) = (text, mark, "here".into());
        found
    };
    let list = "a,".repeat(400);
    let case = Case::new(vec![
        long(format!("CORS={list}*,{list}"), 805..806),
        long(format!("CORS={list}"), 5..805),
        long("CORS=".into(), 5..5),
        long("CORS=é✓漢字".into(), 6..99),
    ]);
    check(
        &case,
        Style { width: 60, ..Style::default() },
        &expect![[r#"
            production · policies/datalens.schema.toml · read .env (37),
              environment (2)

            error[DLC013]: the API silently ignores
                           JWT_REFRESH_TOKEN_EXPIRY=7d
              --> .env:15:26
            15 | ...,a,a,a,a,a,a,a,a,a,*,a,a,a,a,a,a,a,a,a,a,a,a...
               |                       ^ here
               = fix: write 168h

            error[DLC013]: the API silently ignores
                           JWT_REFRESH_TOKEN_EXPIRY=7d
              --> .env:15:26
            15 | CORS=a,a,a,a,a,a,a,a,a,a,a,a,a,a,a…
               |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ here
               = fix: write 168h

            error[DLC013]: the API silently ignores
                           JWT_REFRESH_TOKEN_EXPIRY=7d
              --> .env:15:26
            15 | CORS=
               |      ^ here
               = fix: write 168h

            error[DLC013]: the API silently ignores
                           JWT_REFRESH_TOKEN_EXPIRY=7d
              --> .env:15:26
            15 | CORS=é✓漢字
               |       ^^^^^ here
               = fix: write 168h

            4 errors, 35 variables fine · `dlconf check --fix` mends 4 ·
              dlconf explain DLC013
        "#]],
    );
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let case = sample();
    let plain = text::render(&case.report(), Style::default());
    let coloured = text::render(&case.report(), Style { color: true, ..Style::default() });
    assert_ne!(coloured, plain);
    assert_eq!(without_colours(&coloured), plain);
}

#[test]
fn text_shows_what_it_disarms() {
    check(
        &hostile(),
        Style { width: 80, ..Style::default() },
        &expect![[r#"
            production · policies/datalens.schema.toml ·
              read a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;: (1)

            error[DLC020]: a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;:
             --> dir/a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;:/.env:3:1
            3 | a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</...
              | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              = a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;:
              = a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;:
              = fix: a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;:

            warning[DLC030]: a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;:
              --> a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;:

            not judged: 1 variable
              a␛[31m␍␊::error::pwned<U+202E>##<U+005B>add-mask]x|<script>alert(1)</script>]]>&"'`*[l](http://e.example)%0A,;:
                A

            1 error, 1 warning, 35 variables fine, 1 not judged · dlconf explain DLC020
        "#]],
    );
}
