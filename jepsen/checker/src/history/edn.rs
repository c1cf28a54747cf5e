//! A reader of EDN, the notation Jepsen writes its histories in.
//!
//! In goes text, out come [`Value`]s, one top-level form at a time, each with the line it began on.
//! A real reader, because scrapers of single fields break on nested maps and on strings that hold
//! brackets. Values are written back by their `Display`.
//!
//! It reads maps, vectors, lists, sets, keywords, symbols, strings with their escapes, characters,
//! integers (with `N`), floats (with `M`, `##Inf`, `##NaN`), `nil`, booleans, tagged values,
//! comments, `#_` discards, and commas as blanks.
//!
//! Invariants:
//! - bad input gives the line and the reason, never a panic;
//! - nesting is bounded by [`DEPTH_MAX`], so hostile input cannot exhaust the stack;
//! - nothing is silently rounded: an integer beyond 64 bits or a ratio is an error.
//!
//! It does not interpret tags, and it knows nothing of operations: that is `jepsen.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::value::{Float, Value};

/// How deep forms may nest. Histories need about four levels.
pub const DEPTH_MAX: usize = 128;

/// What is wrong with the text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdnError {
    /// The line, from 1.
    pub line: usize,
    /// The reason, in words.
    pub reason: String,
}

impl fmt::Display for EdnError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for EdnError {}

