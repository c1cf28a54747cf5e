//! `check --follow`: judges a history while it grows, and stops at the first violation.
//!
//! In go a path and a model; out comes a report, once something is wrong, once the file has not grown for as
//! long as `--idle` says, or once a signal asks for it. Memory is what is in flight and what crashed, not
//! what happened: see [`Stream`].
//!
//! Invariants:
//! - a violation is only told if the checker of whole histories finds one in the file as it is then: it is
//!   that one which explains;
//! - what was in flight at the end counts as unknown;
//! - `append` is not followed: its model has to have read all reads before the first step.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use sixbells_jepsen::checker::Verdict;
use sixbells_jepsen::checker::budget::Budget;
use sixbells_jepsen::checker::call::Call;
use sixbells_jepsen::checker::linearizable::{NEVER, Stream};
use sixbells_jepsen::history::follow::Tail;
use sixbells_jepsen::history::pairing::{Paired, Pairing};
use sixbells_jepsen::history::{
    Clock, Event, Format, InputError, Operation, Outcome, Process, Skipped,
};
use sixbells_jepsen::model::{Action, HistoryModel};
use sixbells_jepsen::report::Check;

use super::judge::{Kind, ModelName, Use};
use super::{BadArguments, interruption};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How many operations may be held back by one that does not end.
const HELD_MAX: usize = 1_000_000;

/// What to follow.
pub(crate) struct Follow<'a> {
    pub(crate) file: &'a Path,
    pub(crate) format: Format,
    pub(crate) kind: Kind,
    /// After how long without news the history is over.
    pub(crate) idle: Option<Duration>,
    pub(crate) memory: usize,
}

/// How it ended.
pub(crate) enum Followed {
    /// Nothing was wrong, or nobody can say.
    Over { check: Check, skipped: Skipped },
    /// An operation of this process has no place in any order of what was seen: the whole has to be judged.
    Suspect { process: u64 },
}

impl Follow<'_> {
    /// Follows the file until it is over.
    pub(crate) fn run(self) -> anyhow::Result<Followed> {
        if self.kind.name == ModelName::Append {
            let reason = "--follow: lists are judged as a whole; check them when they are complete";
            return Err(BadArguments(reason.to_owned()).into());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let kind = self.kind.clone();
        runtime.block_on(async { kind.used(Following(self)).await })
    }
}

struct Following<'a>(Follow<'a>);

impl<'a> Use for Following<'a> {
    type Result = Pin<Box<dyn Future<Output = anyhow::Result<Followed>> + 'a>>;

    fn with<M: HistoryModel + Clone + 'static>(self, model: M) -> Self::Result {
        Box::pin(follow(self.0, model))
    }
}

