//! What the names of a whole example tell about the program.

use super::ExampleVariable;
use crate::model::secret::SecretValue;

/// Variables that hold the environment's name; the first that is there counts.
const ENVIRONMENT: &[&str] = &[
    "APP_ENV",
    "APP_ENVIRONMENT",
    "DEPLOY_ENV",
    "ENVIRONMENT",
    "RAILS_ENV",
    "RACK_ENV",
    "DJANGO_ENV",
    "FLASK_ENV",
    "GO_ENV",
    "MIX_ENV",
    "ASPNETCORE_ENVIRONMENT",
    "NODE_ENV",
    "ENV",
];

/// Every name of an environment that is taken for one, in the order of a
/// change's way out; in small letters, in capitals or with one capital.
const KNOWN: &[&str] = &[
    "local",
    "dev",
    "devel",
    "develop",
    "development",
    "test",
    "testing",
    "ci",
    "qa",
    "uat",
    "preview",
    "sandbox",
    "stage",
    "stg",
    "staging",
    "prod",
    "production",
];

/// Beginnings of names that only programs in other languages than Go read.
const NOT_GO: &[(&str, &str)] = &[
    ("NODE_", "Node"),
    ("NPM_", "Node"),
    ("NEXT_PUBLIC_", "Node"),
    ("NEXTAUTH_", "Node"),
    ("NUXT_", "Node"),
    ("VITE_", "Node"),
    ("REACT_APP_", "Node"),
    ("RAILS_", "Ruby"),
    ("RACK_", "Ruby"),
    ("SECRET_KEY_BASE", "Ruby"),
    ("DJANGO_", "Python"),
    ("FLASK_", "Python"),
    ("PYTHON", "Python"),
    ("CELERY_", "Python"),
    ("GUNICORN_", "Python"),
    ("UVICORN_", "Python"),
    ("MAIL_MAILER", "PHP"),
    ("SPRING_", "Java"),
    ("JAVA_", "Java"),
    ("MIX_ENV", "Elixir"),
    ("PHX_", "Elixir"),
    ("ASPNETCORE_", ".NET"),
    ("DOTNET_", ".NET"),
    ("RUST_", "Rust"),
];

/// What is known of the program.
pub(super) struct Hints {
    /// The variable that holds the environment's name.
    pub(super) variable: &'static str,
    /// Whether the example has it.
    pub(super) has_variable: bool,
    /// The environments.
    pub(super) names: Vec<String>,
    /// The one of a laptop; one of them.
    pub(super) laptop: String,
    /// The language, where it is not Go, and the name that betrays it.
    pub(super) language: Option<(&'static str, &'static str)>,
}

impl Hints {
    pub(super) fn find(variables: &[&ExampleVariable]) -> Self {
        let language = NOT_GO
            .iter()
            .copied()
            .find(|(start, _)| variables.iter().any(|variable| variable.name.as_str().starts_with(start)));
        let find = |commented_out: bool| {
            ENVIRONMENT.iter().copied().find_map(|name| {
                let named = |variable: &&&ExampleVariable| {
                    variable.name.as_str() == name && variable.commented_out == commented_out
                };
                Some((name, variables.iter().find(named)?))
            })
        };
        let found = find(false).or_else(|| find(true));
        let (variable, value) = match found {
            Some((name, variable)) => (name, variable.value.as_ref().map_or("", SecretValue::expose)),
            None => (default_variable(language.map(|(_, language)| language)), ""),
        };
        let names = names(variable, value);
        // The example's own counts first: an example is written for a laptop.
        let laptop = names.iter().find(|name| *name == value && is_laptop(name));
        let laptop = laptop.or(names.iter().find(|name| is_laptop(name))).or(names.first());
        let laptop = laptop.cloned().unwrap_or_default();
        Self { variable, has_variable: found.is_some(), names, laptop, language }
    }

    /// Whether spans of time are written as Go reads them.
    pub(super) fn is_go(&self) -> bool {
        self.language.is_none()
    }

    /// The environments that others use.
    pub(super) fn deployed(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).filter(|name| !is_laptop(name) && !is_test(name)).collect()
    }
}

fn is_laptop(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "local" | "dev" | "devel" | "develop" | "development")
}

fn is_test(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "test" | "testing" | "ci")
}

fn default_variable(language: Option<&str>) -> &'static str {
    match language {
        Some("Node") => "NODE_ENV",
        Some("Ruby") => "RAILS_ENV",
        Some("Elixir") => "MIX_ENV",
        Some(".NET") => "ASPNETCORE_ENVIRONMENT",
        _ => "APP_ENV",
    }
}

/// How a name is written.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// `production`
    Small,
    /// `Production`
    Title,
    /// `PRODUCTION`
    Capitals,
}

impl Case {
    fn write(self, name: &str) -> String {
        match self {
            Self::Small => name.to_owned(),
            Self::Capitals => name.to_ascii_uppercase(),
            Self::Title => {
                let (first, rest) = name.split_at_checked(1).unwrap_or((name, ""));
                first.to_ascii_uppercase() + rest
            }
        }
    }
}

/// The known name that a value is, and how it is written.
fn known(value: &str) -> Option<(&'static str, Case)> {
    let known = KNOWN.iter().copied().find(|known| known.eq_ignore_ascii_case(value))?;
    let case =
        [Case::Small, Case::Title, Case::Capitals].into_iter().find(|case| case.write(known) == value)?;
    Some((known, case))
}

/// The names that are usual for the variable, and the example's own where it is
/// a known one. A value that is not known is not repeated.
fn names(variable: &str, value: &str) -> Vec<String> {
    let usual = if variable == "ASPNETCORE_ENVIRONMENT" { Case::Title } else { Case::Small };
    let (own, case) = known(value).map_or((None, usual), |(own, case)| (Some(own), case));
    let framework = matches!(variable, "NODE_ENV" | "RAILS_ENV" | "RACK_ENV" | "MIX_ENV" | "FLASK_ENV");
    let mut names = match own {
        Some(stage @ ("stg" | "stage")) => vec!["dev", stage, "prod"],
        Some("dev" | "prod") => vec!["dev", "staging", "prod"],
        Some("staging") if framework => vec!["development", "test", "staging", "production"],
        _ if framework => vec!["development", "test", "production"],
        Some(laptop @ ("local" | "devel" | "develop")) => vec![laptop, "staging", "production"],
        _ => vec!["development", "staging", "production"],
    };
    if let Some(own) = own.filter(|own| !names.contains(own)) {
        names.push(own);
        names.sort_by_key(|name| KNOWN.iter().position(|known| known == name));
    }
    names.into_iter().map(|name| case.write(name)).collect()
}
