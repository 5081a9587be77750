//! Refusals: why a reader cannot carry a value, in words that hold none of it.

/// Why a format cannot carry a value, or anything at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Nul,
    LineBreak,
    CarriageReturn,
    LongLine,
    NotPortable,
    Noncharacter,
    Interpolation,
    Quotes,
    EndsInQuote,
    EndsInBackslash,
    ShellName,
    NodeName,
    LongName,
    SecretTooLarge,
    SecretName,
    SecretNamespace,
}

impl Refusal {
    /// The reason, to stand after a colon.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Nul => "the value holds a NUL byte, which ends every environment variable",
            Self::LineBreak => "the value holds a line break, and the reader takes every line for itself",
            Self::CarriageReturn => {
                "the value holds a carriage return, which the reader turns into a line feed"
            }
            Self::LongLine => "the line would be 64 KiB or longer, and the reader stops there",
            Self::NotPortable => "the value holds a character that readers of .env files disagree on",
            Self::Noncharacter => {
                "the value holds a Unicode noncharacter, for which the reader rejects the whole file"
            }
            Self::Interpolation => "the value holds `${`, which the reader replaces even inside quotes",
            Self::Quotes => "every kind of quotes that the reader knows would change the value",
            Self::EndsInQuote => "the value ends in a double quote, which the reader drops",
            Self::EndsInBackslash => {
                "the value ends in a backslash, behind which the reader does not see the closing quote"
            }
            Self::ShellName => "the shell keeps this name for itself and does not take a value for it",
            Self::NodeName => "a JavaScript object does not take a value under this name",
            Self::LongName => "a key of a Secret has at most 253 characters",
            Self::SecretTooLarge => "the values together exceed 1 MiB, the most that a Secret holds",
            Self::SecretName => {
                "the Secret needs a name that is a DNS-1123 subdomain: \
                 lower-case letters, digits, `-` and `.`, at most 253"
            }
            Self::SecretNamespace => {
                "the Secret's namespace is not a DNS-1123 label: lower-case letters, digits and `-`, at most 63"
            }
        }
    }
}