async fn follow<M: HistoryModel + Clone>(what: Follow<'_>, model: M) -> anyhow::Result<Followed> {
    let mut interrupted = pin!(interruption()?);
    let mut tail = Tail::new(what.file, what.format);
    let mut watch = Watch::new(what.file, model.clone(), what.memory);
    let mut news_at = Instant::now();
    loop {
        let news = tail.look()?;
        if news.restarted {
            watch = Watch::new(what.file, model.clone(), what.memory);
        }
        if !news.events.is_empty() || news.more {
            news_at = Instant::now();
        }
        if let Some(end) = watch.take(news.events)? {
            return Ok(end);
        }
        if news.more {
            continue;
        }
        if what.idle.is_some_and(|idle| news_at.elapsed() >= idle) {
            break;
        }
        tokio::select! {
            biased;
            () = &mut interrupted => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let (events, skipped) = tail.finish()?;
    if let Some(end) = watch.take(events)? {
        return Ok(end);
    }
    watch.end(skipped)
}

/// A history, as far as it was seen.
struct Watch<M: HistoryModel> {
    name: String,
    pairing: Option<Pairing>,
    stream: Stream<M>,
    /// By number: the operations in flight.
    open: BTreeMap<usize, Operation>,
    invocations: usize,
    latest: u64,
    budget: Budget,
}

impl<M: HistoryModel> Watch<M> {
    fn new(file: &Path, model: M, memory: usize) -> Self {
        Self {
            name: file.display().to_string(),
            pairing: None,
            stream: Stream::new(model),
            open: BTreeMap::new(),
            invocations: 0,
            latest: 0,
            budget: Budget::new(Duration::MAX, memory),
        }
    }

    /// Takes in events; how it ended, if it did.
    fn take(&mut self, events: Vec<Event>) -> anyhow::Result<Option<Followed>> {
        if events.is_empty() {
            return Ok(None);
        }
        for event in events.into_iter().filter(|event| event.process != Process::Nemesis) {
            let clock = match event.time {
                Some(_) => Clock::Nanoseconds,
                None => Clock::Positions,
            };
            let pairing = self.pairing.get_or_insert_with(|| Pairing::new(clock));
            match pairing
                .push(event)
                .map_err(|error| self.input_error(error.position, &error.reason))?
            {
                Paired::Nemesis(_) => {}
                Paired::Invoked(operation) => {
                    self.latest = self.latest.max(operation.invoked);
                    self.open.insert(self.invocations, operation);
                    self.invocations += 1;
                }
                Paired::Ended(number, ending) => {
                    self.latest = self.latest.max(ending.time);
                    if let Some(mut operation) = self.open.remove(&number) {
                        operation.end(ending);
                        self.push(&operation)?;
                    }
                }
            }
        }
        self.advance(self.horizon())
    }

    /// Hands on an operation of which it is known how it ended.
    fn push(&mut self, operation: &Operation) -> anyhow::Result<()> {
        if operation.outcome == Outcome::Fail {
            return Ok(());
        }
        let read = self.stream.model_mut().read(&Action::of(operation));
        let (input, output) = read.map_err(|reason| self.input_error(operation.index, &reason))?;
        let Operation { process, invoked, returned, log_index, .. } = *operation;
        self.stream.push(Call { process, input, output, invoked, returned, log_index });
        Ok(())
    }

    /// Every operation that began before this time has ended.
    fn horizon(&self) -> u64 {
        self.open.values().map(|operation| operation.invoked).min().unwrap_or(self.latest)
    }

    fn advance(&mut self, horizon: u64) -> anyhow::Result<Option<Followed>> {
        let verdict = match self.stream.advance(horizon, &mut self.budget) {
            Ok(None) if self.stream.waiting() <= HELD_MAX => return Ok(None),
            Ok(None) => {
                let oldest = self.open.values().next().map_or(0, |operation| operation.process);
                let held = self.stream.waiting();
                Verdict::Unknown {
                    why: format!(
                        "{held} operations wait for one of process {oldest} that does not end"
                    ),
                }
            }
            Ok(Some(call)) => return Ok(Some(Followed::Suspect { process: call.process })),
            Err(why) => Verdict::Unknown { why: why.to_string() },
        };
        Ok(Some(Followed::Over { check: self.check(verdict), skipped: Skipped::default() }))
    }

    /// Nothing more will be written.
    fn end(mut self, skipped: Skipped) -> anyhow::Result<Followed> {
        for mut operation in std::mem::take(&mut self.open).into_values() {
            operation.give_up();
            self.push(&operation)?;
        }
        if let Some(end) = self.advance(NEVER)? {
            return Ok(end);
        }
        let verdict = match (self.stream.judged(), self.stream.is_exact()) {
            (0, _) => Verdict::Unknown { why: "no operation was seen".to_owned() },
            (count, true) => Verdict::Valid {
                operations: usize::try_from(count).unwrap_or(usize::MAX),
                partitions: self.stream.objects(),
            },
            (count, false) => Verdict::Unknown {
                why: format!(
                    "nothing was wrong with {count} operations, but more crashed than can be counted \
                     while a history grows; check it as a whole"
                ),
            },
        };
        Ok(Followed::Over { check: self.check(verdict), skipped })
    }

    fn check(&mut self, verdict: Verdict) -> Check {
        let name = format!("linearizable ({}), followed", self.stream.model_mut().name());
        Check { name, verdict, details: serde_json::Value::Null }
    }

    fn input_error(&self, position: usize, reason: &str) -> InputError {
        let reason = format!("event {position}: {reason}");
        InputError { name: self.name.clone(), line: 0, reason }
    }
}
