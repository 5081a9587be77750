//! Which environment, and which service.

use super::{Choice, Request};
use crate::failure::Failure;
use crate::model::schema::Schema;
use crate::model::schema::toml_reader::nearest;
use crate::settings::{self, Chosen};
use crate::source::env::{self, Environment};

pub(super) fn choose_environment(
    request: &Request,
    choice: Choice,
    opened: &settings::Opened,
    schema: &Schema,
    process: &Environment,
) -> Result<String, Failure> {
    let names = &schema.environments.names;
    let variable = &schema.environments.variable;
    let own = env::lookup(process, variable.as_str()).map(|value| value.expose().to_owned());
    let asked = by_caller(request.environment.as_ref(), "--env or DLCONF_ENV")
        .or_else(|| opened.environment().map(|chosen| by_settings(chosen, "environment")))
        .or_else(|| {
            own.filter(|name| !name.is_empty()).map(|name| (name, format!("the process's {variable}")))
        });
    let assumed = |laptop: &str| (laptop.to_owned(), "default".to_owned());
    let (chosen, by) = match (choice, asked, schema.environments.laptop()) {
        (Choice::Development, _, None) => {
            return Err(Failure::usage(
                "dev is for laptops, but the schema does not say which of its environments is theirs",
                format!(
                    "write `development = \"…\"` under `environments` in the schema, with one of: {}",
                    names.join(", ")
                ),
            ));
        }
        (Choice::Development, Some((name, by)), Some(laptop)) if name != laptop => {
            return Err(Failure::usage(
                format!("dev is for {laptop}, but {name} is chosen, by {by}"),
                format!("use `dlconf run --env {name} -- …`, or `dlconf dev --env {laptop} -- …`"),
            ));
        }
        (_, Some(asked), _) => asked,
        (Choice::Development, None, Some(laptop)) => assumed(laptop),
        (Choice::Asked, None, Some(laptop)) if !opened.has_file() => assumed(laptop),
        (Choice::Asked, None, _) => {
            let why = if opened.has_file() {
                "and with a settings file none is assumed"
            } else {
                "and the schema does not say which is a laptop's"
            };
            return Err(Failure::usage(
                format!("no environment is chosen, {why}"),
                format!("say `--env {}`, or set `environment` in the settings", names.join("` or `--env ")),
            ));
        }
    };
    if names.iter().any(|name| **name == *chosen) {
        return Ok(chosen);
    }
    let near = nearest(&chosen.to_ascii_lowercase(), names.iter().map(|name| &**name));
    Err(unknown("environment", &chosen, &by, near, names))
}

pub(super) fn choose_service(
    request: &Request,
    settings: Option<Chosen>,
    schema: &Schema,
) -> Result<Option<String>, Failure> {
    let asked = by_caller(request.service.as_ref(), "--service or DLCONF_SERVICE")
        .or_else(|| settings.map(|chosen| by_settings(chosen, "service")));
    let Some((service, by)) = asked else { return Ok(None) };
    if schema.services.iter().any(|known| **known == *service) {
        return Ok(Some(service));
    }
    let near = nearest(&service, schema.services.iter().map(|s| &**s));
    Err(unknown("service", &service, &by, near, &schema.services))
}

/// A name, and who chose it.
fn by_caller(name: Option<&String>, option: &str) -> Option<(String, String)> {
    name.map(|name| (name.clone(), option.to_owned()))
}

fn by_settings(chosen: Chosen, field: &str) -> (String, String) {
    (chosen.name, format!("`{field}` in {}", chosen.place))
}

fn unknown(what: &str, name: &str, by: &str, near: Option<&str>, known: &[Box<str>]) -> Failure {
    let help = match near {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => "the schema lists none: choose none".to_owned(),
        None => format!("the schema has: {}", known.join(", ")),
    };
    Failure::usage(format!("the schema has no {what} `{name}`, which is chosen by {by}"), help)
}
