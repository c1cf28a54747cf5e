//! Histories in the logs of Jepsen: what `jepsen.util` says of each event, among other lines.
//!
//! ```text
//! INFO  jepsen.util - 4  :invoke  :write  17
//! 2024-01-01 12:00:00,123{GMT}  INFO  [jepsen worker 4] jepsen.util: 4  :ok  :write  17
//! INFO  jepsen.util - 4  :info  :read  :timed-out
//! ```
//!
//! Old histories exist in this form alone. What stands in front of `jepsen.util` is of no interest;
//! then come process, type and function, parted by tabs or blanks, the value as EDN, and perhaps an
//! error. A log line has no monotonic time, so such a history is judged by positions.
//!
//! Invariants:
//! - a line that is not such an event is skipped and counted, and so is the event of a process that
//!   is neither a whole number nor `:nemesis`;
//! - the value of an `:invoke` or `:ok` must be EDN: it is evidence. What follows a `:fail`, an
//!   `:info` or the nemesis' word is only told, so there anything goes; a keyword alone is an error.
//!
//! Nothing is written in this form: it says less than the others.

use memchr::memmem;
use smol_str::SmolStr;

use super::batch::{Batch, Fault};
use super::edn::{EdnError, EdnReader};
use super::parallel::Piece;
use super::value::Value;
use super::{Details, Event, EventType, Process};

/// Who speaks.
const LOGGER: &str = "jepsen.util";

/// Whether some line of a text is an event, and no form of EDN or JSON.
pub(super) fn looks_like_log(text: &str) -> bool {
    text.lines().any(|line| !line.trim_start().starts_with(['{', '#']) && words(line).is_some())
}

/// Reads the lines of a text, or of a piece of it.
pub(super) fn read_piece(text: &str, _piece: Piece, batch: &mut Batch) -> Result<(), Fault> {
    let logger = memmem::Finder::new(LOGGER);
    for (position, line) in text.lines().enumerate() {
        let after = logger.find(line.as_bytes()).map(|at| &line[at + LOGGER.len()..]);
        let Some(words) = after.and_then(Words::of) else {
            batch.skipped.other_lines += u64::from(!line.trim().is_empty());
            continue;
        };
        match words.event() {
            Ok(Some(event)) => batch.push(position + 1, event, None),
            Ok(None) => batch.skipped.other_processes += 1,
            Err(reason) => return Err(Fault { line: position + 1, reason }),
        }
    }
    batch.line_feeds = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    Ok(())
}

fn words(line: &str) -> Option<Words<'_>> {
    let (_, after) = line.split_once(LOGGER)?;
    Words::of(after)
}

/// The words of an event.
struct Words<'a> {
    process: &'a str,
    event_type: EventType,
    /// The function, the value, and perhaps an error.
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// Takes what follows the logger's name apart, if it is an event.
    fn of(after: &'a str) -> Option<Self> {
        let blank = [' ', '\t'];
        let after = after.strip_prefix(':').unwrap_or(after).trim_start_matches(blank);
        let after = after.strip_prefix("- ").or(after.strip_prefix("-\t")).unwrap_or(after);
        let (process, after) = after.trim_start_matches(blank).split_once(blank)?;
        let after = after.trim_start_matches(blank);
        let (name, rest) = after.split_once(blank)?;
        let event_type = EventType::from_name(name.strip_prefix(':')?)?;
        Some(Self { process, event_type, rest })
    }

    fn event(&self) -> Result<Option<Event>, String> {
        let process = match self.process.parse() {
            Ok(id) => Process::Client(id),
            Err(_) if self.process == ":nemesis" => Process::Nemesis,
            Err(_) => return Ok(None),
        };
        let mut edn = EdnReader::new(self.rest);
        let f = next(&mut edn)?.ok_or("the event has no function")?.to_name();
        let told = match (process, self.event_type) {
            (Process::Nemesis, _) | (_, EventType::Fail | EventType::Info) => true,
            (_, EventType::Invoke | EventType::Ok) => false,
        };
        let (value, error) = match (arguments(&mut edn.clone()), told) {
            (Ok((Value::Keyword(error), None)), true) if process != Process::Nemesis => {
                (Value::Nil, Some(SmolStr::from(error)))
            }
            (Ok((value, error)), _) => (value, error.map(|error| error.to_name().into())),
            (Err(_), true) => {
                let text = self.rest[edn.position()..].trim();
                (Value::Nil, Some(SmolStr::new(text)))
            }
            (Err(reason), false) => return Err(reason),
        };
        let details = Details { error, ..Details::default() };
        let event = Event::new(process, self.event_type, &f, value);
        Ok(Some(Event { details: details.boxed(), ..event }))
    }
}

