//! Building the sources that the settings list.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Ground, Request};
use crate::model::key::SourceName;
use crate::settings::{ShownPath, SourceKind, SourceSettings};
use crate::source::Source;
use crate::source::directory::DirectorySource;
use crate::source::dotenv::{DotenvSource, EnvFile, four_files};
use crate::source::env::{self, EnvSource};
use crate::source::kubernetes::KubernetesSource;
use crate::source::notice::Notices;
use crate::source::sealed::SealedSource;
use crate::source::structured::StructuredSource;
use crate::source::vault::VaultSource;

/// The sources, built and not yet read.
#[derive(Default)]
pub struct Sources {
    /// Those that are asked, lowest first, each with what the settings say of it;
    /// env files that only the caller names have no settings.
    pub all: Vec<(Arc<dyn Source>, Option<SourceSettings>)>,
    /// The env files, lowest first, that the dotenv sources read.
    pub env_files: Vec<ShownPath>,
    /// Every single file that a source reads.
    pub files: Vec<ShownPath>,
    /// Remote sources that are not asked, since the caller is offline.
    pub passed_over: Vec<SourceName>,
}

/// Builds the sources; with a `hub`, local ones notice changes. `kept` may give
/// one that is there already.
pub fn build(
    ground: &Ground,
    request: &Request,
    hub: Option<&Arc<Notices>>,
    kept: &dyn Fn(&SourceSettings) -> Option<Arc<dyn Source>>,
) -> Sources {
    let Ground { schema, environment, settings, process, .. } = ground;
    let mut built = Sources::default();
    let mut has_dotenv = false;
    for source in &settings.sources {
        if let Some(kept) = kept(source) {
            built.all.push((kept, Some(source.clone())));
            continue;
        }
        let name = source.name.clone();
        let new: Arc<dyn Source> = match source.kind.clone() {
            SourceKind::Env => Arc::new(EnvSource::new(name, Arc::clone(process))),
            SourceKind::Dotenv { path, folder, optional } => {
                let files = if !request.env_files.is_empty() && !has_dotenv {
                    named_files(&request.env_files)
                } else if !request.env_files.is_empty() {
                    Vec::new()
                } else if let Some(path) = path {
                    vec![(path, optional)]
                } else {
                    listed_files(environment, schema.environments.is_development(environment), &folder)
                };
                has_dotenv = true;
                let source = dotenv(name, &files, hub);
                built.env_files.extend(files.into_iter().map(|(path, _)| path));
                source
            }
            SourceKind::File { path, notation, optional } => {
                built.files.push(path.clone());
                let source = StructuredSource::new(name, path.path, &path.label, notation, optional);
                let source = source.beneath(path.beneath);
                Arc::new(match hub {
                    Some(hub) => source.watched(hub),
                    None => source,
                })
            }
            SourceKind::Directory { path, optional } => {
                let source = DirectorySource::new(name, path.path, &path.label, optional);
                let source = source.beneath(path.beneath);
                Arc::new(match hub {
                    Some(hub) => source.watched(hub),
                    None => source,
                })
            }
            SourceKind::Sealed { path, key, optional } => {
                built.files.push(path.clone());
                let source = SealedSource::new(name, path.path, &path.label, key, optional);
                let source = source.beneath(path.beneath);
                Arc::new(match hub {
                    Some(hub) => source.watched(hub),
                    None => source,
                })
            }
            SourceKind::Vault { config, token } => {
                let token = token.and_then(|variable| env::credential(process, variable));
                Arc::new(VaultSource::new(name, *config, token))
            }
            SourceKind::Kubernetes { config } => Arc::new(KubernetesSource::new(name, *config)),
            SourceKind::PassedOver => {
                built.passed_over.push(name);
                continue;
            }
        };
        built.all.push((new, Some(source.clone())));
    }
    if !has_dotenv && !request.env_files.is_empty() {
        // The settings have no such source: the files go under all others.
        let files = named_files(&request.env_files);
        built.all.insert(0, (dotenv(SourceName::new("env-file"), &files, hub), None));
        built.env_files.extend(files.into_iter().map(|(path, _)| path));
    }
    built.files.extend(built.env_files.iter().cloned());
    built
}

fn named_files(paths: &[PathBuf]) -> Vec<(ShownPath, bool)> {
    paths.iter().map(|path| (ShownPath::named(path), false)).collect()
}

fn listed_files(environment: &str, development: bool, folder: &ShownPath) -> Vec<(ShownPath, bool)> {
    let names = four_files(environment, development);
    let shown = |name: String| ShownPath {
        path: folder.path.join(&name),
        label: Path::new(&folder.label).join(&name).display().to_string(),
        beneath: folder.beneath.clone(),
    };
    names.into_iter().map(|name| (shown(name), true)).collect()
}

fn dotenv(name: SourceName, files: &[(ShownPath, bool)], hub: Option<&Arc<Notices>>) -> Arc<dyn Source> {
    let files = files.iter().map(|(file, optional)| EnvFile {
        path: file.path.clone(),
        label: file.label.as_str().into(),
        optional: *optional,
        beneath: file.beneath.clone(),
    });
    let source = DotenvSource::new(name, files.collect());
    Arc::new(match hub {
        Some(hub) => source.watched(hub),
        None => source,
    })
}
