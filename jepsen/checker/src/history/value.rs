//! The data that operations carry: whatever EDN can say.
//!
//! A history is read from Jepsen's EDN, from our JSON lines, or recorded here; all three meet in
//! [`Value`]. It is totally ordered, so that a value can be a key of an ordered map: the harness
//! uses no hashed collections, because their iteration order differs from run to run.
//!
//! Invariants:
//! - two values are equal exactly when EDN calls them equal, so a list equals the vector of the same
//!   items, and nothing lies between them in the order; there is one exception: floats compare by
//!   their bits' total order, so that NaN equals itself and a map never loses a key;
//! - `Display` writes EDN that the reader in [`super::edn`] turns into the same value again.
//!
//! It knows nothing of operations, models or files.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One piece of EDN data.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// `nil`: no value; also a register that was never written.
    #[default]
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A floating point number.
    Float(Float),
    /// A character such as `\a` or `\newline`.
    Char(char),
    /// A string.
    Text(String),
    /// A keyword, without its leading colon.
    Keyword(String),
    /// A symbol.
    Symbol(String),
    /// A list in round brackets.
    List(Vec<Value>),
    /// A vector in square brackets.
    Vector(Vec<Value>),
    /// A set, `#{..}`.
    Set(BTreeSet<Value>),
    /// A map, `{..}`.
    Map(BTreeMap<Value, Value>),
    /// A tagged value, `#tag value`; the tag is kept, not interpreted.
    Tagged(String, Box<Value>),
}

