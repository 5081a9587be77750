//! Durations for CEL: Go's syntax, 64 bits of nanoseconds.
//!
//! CEL's own duration would bring `chrono` and a database of time zones, and
//! reads numbers as floats; this one agrees with the program to the nanosecond.

#![expect(clippy::trivially_copy_pass_by_ref, reason = "the macros that register functions pass references")]

use std::any::Any;
use std::cmp::Ordering;

use cel::common::traits::{Adder, Comparer, Subtractor};
use cel::common::types::{CelInt, CelString, DURATION_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError, Value};

use crate::model::schema::kind::parse_go_duration;

static TYPE: Type = DURATION_TYPE;

/// A duration in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nanos(pub(super) i64);

impl Val for Nanos {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_subtractor<'b, 'v>(&'b self) -> Option<&'b (dyn Subtractor + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_comparer(&self) -> Option<&dyn Comparer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>() == Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Nanos {}

/// Applies an operator to two durations. Errors carry no operand.
fn combine<'b, 'v>(
    operator: &'static str,
    left: Nanos,
    right: &(dyn Val + 'v),
    apply: fn(i64, i64) -> Option<i64>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let nothing = || Value::Null;
    let Some(right) = right.downcast_ref::<Nanos>() else {
        return Err(ExecutionError::UnsupportedBinaryOperator(operator, nothing(), nothing()));
    };
    match apply(left.0, right.0) {
        Some(sum) => Ok(CowVal::owned(Nanos(sum))),
        None => Err(ExecutionError::Overflow(operator, nothing(), nothing())),
    }
}

impl Adder for Nanos {
    fn add<'b, 'v>(&'b self, right: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        combine("add", *self, right, i64::checked_add)
    }
}

impl Subtractor for Nanos {
    fn sub<'b, 'v>(&'b self, right: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        combine("sub", *self, right, i64::checked_sub)
    }
}

impl Comparer for Nanos {
    fn compare(&self, right: &dyn Val) -> Result<Ordering, ExecutionError> {
        match right.downcast_ref::<Self>() {
            Some(right) => Ok(self.0.cmp(&right.0)),
            None => Err(ExecutionError::ValuesNotComparable(Value::Null, Value::Null)),
        }
    }
}

fn from_text(text: &CelString<'_>) -> Result<Nanos, ExecutionError> {
    parse_go_duration(text.inner())
        .map(Nanos)
        .ok_or_else(|| ExecutionError::function_error("duration", "not a Go duration"))
}

fn from_duration(duration: &Nanos) -> Nanos {
    *duration
}

fn get_hours(duration: &Nanos) -> CelInt {
    CelInt::from(duration.0 / 3_600_000_000_000)
}

fn get_minutes(duration: &Nanos) -> CelInt {
    CelInt::from(duration.0 / 60_000_000_000)
}

fn get_seconds(duration: &Nanos) -> CelInt {
    CelInt::from(duration.0 / 1_000_000_000)
}

fn get_milliseconds(duration: &Nanos) -> CelInt {
    CelInt::from(duration.0 / 1_000_000)
}

/// CEL's standard library with `duration()` and the methods of durations.
///
/// # Errors
/// If the standard library came to declare durations itself.
pub(super) fn library() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib();
    env.add_type(DURATION_TYPE)?;
    cel::add_overload!(env, fn from_text: (CelString) -> Result<Nanos>, name = "duration", id = "string_to_duration")?;
    cel::add_overload!(env, fn from_duration: (Nanos) -> Nanos, name = "duration", id = "duration_to_duration")?;
    cel::add_member_overload!(env, fn get_hours: (Nanos) -> CelInt, id = "duration_to_hours")?;
    cel::add_member_overload!(env, fn get_minutes: (Nanos) -> CelInt, id = "duration_to_minutes")?;
    cel::add_member_overload!(env, fn get_seconds: (Nanos) -> CelInt, id = "duration_to_seconds")?;
    cel::add_member_overload!(env, fn get_milliseconds: (Nanos) -> CelInt, id = "duration_to_millis")?;
    Ok(env)
}
