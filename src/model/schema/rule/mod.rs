//! Rules: what must hold between variables, written in CEL.
//!
//! Owns: parsing under limits ([`Expression::parse`]), the names that a rule
//! mentions, its evaluation ([`Expression::evaluate`]) and, in `lint`, the
//! mistakes that CEL itself would keep quiet about.
//! Invariants: no text that leaves this module holds a value of a variable
//! (CEL's own errors print operands, so they are mapped by variant); a rule that
//! parsed cannot exhaust the stack; evaluating reads no clock and no environment.
//! Must not know: which variables exist and where values come from (both are
//! asked through closures).
//!
//! Current limitations: no timestamps, and no optional values (`a.?b`).

mod lint;
mod nanos;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::Val;
use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, Value};

use super::kind::Typed;
use crate::model::key::Key;
use nanos::Nanos;

pub use super::kind::Shape;

/// Longest text of a rule, in bytes.
const MAX_BYTES: usize = 2048;

/// Deepest nesting of a rule's tree. The evaluator recurses once a level, in
/// frames of 30 KiB where it is not optimised: a thread's usual 2 MiB hold 60.
/// Chains of `&&` and `||` are balanced by the parser and hardly nest.
const MAX_DEPTH: usize = 32;

/// Most loops (`all`, `exists`, `map`, …) inside or after each other: what a
/// rule costs is the product of their lengths.
const MAX_LOOPS: usize = 3;

/// CEL's standard library with durations. It takes a tenth of a millisecond to
/// build and never changes.
static LIBRARY: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(nanos::library().unwrap_or_else(|_| Env::stdlib())));

/// A parsed rule.
#[derive(Debug)]
pub struct Expression {
    source: Box<str>,
    tree: IdedExpr,
    variables: Vec<Key>,
    needs: Vec<Key>,
}

/// A mistake in a rule. It quotes the rule, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
    /// Where, in bytes of the rule, if known.
    pub at: Option<Range<usize>>,
    /// The undeclared name under `vars`, for a suggestion.
    pub unknown: Option<Box<str>>,
}

impl Mistake {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: None, unknown: None }
    }
}

/// A variable as a rule finds it.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// It has no value, not even a default.
    Unset,
    /// It has a value that is not of its type: `has()` is true, and a rule that
    /// looks at the value does not apply.
    Unreadable,
    /// It has a value.
    Set {
        /// The value, read.
        typed: &'a Typed,
        /// The value as text.
        text: &'a str,
    },
}

/// What a rule sees.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// `vars`: asked once for each name that the rule mentions.
    pub lookup: &'a dyn Fn(&Key) -> Operand<'a>,
    /// `env`: the environment's name.
    pub env: &'a str,
    /// `service`: its name; the empty text where none was chosen.
    pub service: Option<&'a str>,
}

/// What became of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is true.
    Holds,
    /// It is false.
    Fails,
    /// A variable whose value it looks at is unset or unreadable.
    NotApplicable,
    /// It could not be evaluated, for this value-free reason.
    Broken(String),
}

impl Expression {
    /// Parses a rule.
    ///
    /// # Errors
    /// A [`Mistake`] where it is no CEL, longer than 2 KiB, or nests too deeply.
    pub fn parse(source: &str) -> Result<Self, Mistake> {
        if source.len() > MAX_BYTES {
            return Err(Mistake::new(format!(
                "a rule has at most {MAX_BYTES} bytes, this one {}",
                source.len()
            )));
        }
        let tree =
            PrattParser::new().max_recursion_depth(48).parse(source).map_err(|errors| {
                match errors.errors.into_iter().next() {
                    Some(error) => {
                        let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
                        Mistake { at: offset(source, error.pos), ..Mistake::new(message) }
                    }
                    None => Mistake::new("it is no CEL expression"),
                }
            })?;
        check_size(&tree, MAX_DEPTH, MAX_LOOPS).map_err(Mistake::new)?;
        let mut expression = Self { source: source.into(), tree, variables: Vec::new(), needs: Vec::new() };
        let mut mentioned = Vec::new();
        collect(&expression.tree, &mut mentioned);
        for (name, tested) in mentioned {
            // What is no name is no variable; lint says so.
            let Ok(key) = Key::new(name) else { continue };
            if !tested && !expression.needs.contains(&key) {
                expression.needs.push(key.clone());
            }
            if !expression.variables.contains(&key) {
                expression.variables.push(key);
            }
        }
        Ok(expression)
    }