/// Reads top-level forms from a text.
#[derive(Debug)]
pub struct EdnReader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl<'a> EdnReader<'a> {
    /// A reader at the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text.chars().peekable(), line: 1 }
    }

    /// The next top-level form with the line it begins on; `None` at the end of the text.
    pub fn next_form(&mut self) -> Result<Option<(usize, Value)>, EdnError> {
        self.skip_blanks(0)?;
        if self.rest.peek().is_none() {
            return Ok(None);
        }
        let line = self.line;
        Ok(Some((line, self.form(0)?)))
    }

    /// If the next thing is a `[`, steps into it, so that a caller can read a vector that is larger
    /// than one would want to hold twice. [`Self::next_item`] then gives the members.
    pub fn enter_vector(&mut self) -> Result<bool, EdnError> {
        self.skip_blanks(0)?;
        Ok(self.take_if('['))
    }

    /// The next member of the vector entered, or `None` at its end.
    pub fn next_item(&mut self) -> Result<Option<(usize, Value)>, EdnError> {
        self.skip_blanks(1)?;
        if self.take_if(']') {
            return Ok(None);
        }
        let line = self.line;
        Ok(Some((line, self.form(1)?)))
    }

    fn error<T>(&self, reason: impl Into<String>) -> Result<T, EdnError> {
        Err(EdnError { line: self.line, reason: reason.into() })
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.next();
        if letter == Some('\n') {
            self.line += 1;
        }
        letter
    }

    fn take_if(&mut self, expected: char) -> bool {
        let found = self.rest.peek() == Some(&expected);
        if found {
            self.next();
        }
        found
    }

    /// Skips blanks, commas, comments and discarded forms.
    fn skip_blanks(&mut self, depth: usize) -> Result<(), EdnError> {
        if depth > DEPTH_MAX {
            return self.error(format!("forms nest deeper than {DEPTH_MAX}"));
        }
        while let Some(&letter) = self.rest.peek() {
            if letter.is_whitespace() || letter == ',' {
                self.next();
            } else if letter == ';' {
                while self.next().is_some_and(|passed| passed != '\n') {}
            } else if letter == '#' && self.second() == Some('_') {
                self.next();
                self.next();
                self.skip_blanks(depth + 1)?;
                self.form(depth + 1)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn second(&self) -> Option<char> {
        let mut ahead = self.rest.clone();
        ahead.next();
        ahead.next()
    }

    fn form(&mut self, depth: usize) -> Result<Value, EdnError> {
        if depth > DEPTH_MAX {
            return self.error(format!("forms nest deeper than {DEPTH_MAX}"));
        }
        let Some(&letter) = self.rest.peek() else {
            return self.error("the text ends where a form was expected");
        };
        match letter {
            '[' => Ok(Value::Vector(self.sequence(']', depth)?)),
            '(' => Ok(Value::List(self.sequence(')', depth)?)),
            '{' => self.map(depth),
            '"' => self.text(),
            '\\' => self.character(),
            '#' => self.dispatch(depth),
            ']' | ')' | '}' => self.error(format!("`{letter}` closes nothing")),
            _ => {
                let token = self.token();
                self.atom(&token)
            }
        }
    }

    /// The members up to the closing bracket; the opening one is the next character.
    fn sequence(&mut self, close: char, depth: usize) -> Result<Vec<Value>, EdnError> {
        let opened = self.line;
        self.next();
        let mut items = Vec::new();
        loop {
            self.skip_blanks(depth + 1)?;
            if self.take_if(close) {
                return Ok(items);
            }
            if self.rest.peek().is_none() {
                let reason =
                    format!("the text ends before the `{close}` that closes line {opened}");
                return self.error(reason);
            }
            items.push(self.form(depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, EdnError> {
        let items = self.sequence('}', depth)?;
        if items.len() % 2 == 1 {
            return self.error("a map has a key without a value");
        }
        let mut entries = BTreeMap::new();
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            if entries.contains_key(&key) {
                return self.error(format!("a map has the key {key} twice"));
            }
            entries.insert(key, value);
        }
        Ok(Value::Map(entries))
    }

    /// What follows a `#`: a set, a symbolic number, or a tag and its value.
    fn dispatch(&mut self, depth: usize) -> Result<Value, EdnError> {
        self.next();
        match self.rest.peek() {
            Some('{') => {
                let mut items = BTreeSet::new();
                for item in self.sequence('}', depth)? {
                    if let Some(twice) = items.replace(item) {
                        return self.error(format!("a set has the member {twice} twice"));
                    }
                }
                Ok(Value::Set(items))
            }
            Some('#') => {
                self.next();
                match self.token().as_str() {
                    "Inf" => Ok(Value::Float(Float(f64::INFINITY))),
                    "-Inf" => Ok(Value::Float(Float(f64::NEG_INFINITY))),
                    "NaN" => Ok(Value::Float(Float(f64::NAN))),
                    other => self.error(format!("`##{other}` is not a number")),
                }
            }
            Some(letter) if letter.is_alphabetic() || *letter == ':' => {
                let tag = self.token();
                self.skip_blanks(depth + 1)?;
                Ok(Value::Tagged(tag, Box::new(self.form(depth + 1)?)))
            }
            Some(letter) => {
                let reason = format!("`#{letter}` is not EDN");
                self.error(reason)
            }
            None => self.error("the text ends after a `#`"),
        }
    }

    fn text(&mut self) -> Result<Value, EdnError> {
        let opened = self.line;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(Value::Text(text)),
                Some('\\') => text.push(self.escape()?),
                Some(letter) => text.push(letter),
                None => return self.error(format!("the string of line {opened} has no end")),
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
            None => self.error("the text ends inside a string"),
        }
    }

    /// `\uXXXX`; Java writes what lies beyond 16 bits as two of them.
    fn unicode_escape(&mut self) -> Result<char, EdnError> {
        let first = self.hex4()?;
        let code = if (0xD800..0xDC00).contains(&first) {
            if !(self.take_if('\\') && self.take_if('u')) {
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

    fn character(&mut self) -> Result<Value, EdnError> {
        self.next();
        let Some(first) = self.next() else {
            return self.error("the text ends after a `\\`");
        };
        // The first character may be a delimiter itself, as in `\(`.
        let mut name = String::from(first);
        name.push_str(&self.token());
        let letter = match name.as_str() {
            "newline" => '\n',
            "return" => '\r',
            "space" => ' ',
            "tab" => '\t',
            "formfeed" => '\u{c}',
            "backspace" => '\u{8}',
            single if single.chars().count() == 1 => first,
            code if first == 'u' && code.len() == 5 => {
                let code = u32::from_str_radix(&code[1..], 16).ok().and_then(char::from_u32);
                match code {
                    Some(letter) => letter,
                    None => return self.error(format!("`\\{name}` is not a character")),
                }
            }
            _ => return self.error(format!("`\\{name}` is not a character")),
        };
        Ok(Value::Char(letter))
    }

    /// Everything up to the next blank or delimiter.
    fn token(&mut self) -> String {
        let mut token = String::new();
        while let Some(&letter) = self.rest.peek() {
            if letter.is_whitespace() || matches!(letter, ',' | ';' | '"' | '\\') {
                break;
            }
            if matches!(letter, '(' | ')' | '[' | ']' | '{' | '}') {
                break;
            }
            token.push(letter);
            self.next();
        }
        token
    }

    fn atom(&self, token: &str) -> Result<Value, EdnError> {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Value>, EdnError> {
        let mut reader = EdnReader::new(text);
        let mut forms = Vec::new();
        while let Some((_, form)) = reader.next_form()? {
            forms.push(form);
        }
        Ok(forms)
    }

    #[test]
    fn every_kind_of_form_reads_and_writes_back_to_itself() {
        let text = r#"nil true false 0 -7 +3 12N 1.5 -2e3 3.25M ##Inf ##-Inf \a \newline \( \u0041
            "a \"quoted\" [text] \n\t\\ \u00e9 \ud83d\ude00" :key :ns/key sym (1 2) [] [1, [2 nil]]
            #{:a "b"} {:a 1, "b" [2], [3] {}} #inst "2024-01-01" #jepsen.history.Op{:f :read}"#;
        let forms = read(text).unwrap();
        assert_eq!(forms.len(), 27);
        let written: Vec<String> = forms.iter().map(Value::to_string).collect();
        assert_eq!(read(&written.join("\n")).unwrap(), forms);
        assert!(matches!(&forms[16], Value::Text(text) if text.ends_with("é 😀")));
    }

    #[test]
    fn comments_discards_and_commas_are_blanks() {
        let forms = read("; a note\n[1 #_ 2 #_#_ 3 [4] 5,,] #_{:gone 1} ; end").unwrap();
        assert_eq!(forms, vec![Value::Vector(vec![Value::Int(1), Value::Int(5)])]);
    }

    #[test]
    fn bad_input_names_the_line_and_the_reason() {
        let cases = [
            ("1\n{:a}", 2, "without a value"),
            ("{:a 1\n :a 2}", 2, "twice"),
            ("[1\n\n2", 3, "closes line 1"),
            ("\n\"never", 2, "has no end"),
            ("99999999999999999999", 1, "64 bits"),
            ("1/2", 1, "not a number"),
            (")", 1, "closes nothing"),
            ("\"\\q\"", 1, "not an escape"),
            ("#_", 1, "form was expected"),
            ("^:meta x", 1, "not EDN"),
        ];
        for (text, line, reason) in cases {
            let error = read(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
        assert!(read(&"[".repeat(100_000)).unwrap_err().reason.contains("deeper"));
        assert!(read(&"#_".repeat(100_000)).unwrap_err().reason.contains("deeper"));
    }
}
