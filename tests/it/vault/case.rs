//! A run whose credentials nobody may see: every test of logging in and of trust
//! goes through it (behaviour 17: errors never contain a secret).

use serde_json::json;

use super::Setting;
use crate::bao::Bao;
use crate::program::Ran;

/// What `secret/app` holds as TOKEN.
pub(super) const VALUE: &str = "7Hq2vXc9Lp4Zr8WnT5kMd3Bf";

/// Reads `secret/app` and nothing else.
const READER: &str = "path \"secret/data/app\" { capabilities = [\"read\"] }";

/// Settings under test, the variables beside them, and every credential that they
/// lead to: none of those is in what any run prints.
pub(super) struct Case {
    pub(super) setting: Setting,
    variables: Vec<(String, String)>,
    credentials: Vec<String>,
}

impl Case {
    pub(super) fn new(bao: &Bao, auth: &str) -> Self {
        Self::of(Setting::new(bao, auth)).hides(bao.root_token())
    }

    pub(super) fn of(setting: Setting) -> Self {
        Self { setting, variables: Vec::new(), credentials: Vec::new() }
    }

    /// A credential that is nobody's to see.
    pub(super) fn hides(mut self, credential: &str) -> Self {
        self.credentials.push(credential.to_owned());
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A variable that is a credential.
    pub(super) fn token(self, name: &str, token: &str) -> Self {
        self.variable(name, token).hides(token)
    }

    /// A file that holds a credential.
    pub(super) fn file(self, name: &str, credential: &str) -> Self {
        self.setting.folder.file(name, credential);
        self.hides(credential)
    }

    /// The same file with another credential.
    pub(super) fn exchange(&mut self, name: &str, credential: &str) {
        self.setting.folder.file(name, credential);
        self.credentials.push(credential.to_owned());
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        let arguments = [&["-vv", "--config", "set.toml"], arguments].concat();
        let variables: Vec<(&str, &str)> = self.variables.iter().map(|(n, v)| (&**n, &**v)).collect();
        let ran = self.setting.folder.run_with(&arguments, &variables);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains("panicked"), "{text}");
            for word in self.credentials.iter().flat_map(|credential| credential.split_whitespace()) {
                assert!(!text.contains(word), "{word} is in:\n{text}");
            }
            assert_eq!(token_in(text), None, "a token is in:\n{text}");
        }
        ran
    }

    /// `check`, which shows no value either; what it says, without its line ends.
    pub(super) fn check(&self) -> Ran {
        let ran = self.run(&["check"]).never_says(VALUE);
        let flat = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        Ran { stdout: flat, ..ran }
    }

    /// That the login works.
    #[track_caller]
    pub(super) fn works(&self) {
        assert_eq!(self.run(&["get", "--local", "TOKEN"]).exits(0).stdout, format!("{VALUE}\n"));
    }
}

/// What looks like a token of OpenBao: those of logins, which no test knows.
fn token_in(text: &str) -> Option<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
    words.filter(|word| word.starts_with("s.")).find(|word| word.split('.').any(|part| part.len() == 24))
}

/// Writes the value, and a policy `reader` for it.
pub(super) fn prepare(bao: &Bao) {
    bao.kv_put("app", &json!({ "TOKEN": VALUE }));
    bao.policy("reader", READER);
}