    /// Finds the mistakes that CEL would not report, or only at run time.
    /// `declared` tells the shape of a variable, or that there is none.
    pub fn lint(&self, declared: &dyn Fn(&str) -> Option<Shape>) -> Vec<Mistake> {
        lint::lint(&self.source, &self.tree, declared)
    }

    /// Every variable that it mentions, in order of appearance.
    pub fn variables(&self) -> &[Key] {
        &self.variables
    }

    /// The variables whose values it looks at. While one of them is unset, it is
    /// not applicable; what stands only in `has()` is not among them.
    pub fn needs(&self) -> &[Key] {
        &self.needs
    }

    /// Evaluates it. Only the variables that it mentions are looked up, and
    /// their texts are borrowed, not copied.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Outcome {
        let mut vars: HashMap<CelMapKey<'_>, Box<dyn Val + '_>> =
            HashMap::with_capacity(self.variables.len());
        for key in &self.variables {
            let value: Box<dyn Val + '_> = match (scope.lookup)(key) {
                Operand::Set { typed, text } => operand(typed, text),
                _ if self.needs.contains(key) => return Outcome::NotApplicable,
                Operand::Unreadable => Box::new(CelNull),
                Operand::Unset => continue,
            };
            vars.insert(key.as_str().into(), value);
        }
        let mut context = Context::with_env(Arc::clone(&LIBRARY));
        context.add_variable_as_val("vars", Box::new(CelMap::from(vars)));
        context.add_variable_as_val("env", Box::new(CelString::from(scope.env)));
        context.add_variable_as_val("service", Box::new(CelString::from(scope.service.unwrap_or_default())));
        match Value::resolve_val(&self.tree, &context) {
            Err(error) => Outcome::Broken(reason(&error)),
            Ok(result) => match result.downcast_ref::<CelBool>().map(|holds| *holds.inner()) {
                Some(true) => Outcome::Holds,
                Some(false) => Outcome::Fails,
                None => {
                    Outcome::Broken(format!("it gives a {}, not true or false", result.get_type().name()))
                }
            },
        }
    }
}

fn operand<'a>(typed: &'a Typed, text: &'a str) -> Box<dyn Val + 'a> {
    match typed {
        Typed::Text => Box::new(CelString::from(text)),
        Typed::Bool(value) => Box::new(CelBool::from(*value)),
        Typed::Int(value) => Box::new(CelInt::from(*value)),
        Typed::Float(value) => Box::new(CelDouble::from(*value)),
        // Both fit, by the contract of `Typed`.
        Typed::Bytes(value) => Box::new(CelInt::from(i64::try_from(*value).unwrap_or(i64::MAX))),
        Typed::Duration(value) => Box::new(Nanos(i64::try_from(*value).unwrap_or(i64::MAX))),
        Typed::List(items) => {
            let items =
                items.iter().map(|item| Box::new(CelString::from(item.as_str())) as Box<dyn Val + 'a>);
            Box::new(CelList::from(items.collect::<Vec<_>>()))
        }
    }
}

/// Why an evaluation failed, without operands: `NoSuchKey` and `FunctionError`
/// too may quote a value.
fn reason(error: &ExecutionError) -> String {
    let fixed = match error {
        ExecutionError::UndeclaredReference(name) => return format!("nothing is named {name:?}"),
        ExecutionError::NoSuchOverload(overload) => {
            return format!(
                "{} does not take {}",
                overload.function(),
                overload.argument_types().join(" and ")
            );
        }
        ExecutionError::FunctionError { function, .. } => {
            return format!("{function}() cannot read its argument");
        }
        ExecutionError::UnexpectedType { got, want } => return format!("it needs a {want} and has a {got}"),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            return format!("{operator:?} does not take these types");
        }
        ExecutionError::Overflow(..) => "a number overflows 64 bits",
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero",
        ExecutionError::NoSuchKey(_) => "a map lacks a key",
        ExecutionError::IndexOutOfBounds(_) => "a list is shorter than an index",
        ExecutionError::DuplicateKey(_) => "a map repeats a key",
        ExecutionError::ValuesNotComparable(..) => "it compares values of different types",
        ExecutionError::InvalidArgumentCount { .. } => "a function has too many or too few arguments",
        _ => "it uses a value of the wrong type",
    };
    fixed.to_owned()
}

