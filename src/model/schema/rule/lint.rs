//! Finds in a rule what CEL accepts and no owner means: names that do not
//! exist (an `|| true` would absorb the error), comparisons that are false
//! whatever the values are, literals that no function can read.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::{Mention, Mistake, Shape, children, mention};
use crate::model::schema::kind::{go_duration, parse_go_duration, plain_duration, regex_mistake};

pub(super) fn lint(source: &str, tree: &IdedExpr, declared: &dyn Fn(&str) -> Option<Shape>) -> Vec<Mistake> {
    let mut linter = Linter { source, declared, bound: Vec::new(), mistakes: Vec::new() };
    let result = linter.infer(tree);
    if !matches!(result, Type::Any | Type::Bool) {
        linter.report(None, format!("a rule is true or false, this one is {}", result.noun()));
    }
    linter.mistakes
}

/// What an expression gives, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Any,
    Bool,
    Int,
    Float,
    Text,
    Bytes,
    Duration,
    Null,
    /// What `type()` gives.
    Meta,
    Map,
    List(&'static Type),
}

impl Type {
    fn noun(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::Text => "a text",
            Self::Bytes => "a byte string",
            Self::Duration => "a duration",
            Self::Null => "null",
            Self::Meta => "a type",
            Self::Map => "a map",
            Self::List(_) => "a list",
        }
    }

    fn list_of(item: Self) -> Self {
        Self::List(match item {
            Self::Bool => &Self::Bool,
            Self::Int => &Self::Int,
            Self::Float => &Self::Float,
            Self::Text => &Self::Text,
            Self::Duration => &Self::Duration,
            _ => &Self::Any,
        })
    }

    /// Whether values of the two can be equal.
    fn comparable(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) | (Self::Int | Self::Float, Self::Int | Self::Float) => true,
            (Self::List(a), Self::List(b)) => a.comparable(*b),
            (a, b) => a == b,
        }
    }

    /// Whether a function that wants the one takes the other: unlike `==`,
    /// functions do not mix integers and floats.
    fn takes(self, found: Self) -> bool {
        match (self, found) {
            (_, Self::Any) | (Self::List(_), Self::List(_)) => true,
            _ => self == found,
        }
    }
}

impl From<Shape> for Type {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Text => Self::Text,
            Shape::Bool => Self::Bool,
            Shape::Int => Self::Int,
            Shape::Float => Self::Float,
            Shape::Duration => Self::Duration,
            Shape::List => Self::List(&Self::Text),
        }
    }
}

/// A function of the library. The first argument of a method stands before the
/// dot; an empty list of types takes anything.
struct Function {
    name: &'static str,
    method: bool,
    takes: &'static [&'static [Type]],
    gives: Type,
}

const ANYTHING: &[Type] = &[];
const TEXT: &[Type] = &[Type::Text];
const SIZED: &[Type] = &[Type::Text, Type::Bytes, Type::List(&Type::Any), Type::Map];
const SCALAR: &[Type] = &[Type::Int, Type::Float, Type::Text];
const DURATION: &[Type] = &[Type::Duration];

/// What the parser rewrites, where the arguments fit; otherwise it stays a call.
const MACROS: &[&str] = &["has", "all", "exists", "exists_one", "map", "filter"];

#[rustfmt::skip]
const FUNCTIONS: &[Function] = &[
    Function { name: "size", method: false, takes: &[SIZED], gives: Type::Int },
    Function { name: "size", method: true, takes: &[SIZED], gives: Type::Int },
    Function { name: "contains", method: true, takes: &[TEXT, TEXT], gives: Type::Bool },
    Function { name: "startsWith", method: true, takes: &[TEXT, TEXT], gives: Type::Bool },
    Function { name: "endsWith", method: true, takes: &[TEXT, TEXT], gives: Type::Bool },
    Function { name: "matches", method: true, takes: &[TEXT, TEXT], gives: Type::Bool },
    Function { name: "matches", method: false, takes: &[TEXT, TEXT], gives: Type::Bool },
    Function { name: "int", method: false, takes: &[SCALAR], gives: Type::Int },
    Function { name: "uint", method: false, takes: &[SCALAR], gives: Type::Int },
    Function { name: "double", method: false, takes: &[SCALAR], gives: Type::Float },
    Function { name: "bool", method: false, takes: &[&[Type::Bool, Type::Text]], gives: Type::Bool },
    Function { name: "string", method: false, takes: &[&[Type::Int, Type::Float, Type::Text, Type::Bool, Type::Bytes]], gives: Type::Text },
    Function { name: "bytes", method: false, takes: &[&[Type::Text, Type::Bytes]], gives: Type::Bytes },
    Function { name: "dyn", method: false, takes: &[ANYTHING], gives: Type::Any },
    Function { name: "type", method: false, takes: &[ANYTHING], gives: Type::Meta },
    Function { name: "duration", method: false, takes: &[&[Type::Text, Type::Duration]], gives: Type::Duration },
    Function { name: "getHours", method: true, takes: &[DURATION], gives: Type::Int },
    Function { name: "getMinutes", method: true, takes: &[DURATION], gives: Type::Int },
    Function { name: "getSeconds", method: true, takes: &[DURATION], gives: Type::Int },
    Function { name: "getMilliseconds", method: true, takes: &[DURATION], gives: Type::Int },
];

