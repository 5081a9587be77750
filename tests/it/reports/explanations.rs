//! What the codes mean.

use dlconf::model::finding::Code;
use dlconf::report::Style;
use dlconf::report::explain::{Weight, document, explanation, render_explanation};
use expect_test::{expect, expect_file};

#[test]
fn explanations_are_the_documentation() {
    expect_file!["../../../docs/findings.md"].assert_eq(&document());
}

#[test]
fn explanations_know_the_severities_of_the_contract() {
    let development = ["DLC020", "DLC021", "DLC022", "DLC023", "DLC024", "DLC052", "DLC080"];
    let always = ["DLC030", "DLC032", "DLC053", "DLC060", "DLC071", "DLC072"];
    let values = ["DLC010", "DLC011", "DLC012", "DLC013"];
    for code in Code::ALL {
        let expected = match code.as_str() {
            code if development.contains(&code) => Weight::ErrorOutsideDevelopment,
            code if always.contains(&code) => Weight::Warning,
            code if values.contains(&code) => Weight::ErrorUnlessReplaced,
            "DLC031" => Weight::Replaced,
            "DLC040" => Weight::Rule,
            _ => Weight::Error,
        };
        assert_eq!(explanation(*code).weight, expected, "{code}");
    }
}

#[test]
fn explanations_name_only_codes_that_exist() {
    for code in Code::ALL {
        let explained = explanation(*code);
        let allowed = explained
            .silence
            .match_indices("allow = { ")
            .map(|(at, start)| &explained.silence[at + start.len()..][..6]);
        for named in allowed {
            assert_eq!(named, code.as_str(), "silencing {code}");
        }
    }
}

#[test]
fn an_explanation_fits_its_terminal() {
    for code in Code::ALL {
        for width in [40, 80, 300] {
            let shown = render_explanation(*code, Style { width, ..Style::default() });
            let prose = shown.lines().filter(|line| !line.starts_with("    "));
            for line in prose {
                assert!(line.chars().count() <= width.min(88), "{code} at {width}: {line}");
            }
        }
    }
    expect![[r#"
        DLC013: the program would silently use its default
        silently-defaulted, an error, but under a replaced name in development a warning

          The value is there, but the program cannot parse it and goes on with its
          built-in default as if nothing had been set. DataLens's API reads integers
          with Go's `strconv.Atoi` and durations with `time.ParseDuration`; what these
          refuse is replaced, and nothing is logged. The variable is declared with
          `on_invalid = "default"`.

        For example
            JWT_REFRESH_TOKEN_EXPIRY=7d      # ignored; 168h is used
            CONSENT_CACHE_TTL_SECONDS=300    # ignored; write 300s
            APP_PORT=abc                     # ignored; 8080 is used

        Why it matters
          What you wrote and what runs differ, and no log tells you. Go has no unit for
          days, so `7d` is no duration; a bare `300` is none either, although
          CONSENT_CACHE_TTL_SECONDS sounds as if it were; and
          `REDIS_PORT=tcp://10.0.0.1:6379`, which Kubernetes injects into every pod
          beside a Service named `redis`, is no integer. It goes unnoticed as long as
          the default happens to fit, until the day you need another value.

        How to mend it
          Write the value that the finding proposes: `168h` for seven days, `300s` for
          three hundred seconds. `dlconf check --fix` rewrites Go durations in place.
          Against values that Kubernetes injects, set `enableServiceLinks: false` in the
          pod's spec.

        How to silence it
          Do not silence it: remove the line instead, and the same default is used
          without pretending otherwise.
    "#]]
    .assert_eq(&render_explanation(Code::SilentlyDefaulted, Style { width: 80, ..Style::default() }));
}