/// CEL's line and column, both from 1 and the column in bytes, as an offset.
fn offset(source: &str, (line, column): (isize, isize)) -> Option<Range<usize>> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let before: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let start = (before + column).min(source.len());
    let width = source.get(start..)?.chars().next().map_or(0, char::len_utf8);
    Some(start..start + width)
}

/// A place where a rule turns to `vars`.
enum Mention<'a> {
    /// `vars.NAME`, `vars['NAME']`, or `has(vars.NAME)`.
    Variable { name: &'a str, tested: bool },
    /// `vars[…]` with something that is no literal.
    Computed,
    /// `vars` alone.
    Whole,
}

fn mention(expr: &Expr) -> Option<Mention<'_>> {
    match expr {
        Expr::Ident(name) if is_vars(name) => Some(Mention::Whole),
        Expr::Select(select) if is_vars_ident(&select.operand) => {
            Some(Mention::Variable { name: &select.field, tested: select.test })
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [map, index] if is_vars_ident(map) => Some(match &index.expr {
                Expr::Literal(LiteralValue::String(name)) => {
                    Mention::Variable { name: name.inner(), tested: false }
                }
                _ => Mention::Computed,
            }),
            _ => None,
        },
        _ => None,
    }
}

fn is_vars_ident(expr: &IdedExpr) -> bool {
    matches!(&expr.expr, Expr::Ident(name) if is_vars(name))
}

/// A leading dot only says that no loop variable is meant.
fn is_vars(name: &str) -> bool {
    name.strip_prefix('.').unwrap_or(name) == "vars"
}

fn collect<'a>(expr: &'a IdedExpr, found: &mut Vec<(&'a str, bool)>) {
    match mention(&expr.expr) {
        Some(Mention::Variable { name, tested }) => found.push((name, tested)),
        _ => children(expr).into_iter().for_each(|child| collect(child, found)),
    }
}

fn check_size(expr: &IdedExpr, depth: usize, loops: usize) -> Result<(), &'static str> {
    let depth = depth.checked_sub(1).ok_or("it nests too deeply; make it two rules")?;
    let loops = match expr.expr {
        Expr::Comprehension(_) => loops.checked_sub(1).ok_or("it nests more than three loops")?,
        _ => loops,
    };
    children(expr).into_iter().try_for_each(|child| check_size(child, depth, loops))
}

fn children(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => {
            vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(parts).collect(),
        Expr::Struct(fields) => fields.entries.iter().flat_map(parts).collect(),
        Expr::Select(select) => vec![&select.operand],
    }
}

fn parts(entry: &IdedEntryExpr) -> impl Iterator<Item = &IdedExpr> {
    let (key, value) = match &entry.expr {
        EntryExpr::StructField(field) => (None, &field.value),
        EntryExpr::MapEntry(entry) => (Some(&entry.key), &entry.value),
    };
    key.into_iter().chain([value])
}