/// A float with a total order, so that values can be keys.
#[derive(Clone, Copy, Debug)]
pub struct Float(pub f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Float {}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        use Value::{
            Bool, Char, Float, Int, Keyword, List, Map, Set, Symbol, Tagged, Text, Vector,
        };
        match (self, other) {
            (Bool(one), Bool(other)) => one.cmp(other),
            (Int(one), Int(other)) => one.cmp(other),
            (Float(one), Float(other)) => one.cmp(other),
            (Char(one), Char(other)) => one.cmp(other),
            (Text(one), Text(other))
            | (Keyword(one), Keyword(other))
            | (Symbol(one), Symbol(other)) => one.cmp(other),
            (List(one) | Vector(one), List(other) | Vector(other)) => one.cmp(other),
            (Set(one), Set(other)) => one.cmp(other),
            (Map(one), Map(other)) => one.cmp(other),
            (Tagged(tag, one), Tagged(other_tag, other)) => (tag, one).cmp(&(other_tag, other)),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Value {
    /// Where its sort stands among the sorts of data.
    fn rank(&self) -> u8 {
        match self {
            Value::Nil => 0,
            Value::Bool(_) => 1,
            Value::Int(_) => 2,
            Value::Float(_) => 3,
            Value::Char(_) => 4,
            Value::Text(_) => 5,
            Value::Keyword(_) => 6,
            Value::Symbol(_) => 7,
            Value::List(_) | Value::Vector(_) => 8,
            Value::Set(_) => 9,
            Value::Map(_) => 10,
            Value::Tagged(..) => 11,
        }
    }

    /// A vector of two: how Jepsen's independent workloads write a key and its value, and how a
    /// compare-and-set writes what it expects and what it installs.
    pub fn pair(first: impl Into<Value>, second: impl Into<Value>) -> Value {
        Value::Vector(vec![first.into(), second.into()])
    }

    /// The two members of a pair, whatever tag it wears.
    pub fn as_pair(&self) -> Option<(&Value, &Value)> {
        match self.untagged() {
            Value::Vector(items) | Value::List(items) => match items.as_slice() {
                [first, second] => Some((first, second)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The members of a vector, list or set, in order.
    pub fn items(&self) -> Option<Vec<&Value>> {
        match self.untagged() {
            Value::Vector(items) | Value::List(items) => Some(items.iter().collect()),
            Value::Set(items) => Some(items.iter().collect()),
            _ => None,
        }
    }

    /// The value below any tags.
    pub fn untagged(&self) -> &Value {
        match self {
            Value::Tagged(_, inner) => inner.untagged(),
            other => other,
        }
    }

    /// A name as plain text: keywords, symbols and strings without their marks, other data as EDN.
    pub fn to_name(&self) -> String {
        match self {
            Value::Text(text) | Value::Keyword(text) | Value::Symbol(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Value::Nil, Value::Int)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => out.write_str("nil"),
            Value::Bool(flag) => write!(out, "{flag}"),
            Value::Int(number) => write!(out, "{number}"),
            Value::Float(number) => write_float(out, number.0),
            Value::Char(letter) => write_char(out, *letter),
            Value::Text(text) => write_text(out, text),
            Value::Keyword(name) => write!(out, ":{name}"),
            Value::Symbol(name) => out.write_str(name),
            Value::List(items) => write_items(out, "(", items.iter(), ")"),
            Value::Vector(items) => write_items(out, "[", items.iter(), "]"),
            Value::Set(items) => write_items(out, "#{", items.iter(), "}"),
            Value::Map(entries) => write_map(out, entries),
            Value::Tagged(tag, inner) => write!(out, "#{tag} {inner}"),
        }
    }
}

fn write_float(out: &mut fmt::Formatter<'_>, number: f64) -> fmt::Result {
    if number.is_nan() {
        out.write_str("##NaN")
    } else if number.is_infinite() {
        out.write_str(if number > 0.0 { "##Inf" } else { "##-Inf" })
    } else {
        // `Debug` keeps the fraction or the exponent, without which it would read as an integer.
        write!(out, "{number:?}")
    }
}

fn write_char(out: &mut fmt::Formatter<'_>, letter: char) -> fmt::Result {
    match letter {
        '\n' => out.write_str("\\newline"),
        '\r' => out.write_str("\\return"),
        ' ' => out.write_str("\\space"),
        '\t' => out.write_str("\\tab"),
        '\u{c}' => out.write_str("\\formfeed"),
        '\u{8}' => out.write_str("\\backspace"),
        other => write!(out, "\\{other}"),
    }
}

fn write_text(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    out.write_str("\"")?;
    for letter in text.chars() {
        match letter {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            control if control < ' ' => write!(out, "\\u{:04x}", u32::from(control))?,
            other => write!(out, "{other}")?,
        }
    }
    out.write_str("\"")
}

fn write_items<'a>(
    out: &mut fmt::Formatter<'_>,
    open: &str,
    items: impl Iterator<Item = &'a Value>,
    close: &str,
) -> fmt::Result {
    out.write_str(open)?;
    for (position, item) in items.enumerate() {
        if position > 0 {
            out.write_str(" ")?;
        }
        write!(out, "{item}")?;
    }
    out.write_str(close)
}

fn write_map(out: &mut fmt::Formatter<'_>, entries: &BTreeMap<Value, Value>) -> fmt::Result {
    out.write_str("{")?;
    for (position, (key, value)) in entries.iter().enumerate() {
        if position > 0 {
            out.write_str(", ")?;
        }
        write!(out, "{key} {value}")?;
    }
    out.write_str("}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_equals_the_vector_of_the_same_items_and_nothing_else() {
        let items = |last: i64| vec![Value::Int(1), Value::Int(last)];
        let (list, vector) = (Value::List(items(2)), Value::Vector(items(2)));
        assert_eq!(list, vector);
        assert_eq!(BTreeSet::from([list.clone(), vector.clone()]).len(), 1);
        assert!(list < Value::Vector(items(3)) && vector < Value::List(items(3)));
        assert_ne!(list, Value::Set(items(2).into_iter().collect()));
        assert_eq!(
            Value::Tagged("t".to_owned(), Box::new(list.clone())),
            Value::Tagged("t".to_owned(), Box::new(vector))
        );
        assert_ne!(Value::Text("a".to_owned()), Value::Keyword("a".to_owned()));
        assert_ne!(Value::Nil, Value::Bool(false));
    }
}
