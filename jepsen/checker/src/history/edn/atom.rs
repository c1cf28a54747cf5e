//! The atoms of EDN: numbers, names, strings and characters.
//!
//! In goes the text where an atom begins, out comes its [`Value`].
//!
//! Invariants:
//! - a token ends at a blank, a delimiter or the end of the text, and nowhere else;
//! - an integer beyond 64 bits, a ratio, or a number with letters in it is an error;
//! - half of a surrogate pair is an error: no string can hold it.

use super::{EdnError, EdnReader};
use crate::history::value::{Float, Value};

/// What may start with a byte.
#[derive(Clone, Copy)]
pub(super) enum Starts {
    /// A form, or an error.
    Form,
    /// Nothing: it is a blank, or a comma.
    Blank,
    /// A comment, something to be discarded, a blank beyond ASCII, or a form.
    Perhaps,
}

const BLANKS: &[u8] = b" ,\n\r\t\x0b\x0c";

const STARTS: [Starts; 256] = {
    let mut starts = [Starts::Form; 256];
    let mut at = 0x80;
    while at < starts.len() {
        starts[at] = Starts::Perhaps;
        at += 1;
    }
    starts[b';' as usize] = Starts::Perhaps;
    starts[b'#' as usize] = Starts::Perhaps;
    at = 0;
    while at < BLANKS.len() {
        starts[BLANKS[at] as usize] = Starts::Blank;
        at += 1;
    }
    starts
};

/// What may start with a byte.
#[inline]
pub(super) fn starts(byte: u8) -> Starts {
    STARTS[usize::from(byte)]
}

/// The ASCII characters that end a token.
const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let delimiters = b";\"\\()[]{}";
    let mut at = 0;
    while at < delimiters.len() {
        ends[delimiters[at] as usize] = true;
        at += 1;
    }
    at = 0;
    while at < BLANKS.len() {
        ends[BLANKS[at] as usize] = true;
        at += 1;
    }
    ends
};

#[inline]
fn ends_token(byte: u8) -> bool {
    ENDS[usize::from(byte)]
}

/// More digits than these may not fit in 64 bits.
const DIGITS_SURE: usize = 18;

