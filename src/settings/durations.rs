//! Durations as settings write them: as Go does, `"1m30s"`.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::schema::kind::{go_duration, parse_go_duration};

/// How long one request to a server may take.
pub(super) const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);

/// How long a one-shot command may wait for a server.
pub(super) const DEADLINES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(10);

/// The duration, where it is one and not negative.
pub(super) fn parse(text: &str) -> Option<Duration> {
    parse_go_duration(text).and_then(|nanos| u64::try_from(nanos).ok()).map(Duration::from_nanos)
}

/// A duration as the settings write it.
pub(super) fn written(duration: Duration) -> String {
    go_duration(i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX))
}
