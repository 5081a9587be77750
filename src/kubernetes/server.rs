//! Which API server, and as whom: what settings say of it. Value-free.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::trouble::Misfit;

/// Where the address, the authorities and the identity come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The pod's service account: its token, its authorities, the address that the
    /// kubelet put into the environment.
    InCluster,
    /// A kubeconfig.
    Kubeconfig {
        /// The files; the first that says something wins, as kubectl has it.
        files: Vec<PathBuf>,
        /// The context; none is the current one.
        context: Option<String>,
        /// Whether its credential plugin may run, and files that it names be read
        /// wherever they are. Not for one that settings chose which were merely found.
        trusted: bool,
    },
}

/// Where Kubernetes mounts what a pod needs to speak to its API server.
pub(crate) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Server {
    /// The one that this environment means: KUBECONFIG's; in a pod, its service
    /// account's; otherwise that of `~/.kube/config`. Where it means none, whoever
    /// wants to ask it is told so.
    pub(crate) fn of_environment(
        process: &[(OsString, OsString)],
        context: Option<String>,
        trusted: bool,
    ) -> Self {
        let set = |name: &str| {
            let found = process.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
        };
        let named: Vec<PathBuf> = set("KUBECONFIG").map_or_else(Vec::new, |paths| {
            std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()).collect()
        });
        let files = if !named.is_empty() {
            named
        } else if context.is_none() && set("KUBERNETES_SERVICE_HOST").is_some() {
            // A context is one of a kubeconfig.
            return Self::InCluster;
        } else if let Some(home) = set("HOME") {
            vec![Path::new(home).join(".kube/config")]
        } else {
            Vec::new()
        };
        Self::Kubeconfig { files, context, trusted }
    }

    /// That it is one at all.
    ///
    /// # Errors
    /// [`Misfit`] where nothing says which.
    pub(crate) fn is_somewhere(&self) -> Result<(), Misfit> {
        match self {
            Self::Kubeconfig { files, .. } if files.is_empty() => Err(Misfit {
                message:
                    "nothing says where the API server is: this is no pod, and neither KUBECONFIG nor HOME is set"
                        .into(),
                help: "name a kubeconfig: KUBECONFIG=/path/to/kubeconfig".into(),
            }),
            _ => Ok(()),
        }
    }

    /// The files of a kubeconfig.
    pub(super) fn files(&self) -> &[PathBuf] {
        match self {
            Self::InCluster => &[],
            Self::Kubeconfig { files, .. } => files,
        }
    }

    /// As messages call it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::InCluster => "the pod's service account".to_owned(),
            Self::Kubeconfig { files, .. } if files.is_empty() => "the API server".to_owned(),
            Self::Kubeconfig { files, context, .. } => {
                let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                match context {
                    Some(context) => format!("{} (context {context})", files.join(":")),
                    None => files.join(":"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], context: Option<&str>) -> Server {
        let process: Vec<(OsString, OsString)> =
            variables.iter().map(|(key, value)| (key.into(), value.into())).collect();
        Server::of_environment(&process, context.map(str::to_owned), true)
    }

    fn kubeconfig(files: &[&str], context: Option<&str>) -> Server {
        Server::Kubeconfig {
            files: files.iter().map(PathBuf::from).collect(),
            context: context.map(str::to_owned),
            trusted: true,
        }
    }

    #[test]
    fn the_nearest_word_counts() {
        let pod = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        let home = ("HOME", "/home/a");
        let named = ("KUBECONFIG", "/a:/b:");
        assert_eq!(of(&[pod, home, named], None), kubeconfig(&["/a", "/b"], None));
        for nothing in ["", ":"] {
            assert_eq!(of(&[pod, home, ("KUBECONFIG", nothing)], None), Server::InCluster);
        }
        assert_eq!(of(&[pod, home], Some("c")), kubeconfig(&["/home/a/.kube/config"], Some("c")));
        assert_eq!(of(&[home], None), kubeconfig(&["/home/a/.kube/config"], None));
        assert!(of(&[home], None).is_somewhere().is_ok() && of(&[], None).is_somewhere().is_err());
    }
}