impl<'a> EdnReader<'a> {
    /// Takes everything up to the next blank or delimiter.
    pub(in crate::history) fn token(&mut self) -> &'a str {
        let start = self.at;
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if byte < 0x80 {
                if ends_token(byte) {
                    break;
                }
                self.at += 1;
            } else {
                match self.letter() {
                    Some(letter) if !letter.is_whitespace() => self.at += letter.len_utf8(),
                    _ => break,
                }
            }
        }
        &self.text[start..self.at]
    }

    /// Takes a number of plain digits that surely fits, if that is what comes next.
    pub(in crate::history) fn natural(&mut self) -> Option<i64> {
        let bytes = self.text.as_bytes();
        let most = bytes.len().min(self.at + DIGITS_SURE);
        let mut number = 0_i64;
        let mut end = self.at;
        while end < most {
            let digit = bytes[end].wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number * 10 + i64::from(digit);
            end += 1;
        }
        // A number that is longer, or anything but plain digits, does not end here.
        if end == self.at || bytes.get(end).is_some_and(|byte| !ends_token(*byte)) {
            return None;
        }
        self.at = end;
        Some(number)
    }

    /// Takes a token that is expected, if that is what comes next.
    #[inline]
    pub(in crate::history) fn take_token(&mut self, expected: &str) -> bool {
        let rest = &self.text.as_bytes()[self.at..];
        let ends = || rest.get(expected.len()).is_none_or(|byte| ends_token(*byte));
        let found = rest.starts_with(expected.as_bytes()) && ends();
        self.at += if found { expected.len() } else { 0 };
        found
    }

    /// The byte after the next.
    #[inline]
    pub(in crate::history) fn peek_second(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at + 1).copied()
    }

    pub(super) fn atom(&mut self) -> Result<Value, EdnError> {
        let token = self.token();
        match token {
            "nil" => return Ok(Value::Nil),
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            _ => {}
        }
        let digits = token.strip_prefix(['+', '-']).unwrap_or(token);
        if digits.starts_with(|letter: char| letter.is_ascii_digit()) {
            return self.number(token);
        }
        match token.strip_prefix(':') {
            Some("") => self.error("a keyword has no name"),
            Some(name) => Ok(Value::Keyword(name.to_owned())),
            None if token.starts_with(['^', '@', '`', '~']) => {
                self.error(format!("`{token}` is Clojure, not EDN"))
            }
            None => Ok(Value::Symbol(token.to_owned())),
        }
    }

    fn number(&self, token: &str) -> Result<Value, EdnError> {
        let whole = token.strip_suffix('N').unwrap_or(token);
        let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return match whole.parse() {
                Ok(number) => Ok(Value::Int(number)),
                Err(_) => self.error(format!("{token} does not fit in 64 bits")),
            };
        }
        let decimal = token.strip_suffix('M').unwrap_or(token);
        let plain = |letter: char| letter.is_ascii_digit() || "+-.eE".contains(letter);
        match decimal.parse() {
            Ok(number) if decimal.chars().all(plain) => Ok(Value::Float(Float(number))),
            _ => self.error(format!("`{token}` is not a number")),
        }
    }

    /// What follows `##`.
    pub(super) fn symbolic(&mut self) -> Result<Value, EdnError> {
        match self.token() {
            "Inf" => Ok(Value::Float(Float(f64::INFINITY))),
            "-Inf" => Ok(Value::Float(Float(f64::NEG_INFINITY))),
            "NaN" => Ok(Value::Float(Float(f64::NAN))),
            other => self.error(format!("`##{other}` is not a number")),
        }
    }

    pub(super) fn string(&mut self) -> Result<Value, EdnError> {
        let opened = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            text.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.next() {
                Some('"') => return Ok(Value::Text(text)),
                Some(_) => text.push(self.escape()?),
                None => {
                    let opened = self.line_of(opened);
                    return self.end(format!("the string of line {opened} has no end"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, EdnError> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('\\') => Ok('\\'),
            Some('"') => Ok('"'),
            Some('u') => self.unicode_escape(),
            Some(other) => self.error(format!("`\\{other}` is not an escape")),
            None => self.end("the text ends inside a string"),
        }
    }

    /// `\uXXXX`; Java writes what lies beyond 16 bits as two of them.
    fn unicode_escape(&mut self) -> Result<char, EdnError> {
        let first = self.hex4()?;
        let code = if (0xD800..0xDC00).contains(&first) {
            if !(self.take_if(b'\\') && self.take_if(b'u')) {
                return self.error("half of a surrogate pair is missing");
            }
            let second = self.hex4()?;
            if !(0xDC00..0xE000).contains(&second) {
                return self.error("the second half of a surrogate pair is wrong");
            }
            0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
        } else {
            first
        };
        match char::from_u32(code) {
            Some(letter) => Ok(letter),
            None => self.error(format!("U+{code:04X} is not a character")),
        }
    }

    fn hex4(&mut self) -> Result<u32, EdnError> {
        let mut code = 0;
        for _ in 0..4 {
            match self.next().and_then(|letter| letter.to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return self.error("`\\u` needs four hexadecimal digits"),
            }
        }
        Ok(code)
    }

    pub(super) fn character(&mut self) -> Result<Value, EdnError> {
        self.at += 1;
        let start = self.at;
        let Some(first) = self.next() else {
            return self.end("the text ends after a `\\`");
        };
        // The first character may be a delimiter itself, as in `\(`.
        self.token();
        let name = &self.text[start..self.at];
        let letter = match name {
            "newline" => '\n',
            "return" => '\r',
            "space" => ' ',
            "tab" => '\t',
            "formfeed" => '\u{c}',
            "backspace" => '\u{8}',
            single if single.len() == first.len_utf8() => first,
            code if first == 'u' && code.len() == 5 => {
                // A sign would do for `from_str_radix`, but not for EDN.
                let digits = code[1..].bytes().all(|byte| byte.is_ascii_hexdigit());
                let code = u32::from_str_radix(&code[1..], 16).ok().filter(|_| digits);
                match code.and_then(char::from_u32) {
                    Some(letter) => letter,
                    None => return self.error(format!("`\\{name}` is not a character")),
                }
            }
            _ => return self.error(format!("`\\{name}` is not a character")),
        };
        Ok(Value::Char(letter))
    }
}
