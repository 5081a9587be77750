//! What the commands share that print the rights which settings need: for which
//! sources, and from what.

use super::Failure;
use crate::assemble::Ground;
use crate::model::key::SourceName;
use crate::model::schema::toml_reader::nearest;
use crate::report::visible;
use crate::settings::SourceKind;

/// A source, by its name.
pub(super) type Named<'g, C> = (&'g SourceName, &'g C);

/// The sources of this type: the one that is wanted, or all.
pub(super) fn sources<'g, C>(
    ground: &'g Ground,
    kind: &str,
    wanted: Option<&str>,
    of: impl Fn(&'g SourceKind) -> Option<&'g C>,
) -> Result<Vec<Named<'g, C>>, Failure> {
    let sources = ground.settings.sources.iter();
    let all: Vec<Named<'g, C>> =
        sources.filter_map(|source| Some((&source.name, of(&source.kind)?))).collect();
    let Some(wanted) = wanted else { return Ok(all) };
    let names = || all.iter().map(|(name, _)| name.as_str());
    if let Some(one) = all.iter().find(|(name, _)| name.as_str() == wanted) {
        return Ok(vec![*one]);
    }
    let help = match nearest(wanted, names()) {
        Some(near) => format!("did you mean {near}?"),
        None if all.is_empty() => "the settings have none".to_owned(),
        None => format!("these are: {}", listed(&all)),
    };
    Err(Failure::usage(format!("`{wanted}` is no source of type \"{kind}\""), help))
}

/// There is no source of this type; `page` shows how one is declared.
pub(super) fn none(ground: &Ground, kind: &str, page: &str) -> Failure {
    let of = ground.opened.label().unwrap_or("the embedded settings");
    Failure::usage(
        format!("{of}: no source of type \"{kind}\" in {}", ground.environment),
        format!("declare one as {page} shows, or name other settings with --config"),
    )
}

/// Their names, to be read by people.
pub(super) fn listed<C>(sources: &[Named<'_, C>]) -> String {
    sources.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

/// What stands above: the command, and what it was made from; then `more`.
pub(super) fn header<C>(
    command: &str,
    ground: &Ground,
    sources: &[Named<'_, C>],
    more: Vec<String>,
) -> Vec<String> {
    let names: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
    let settings = ground.opened.label().unwrap_or("the process environment");
    let of = if names.is_empty() { String::new() } else { format!(", source {}", names.join(" and ")) };
    let lines =
        [format!("Made by `{command}` from {settings},"), format!("environment {}{of}.", ground.environment)];
    lines.into_iter().chain(more).map(|line| visible(&line).into_owned()).collect()
}
