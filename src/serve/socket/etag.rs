//! Entity tags: whether what a caller would get is what it has.
//!
//! Opaque and weak: a tag stands for the values of one view, not for the bytes of
//! one answer. It says nothing of the values, and nobody can guess one: it is made
//! with numbers that are drawn anew at every start.

use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};

use axum::http::HeaderValue;

use crate::access::Standing;

/// Makes tags.
#[derive(Debug, Clone, Default)]
pub(super) struct Tags([RandomState; 2]);

/// What a tag is compared as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(String);

impl Tags {
    /// The tag of an answer: when any of its variables changed last, which they are
    /// and by which rules, in which form.
    pub(super) fn tag(&self, standing: &Standing, what: impl Hash) -> Tag {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            standing.version.instance().hash(&mut hasher);
            standing.changed_in.hash(&mut hasher);
            what.hash(&mut hasher);
            hasher.finish()
        };
        let [one, other] = self.0.each_ref().map(half);
        Tag(format!("W/\"{one:016x}{other:016x}\""))
    }
}

impl Tag {
    /// As a header.
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("W/\"\""))
    }

    /// Whether `If-None-Match` names it; compared weakly, as RFC 9110 13.1.2 says.
    pub(super) fn is_among(&self, header: &str) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        header.trim() == "*" || header.split(',').any(|tag| opaque(tag) == opaque(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::Version;

    fn standing(instance: &str, generation: u64, changed_in: u64) -> Standing {
        Standing { version: Version::new(instance.into(), generation), changed_in }
    }

    #[test]
    fn a_tag_is_of_what_the_caller_would_get() {
        let tags = Tags::default();
        let tag = tags.tag(&standing("a", 2, 1), ("view", "json"));
        assert_eq!(tag, tags.tag(&standing("a", 3, 1), ("view", "json")), "nothing of it changed");
        for other in [
            tags.tag(&standing("a", 2, 2), ("view", "json")),
            tags.tag(&standing("b", 2, 1), ("view", "json")),
            tags.tag(&standing("a", 2, 1), ("less", "json")),
            tags.tag(&standing("a", 2, 1), ("view", "yaml")),
            Tags::default().tag(&standing("a", 2, 1), ("view", "json")),
        ] {
            assert_ne!(tag, other);
        }
    }

    #[test]
    fn if_none_match_is_compared_weakly() {
        let tag = Tag("W/\"12\"".into());
        for (header, is_among) in [
            ("W/\"12\"", true),
            ("\"12\"", true),
            ("\"11\", W/\"12\"", true),
            ("*", true),
            ("\"1\"", false),
            ("12", false),
            ("", false),
        ] {
            assert_eq!(tag.is_among(header), is_among, "{header}");
        }
    }
}