/// Names that `type()` gives and that stand for themselves.
const TYPE_NAMES: &[&str] =
    &["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];

struct Linter<'a> {
    source: &'a str,
    declared: &'a dyn Fn(&str) -> Option<Shape>,
    /// Variables of the loops around the expression, innermost last.
    bound: Vec<(&'a str, Type)>,
    mistakes: Vec<Mistake>,
}

impl<'a> Linter<'a> {
    /// Reports a mistake, at the first place of a piece of the rule.
    fn report(&mut self, piece: Option<&str>, message: impl Into<String>) {
        let mistake =
            Mistake { at: piece.and_then(|piece| find(self.source, piece)), ..Mistake::new(message) };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    fn infer(&mut self, expr: &'a IdedExpr) -> Type {
        if let Some(mention) = mention(&expr.expr) {
            return self.variable(&mention, expr);
        }
        match &expr.expr {
            Expr::Unspecified => Type::Any,
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Bytes(_) => Type::Bytes,
                LiteralValue::Double(_) => Type::Float,
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Int,
                LiteralValue::Null => Type::Null,
                LiteralValue::String(_) => Type::Text,
            },
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::List(list) => {
                let items: Vec<Type> = list.elements.iter().map(|item| self.infer(item)).collect();
                let same = items.iter().all(|item| Some(item) == items.first());
                Type::list_of(items.first().copied().filter(|_| same).unwrap_or(Type::Any))
            }
            Expr::Map(_) | Expr::Struct(_) => {
                for child in children(expr) {
                    self.infer(child);
                }
                Type::Map
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Call(call) => match call.target.as_deref() {
                None => self.operator(call).unwrap_or_else(|| self.function(call, None)),
                Some(target) => self.function(call, Some(target)),
            },
        }
    }

    fn variable(&mut self, mention: &Mention<'a>, expr: &'a IdedExpr) -> Type {
        match mention {
            Mention::Variable { name, tested } => {
                let shape = (self.declared)(name);
                if shape.is_none() {
                    let at = find(self.source, name);
                    let message = format!("no variable is named {name}");
                    self.mistakes.push(Mistake { message, at, unknown: Some((*name).into()) });
                }
                if *tested { Type::Bool } else { shape.map_or(Type::Any, Type::from) }
            }
            Mention::Computed => {
                self.report(Some("vars["), "vars is indexed by a computed name; write vars.NAME");
                if let Expr::Call(call) = &expr.expr
                    && let Some(index) = call.args.get(1)
                {
                    self.infer(index);
                }
                Type::Any
            }
            Mention::Whole => {
                self.report(Some("vars"), "vars stands alone; write vars.NAME, or has(vars.NAME)");
                Type::Map
            }
        }
    }

    fn name(&mut self, name: &'a str) -> Type {
        let bare = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, bound)) = self.bound.iter().rev().find(|(own, _)| *own == name) {
            return *bound;
        }
        match bare {
            "env" | "service" => Type::Text,
            _ if TYPE_NAMES.contains(&bare) => Type::Meta,
            _ => {
                let message = if (self.declared)(bare).is_some() {
                    format!("{bare} is not known here; write vars.{bare}")
                } else {
                    format!("{bare} is not known here; a rule sees vars, env and service")
                };
                self.report(Some(bare), message);
                Type::Any
            }
        }
    }

    fn select(&mut self, select: &'a SelectExpr) -> Type {
        let operand = self.infer(&select.operand);
        if !matches!(operand, Type::Any | Type::Map) {
            self.report(Some(&select.field), format!("{} has no field {}", operand.noun(), select.field));
        }
        if select.test { Type::Bool } else { Type::Any }
    }

    fn comprehension(&mut self, loop_: &'a ComprehensionExpr) -> Type {
        let item = match self.infer(&loop_.iter_range) {
            Type::List(item) => *item,
            Type::Map | Type::Any => Type::Any,
            other => {
                self.report(None, format!("{} cannot be looped over", other.noun()));
                Type::Any
            }
        };
        if ["vars", "env", "service"].contains(&loop_.iter_var.as_str()) {
            self.report(
                Some(&loop_.iter_var),
                format!("the loop hides {}; name its variable otherwise", loop_.iter_var),
            );
        }
        let start = self.infer(&loop_.accu_init);
        // `map` and `filter` begin with an empty list and fill it with anything.
        self.bound.push((&loop_.accu_var, start));
        self.bound.push((&loop_.iter_var, item));
        self.infer(&loop_.loop_cond);
        self.infer(&loop_.loop_step);
        let result = self.infer(&loop_.result);
        self.bound.truncate(self.bound.len().saturating_sub(2));
        result
    }

    /// The type of an operator's result; none where the call is no operator.
    fn operator(&mut self, call: &'a CallExpr) -> Option<Type> {
        Some(match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [one]) => {
                self.expect_bool(one);
                Type::Bool
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
                self.expect_bool(left);
                self.expect_bool(right);
                Type::Bool
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.expect_bool(condition);
                let (yes, no) = (self.infer(yes), self.infer(no));
                if yes == no { yes } else { Type::Any }
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                let (a, b) = (self.infer(left), self.infer(right));
                if !a.comparable(b) {
                    let always = if call.func_name == operators::EQUALS { "never" } else { "always" };
                    self.mismatch((left, a), (right, b), &format!("which is {always} true"));
                }
                Type::Bool
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                let (a, b) = (self.infer(left), self.infer(right));
                let ordered = |side| !matches!(side, Type::List(_) | Type::Map | Type::Null | Type::Meta);
                if !a.comparable(b) || !ordered(a) || !ordered(b) {
                    self.mismatch((left, a), (right, b), "which have no order");
                }
                Type::Bool
            }
            (operators::IN, [item, list]) => {
                let (a, b) = (self.infer(item), self.infer(list));
                match b {
                    Type::List(of) if !a.comparable(*of) => {
                        self.mismatch((item, a), (list, *of), "so it is never in the list");
                    }
                    Type::List(_) | Type::Map | Type::Any => {}
                    other => {
                        let hint = if other == Type::Text { "; use contains()" } else { "" };
                        self.report(
                            piece(list),
                            format!("`in` looks into a list, not into {}{hint}", other.noun()),
                        );
                    }
                }
                Type::Bool
            }
            (operators::NEGATE, [one]) => self.infer(one),
            (operators::INDEX, [list, index]) => {
                let (list, _) = (self.infer(list), self.infer(index));
                match list {
                    Type::List(item) => *item,
                    _ => Type::Any,
                }
            }
            (
                name @ (operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO),
                [left, right],
            ) => self.arithmetic(name, left, right),
            _ => return None,
        })
    }

    fn arithmetic(&mut self, name: &str, left: &'a IdedExpr, right: &'a IdedExpr) -> Type {
        let (a, b) = (self.infer(left), self.infer(right));
        let takes = |side: Type| match side {
            Type::Any | Type::Int => true,
            Type::Float => name != operators::MODULO,
            Type::Duration => matches!(name, operators::ADD | operators::SUBSTRACT),
            Type::Text | Type::Bytes | Type::List(_) => name == operators::ADD,
            _ => false,
        };
        let alike = match (a, b) {
            (Type::Any, _) | (_, Type::Any) | (Type::List(_), Type::List(_)) => true,
            _ => a == b,
        };
        if !alike || !takes(a) || !takes(b) {
            self.mismatch((left, a), (right, b), "which this operator does not combine");
        }
        if a == b { a } else { Type::Any }
    }

    fn expect_bool(&mut self, expr: &'a IdedExpr) {
        let found = self.infer(expr);
        if !matches!(found, Type::Any | Type::Bool) {
            self.report(piece(expr), format!("{} stands where true or false is needed", name(expr, found)));
        }
    }

    fn mismatch(&mut self, left: (&IdedExpr, Type), right: (&IdedExpr, Type), effect: &str) {
        let place = piece(left.0).or_else(|| piece(right.0));
        self.report(place, format!("{} meets {}, {effect}", name(left.0, left.1), name(right.0, right.1)));
    }

    fn function(&mut self, call: &'a CallExpr, target: Option<&'a IdedExpr>) -> Type {
        let arguments: Vec<&IdedExpr> = target.into_iter().chain(&call.args).collect();
        let named = call.func_name.as_str();
        let candidates = || FUNCTIONS.iter().filter(|function| function.name == named);
        let Some(function) = candidates().find(|function| function.method == target.is_some()) else {
            let message = match candidates().next() {
                Some(other) if other.method => format!("{named}() stands after a dot: x.{named}()"),
                Some(_) => format!("{named}() does not stand after a dot: {named}(x)"),
                None if MACROS.contains(&named) => {
                    format!("{named}() is written with other arguments")
                }
                None => format!("there is no function {named}()"),
            };
            self.report(Some(named), message);
            for argument in arguments {
                // The target of an unknown method may be a namespace, not a name.
                if target.is_none_or(|target| !std::ptr::eq(target, argument)) {
                    self.infer(argument);
                }
            }
            return Type::Any;
        };
        let types: Vec<Type> = arguments.iter().map(|argument| self.infer(argument)).collect();
        if types.len() != function.takes.len() {
            let needed = function.takes.len() - usize::from(function.method);
            self.report(
                Some(named),
                format!("{named}() takes {needed} argument{}", if needed == 1 { "" } else { "s" }),
            );
            return function.gives;
        }
        for ((argument, found), takes) in arguments.iter().zip(&types).zip(function.takes) {
            if !takes.is_empty() && !takes.iter().any(|wanted| wanted.takes(*found)) {
                self.report(Some(named), format!("{named}() does not take {}", name(argument, *found)));
            }
        }
        self.literals(named, &arguments);
        function.gives
    }

    /// Judges the literals that a function will have to read.
    fn literals(&mut self, named: &str, arguments: &[&IdedExpr]) {
        let Some(Expr::Literal(LiteralValue::String(text))) = arguments.last().map(|last| &last.expr) else {
            return;
        };
        match named {
            "duration" if parse_go_duration(text.inner()).is_none() => {
                let works = plain_duration(text.inner()).map(go_duration);
                let hint = works.map(|works| format!("; write duration('{works}')")).unwrap_or_default();
                self.report(Some(text.inner()), format!("{:?} is no Go duration{hint}", text.inner()));
            }
            "matches" => {
                if let Err(error) = regex_syntax::parse(text.inner()) {
                    self.report(
                        Some(text.inner()),
                        format!("the pattern does not compile: {}", regex_mistake(&error)),
                    );
                }
            }
            _ => {}
        }
    }
}