/// The value, nil if there is none, and perhaps an error.
fn arguments(edn: &mut EdnReader<'_>) -> Result<(Value, Option<Value>), String> {
    let value = next(edn)?.unwrap_or_default();
    let error = next(edn)?;
    match next(edn)? {
        Some(more) => Err(format!("{more} follows the value and the error")),
        None => Ok((value, error)),
    }
}

fn next(edn: &mut EdnReader<'_>) -> Result<Option<Value>, String> {
    let form = edn.next_form().map_err(|EdnError { reason, .. }| reason)?;
    Ok(form.map(|(_, form)| form))
}

#[cfg(test)]
mod tests {
    use super::super::{Clock, Format, History, Outcome};
    use super::*;

    const LOG: &str = "\
        INFO  jepsen.core - nodes are up\n\
        INFO  jepsen.util - 4\t:invoke\t:write\t17\n\
        2024-01-01 12:00:00,123{GMT}\tINFO\t[jepsen worker 1] jepsen.util: 1 :invoke :cas [17 18]\n\
        [main] INFO jepsen.util :nemesis\t:info\t:start\t\"Cut off {:n1 #object[a.B 0x1f\"\n\
        INFO  jepsen.util - 4\t:ok\t:write\t17\r\n\
        INFO  jepsen.util - 1\t:info\t:cas\t[17 18]\t:timed-out\n\n\
        INFO  jepsen.util - 9\t:invoke\t:read\tnil\n\
        INFO  jepsen.util - 9\t:info\t:read\t:timed-out\n\
        INFO  jepsen.util - :stats :invoke :read nil\n\
        INFO  jepsen.util - 14\t:invoke\t:read\n\
        INFO  jepsen.util - 14\t:fail\t:read\tconnection refused #object[x";

    #[test]
    fn events_are_found_among_other_lines() {
        for format in [Format::Log, Format::Auto] {
            let history = History::parse("log", LOG, format).unwrap();
            assert_eq!((history.skipped.other_lines, history.skipped.other_processes), (1, 1));
            assert_eq!(history.skipped.nemesis_events, 1);
            let (clock, operations) = history.operations().unwrap();
            assert_eq!(clock, Clock::Positions);
            let ends: Vec<_> = operations.iter().map(|o| (o.process, o.outcome)).collect();
            let expected =
                [(4, Outcome::Ok), (1, Outcome::Info), (9, Outcome::Info), (14, Outcome::Fail)];
            assert_eq!(ends, expected);
            let errors: Vec<_> = operations.iter().map(|o| o.error()).collect();
            let refused = "connection refused #object[x";
            assert_eq!(errors, [None, Some("timed-out"), Some("timed-out"), Some(refused)]);
            assert_eq!(operations[1].value, Value::pair(17, 18));
            assert_eq!(history.line(1), 3);
        }
    }

    #[test]
    fn evidence_that_is_no_edn_is_refused_with_its_line() {
        let cases = [
            ("INFO jepsen.util - 0 :ok :read [1", "log:2: the text ends before"),
            ("INFO jepsen.util - 0 :ok :read 1 2 3", "log:2: 3 follows the value"),
            ("INFO jepsen.util - 0 :ok :read 99999999999999999999", "log:2: 99999"),
            ("INFO jepsen.util - 0 :ok ", "log:2: the event has no function"),
        ];
        for (line, expected) in cases {
            let text = format!("\n{line}\n");
            let error = History::parse("log", &text, Format::Auto).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}
