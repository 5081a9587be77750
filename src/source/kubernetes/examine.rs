//! What `doctor` asks: is the server there, who are we to it, what may we, and may we
//! more than we should. Reads no value: of objects their metadata alone.

use std::time::SystemTime;

use futures_util::stream::{self, StreamExt as _};

use super::look::VERBS;
use super::{AT_ONCE, Shared, Slot, layer};
use crate::kubernetes::{Kind, Who};
use crate::kubernetes::{Life, Name, Object, Said, Shape, Trouble, Verb, Why, may_all, missing, who};
use crate::model::schema::kind::go_duration;
use crate::source::{Observation, State};

/// Everything that can be said.
pub(super) async fn examine(shared: &Shared) -> Vec<Observation> {
    let mut told = Vec::new();
    if !reach(shared, &mut told).await || !login(shared, &mut told).await {
        return told;
    }
    if let Some(namespace) = namespace(shared).await {
        told.extend(breadth(shared, &namespace).await);
    }
    // Collected first: each future is tied to the borrow of the objects.
    let objects: Vec<_> = shared.objects.iter().map(|slot| object(shared, slot)).collect();
    let objects: Vec<Vec<Observation>> = stream::iter(objects).buffered(AT_ONCE).collect().await;
    told.extend(objects.into_iter().flatten());
    told
}

fn observe(what: impl Into<String>, state: State, detail: impl Into<String>, help: &str) -> Observation {
    let help = (!help.is_empty()).then(|| help.to_owned());
    Observation { what: what.into(), state, detail: detail.into(), help }
}

/// A failure: wrong where it will not pass by itself.
fn of_trouble(what: impl Into<String>, Trouble { why, .. }: &Trouble) -> Observation {
    let state = match why {
        Why::Access(_) | Why::Unauthorized | Why::Forbidden => State::Wrong,
        _ => State::Unreadable,
    };
    observe(what, state, why.to_string(), &why.help())
}

/// True if the server can be asked.
async fn reach(shared: &Shared, told: &mut Vec<Observation>) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        git_version: String,
    }
    let client = &shared.client;
    let asked = client.ask::<Version>(Said::get("/version".into(), Shape::Whole)).await;
    let label = client.label();
    let said = match asked {
        Ok(version) => format!("version {}", version.git_version),
        // Somebody took that right away; it answers all the same.
        Err(Trouble { why: Why::Forbidden, .. }) => "it answers".to_owned(),
        Err(trouble) => {
            told.push(of_trouble(label, &trouble));
            return false;
        }
    };
    let way =
        if label.starts_with("https://") { "verified by TLS" } else { "plain HTTP, on this machine only" };
    told.push(observe(label, State::Fine, format!("{said}, {way}"), ""));
    true
}

/// True if we may go on.
async fn login(shared: &Shared, told: &mut Vec<Observation>) -> bool {
    let token = match shared.client.token().await {
        Ok(token) => token,
        Err(trouble) => {
            told.push(of_trouble("login", &trouble));
            return false;
        }
    };
    let who = match who(&shared.client).await {
        Ok(who) => who,
        Err(trouble) if trouble.why == Why::Unauthorized => {
            told.push(of_trouble("login", &trouble));
            return false;
        }
        // It is older, or does not permit it: then the token's own word is all there is.
        Err(_) => {
            let account = token.as_ref().and_then(|token| token.account()).unwrap_or_default();
            Who { username: account.to_owned(), groups: Vec::new() }
        }
    };
    let life = token.map(|token| token.life(SystemTime::now()));
    let (state, life, help) = match life {
        None => (State::Fine, String::new(), ""),
        Some(Life::Endless) => (
            State::Degraded,
            "; the token does not end".to_owned(),
            "use a projected token, which the kubelet renews",
        ),
        Some(Life::Ended) => (
            State::Degraded,
            "; the token has ended, and is still accepted for a moment".to_owned(),
            "see whether it is a projected token, which the kubelet renews",
        ),
        Some(Life::Left { rest, late }) => {
            let text =
                format!("; the token ends in {}", go_duration(i128::from(rest.as_secs()) * 1_000_000_000));
            if late {
                let help = "see whether it is a projected token, which the kubelet renews";
                (State::Degraded, format!("{text}, and should have been renewed"), help)
            } else {
                (State::Fine, text, "")
            }
        }
    };
    let detail = match who.username.as_str() {
        "" => format!("it accepts us, and does not tell who we are{life}"),
        name => format!("we are {name}{life}"),
    };
    told.push(if who.groups.iter().any(|group| group == "system:masters") {
        let help = "use a service account with the Role that `dlconf rbac` prints";
        observe(
            "login",
            State::Degraded,
            format!("{detail}; in the group system:masters, which may do everything"),
            help,
        )
    } else {
        observe("login", state, detail, help)
    });
    true
}

async fn namespace(shared: &Shared) -> Option<Name> {
    let slot = shared.objects.first()?;
    shared.object(slot).await.ok().map(|object| object.namespace)
}

/// Whether we may more than the settings need: read every Secret.
async fn breadth(shared: &Shared, namespace: &Name) -> Option<Observation> {
    let mut may = Vec::new();
    for verb in [Verb::Get, Verb::List] {
        // Where the server does not tell, there is nothing to say.
        if may_all(&shared.client, Kind::Secret, namespace, verb).await.ok()? {
            may.push(verb.as_str());
        }
    }
    let what = format!("namespace {namespace}");
    Some(if may.is_empty() {
        observe(what, State::Fine, "we may not read other Secrets of it", "")
    } else {
        let detail = format!("we may {} every Secret of it, which is more than is needed", may.join(" and "));
        observe(what, State::Degraded, detail, "`dlconf rbac` prints the Role that is enough")
    })
}

async fn object(shared: &Shared, slot: &Slot) -> Vec<Observation> {
    let object = match shared.object(slot).await {
        Ok(object) => object,
        Err(trouble) => {
            let what = layer::place(shared, &slot.tracked());
            return vec![of_trouble(&*what, &trouble)];
        }
    };
    let what = format!("k8s:{object}");
    let lacks = match missing(&shared.client, &object, &VERBS).await {
        Ok(lacks) => lacks,
        Err(Trouble { why, .. }) => {
            let detail = format!("what we may could not be asked: the server {why}");
            return vec![observe(what, State::Degraded, detail, &why.help())];
        }
    };
    if !lacks.is_empty() {
        let detail = format!("we may not {} it", layer::either(&lacks));
        return vec![observe(what, State::Wrong, detail, &Why::Forbidden.help())];
    }
    vec![presence(shared, &object, what).await]
}

/// Whether it is there, and whether its metadata tell what they should not.
async fn presence(shared: &Shared, object: &Object, what: String) -> Observation {
    let found = match shared.find(object).await {
        Ok(found) => found.meta,
        Err(trouble) => return of_trouble(what, &trouble),
    };
    match found {
        None if shared.config.required => {
            observe(what, State::Wrong, "permitted, but it is not there", &Why::NotFound.help())
        }
        None => observe(what, State::Fine, "permitted; it is not there, and need not be", ""),
        Some(meta) if meta.has_a_copy && object.kind == Kind::Secret => observe(
            what,
            State::Degraded,
            "permitted; `kubectl apply` keeps a copy of its values in an annotation, so whoever may read its \
             metadata reads them",
            "use `kubectl apply --server-side`, or `kubectl create`; then remove the annotation \
             kubectl.kubernetes.io/last-applied-configuration",
        ),
        Some(_) => observe(what, State::Fine, "permitted", ""),
    }
}