/// How a mistake names an expression: a variable by its name.
fn name(expr: &IdedExpr, found: Type) -> String {
    match mention(&expr.expr) {
        Some(Mention::Variable { name, .. }) => format!("vars.{name} ({})", found.noun()),
        _ => found.noun().to_owned(),
    }
}

/// The piece of the rule that stands for an expression, if it has one.
fn piece(expr: &IdedExpr) -> Option<&str> {
    match mention(&expr.expr) {
        Some(Mention::Variable { name, .. }) => Some(name),
        _ => match &expr.expr {
            Expr::Ident(name) => Some(name),
            _ => None,
        },
    }
}

/// The first place of a piece that is no part of a longer name. The parser keeps
/// no offsets, so a rule that repeats the piece is marked at the first.
fn find(source: &str, piece: &str) -> Option<std::ops::Range<usize>> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    source.match_indices(piece).find_map(|(at, _)| {
        let end = at + piece.len();
        let before = source.get(..at)?.chars().next_back().is_some_and(part_of_name);
        let after =
            piece.ends_with(part_of_name) && source.get(end..)?.chars().next().is_some_and(part_of_name);
        (!before && !after && !piece.is_empty()).then_some(at..end)
    })
}

/// The functions that are known: name, whether it is a method, how many
/// arguments (a method's target included).
#[cfg(test)]
pub(super) fn signatures() -> impl Iterator<Item = (&'static str, bool, usize)> {
    FUNCTIONS.iter().map(|function| (function.name, function.method, function.takes.len()))
}
