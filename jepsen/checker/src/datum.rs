//! A value of one machine word, for the models that compare millions of them.
//!
//! Integers (of up to 62 bits) and nil *are* their word; everything else is a number in a
//! [`Dictionary`]. Two data of one dictionary are equal exactly if their values are.
//!
//! Does not: order values, or count references; a dictionary only grows.

use std::collections::BTreeMap;
use std::fmt;

use crate::history::Value;

/// A value in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Datum(u64);

/// The lowest bits say what the others mean.
const TAG_BITS: u32 = 2;
const INTEGER: u64 = 0;
const NIL: u64 = 1;
const NUMBERED: u64 = 2;

impl Datum {
    /// No value.
    pub const NIL: Datum = Datum(NIL);

    /// The word itself: equal exactly where data are.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The integer that fits into a word.
    fn integer(number: i64) -> Option<Self> {
        let shifted = number << TAG_BITS;
        (shifted >> TAG_BITS == number).then_some(Datum(shifted.cast_unsigned() | INTEGER))
    }

    fn number(self) -> Option<i64> {
        let tag = self.0 & ((1 << TAG_BITS) - 1);
        (tag == INTEGER).then_some(self.0.cast_signed() >> TAG_BITS)
    }
}

impl From<i32> for Datum {
    fn from(number: i32) -> Self {
        Datum(i64::from(number).cast_unsigned() << TAG_BITS)
    }
}

impl From<Option<i32>> for Datum {
    fn from(number: Option<i32>) -> Self {
        number.map_or(Datum::NIL, Datum::from)
    }
}

impl fmt::Debug for Datum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(out, "{number}"),
            None if *self == Datum::NIL => out.write_str("nil"),
            None => write!(out, "value #{}", self.0 >> TAG_BITS),
        }
    }
}

/// The values that do not fit into a word, by their number.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    numbers: BTreeMap<Value, u64>,
    values: Vec<Value>,
}

impl Dictionary {
    /// The word for a value.
    pub fn datum(&mut self, value: &Value) -> Datum {
        let small = match value {
            Value::Nil => Some(Datum::NIL),
            Value::Int(number) => Datum::integer(*number),
            _ => None,
        };
        small.unwrap_or_else(|| self.numbered(value))
    }

    fn numbered(&mut self, value: &Value) -> Datum {
        let next = self.values.len() as u64;
        let number = match self.numbers.get(value) {
            Some(number) => *number,
            None => {
                self.numbers.insert(value.clone(), next);
                self.values.push(value.clone());
                next
            }
        };
        Datum(number << TAG_BITS | NUMBERED)
    }

    /// The value of a word that this dictionary gave out.
    pub fn value(&self, datum: Datum) -> Value {
        match datum.number() {
            Some(number) => Value::Int(number),
            None if datum == Datum::NIL => Value::Nil,
            None => {
                let at = usize::try_from(datum.0 >> TAG_BITS).unwrap_or(usize::MAX);
                self.values.get(at).cloned().unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_and_equal_values_are_one_word() {
        let mut dictionary = Dictionary::default();
        let values = [
            Value::Nil,
            Value::Int(0),
            Value::Int(-7),
            Value::Int(i64::MAX),
            Value::Int(i64::MIN),
            Value::Int(1 << 61),
            Value::Text("7".to_owned()),
            Value::pair(1, 2),
        ];
        let words: Vec<Datum> = values.iter().map(|value| dictionary.datum(value)).collect();
        for (at, (value, word)) in values.iter().zip(&words).enumerate() {
            assert_eq!(dictionary.value(*word), *value);
            assert_eq!(dictionary.datum(value), *word);
            assert!(words[..at].iter().all(|other| other != word));
        }
        assert_eq!(Datum::from(-7), words[2]);
        assert_eq!(Datum::from(None), Datum::NIL);
    }
}
