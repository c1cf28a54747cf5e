//! The published checkers beside ours, each in a child process that is not waited for longer than
//! [`CAP`].
//!
//! They live in a package of their own, `benches/peers`, outside the workspace: their dependencies
//! (forty crates, a web server among them) would be built by everyone who runs our tests. It is built
//! on demand, makes the same history from the same numbers, and tells what it found and how long the
//! check alone took.
//!
//! Invariants:
//! - a child that takes too long is killed by its id, and waited for;
//! - memory is limited, so that a search that explodes does not take the machine with it;
//! - so is processor time: a child whose bench was killed before it could kill it ends by itself.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{Word, shown};

/// How long a peer may take, with making the history.
const CAP: Duration = Duration::from_secs(20);
/// How much address space it may have. A gigabyte of it is stack: stateright recurses per call.
const KIBIBYTES: u32 = 5 << 20;
/// How long it may compute, whoever waits for it: longer than [`CAP`] on two cores.
const SECONDS: u32 = 60;

/// Those that are compared, in the order of the columns.
pub(crate) const NAMES: [&str; 2] = ["stateright", "todc-utils"];

/// The program that runs them.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    program: PathBuf,
}

impl Peers {
    /// Builds it.
    pub(crate) fn build() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Not below its own folder, where a build would lie among our sources.
        let target = root.join("../../target/peers");
        let manifest = root.join("benches/peers/Cargo.toml");
        let mut cargo = Command::new(env!("CARGO"));
        let cargo = cargo.args(["build", "--release", "--quiet"]);
        let cargo = cargo.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&target);
        match cargo.status() {
            Ok(status) if status.success() => Ok(Self { program: target.join("release/peers") }),
            Ok(status) => Err(format!("building the peers ended with {status}")),
            Err(error) => Err(format!("building the peers: {error}")),
        }
    }

    /// What a peer says of a history, in few words.
    pub(crate) fn ask(&self, name: &str, history: &str, ours: Word) -> String {
        let mut shell = Command::new("sh");
        // The shell becomes the peer, so it has the id that is killed.
        let limits = format!("ulimit -v {KIBIBYTES}; ulimit -t {SECONDS}");
        let shell = shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\""));
        let shell = shell.arg(&self.program).arg(name).args(history.split(' '));
        let child = shell.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let answer = child.map_err(|error| error.to_string()).and_then(|mut child| {
            let ended = wait(&mut child);
            let mut text = String::new();
            // What cannot be read was not said.
            let _unread = child.stdout.take().map(|mut out| out.read_to_string(&mut text));
            ended.map(|status| (status, text))
        });
        match answer {
            Err(why) => why,
            Ok((None, _)) => format!("> {} s", CAP.as_secs()),
            Ok((Some(status), text)) => said(status, &text, ours),
        }
    }
}

/// How a child ended, if it did in time.
fn wait(child: &mut Child) -> Result<Option<ExitStatus>, String> {
    let began = Instant::now();
    while began.elapsed() < CAP {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
    Ok(None)
}

fn said(status: ExitStatus, text: &str, ours: Word) -> String {
    let seconds = |text: &str| text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    match text.trim().split_once(' ') {
        Some((word @ ("linearizable" | "violation"), time)) => {
            let theirs = if word == "violation" { Word::Violation } else { Word::Linearizable };
            let time = seconds(time).map_or_else(|| "?".to_owned(), shown);
            match theirs == ours || ours == Word::Undecided {
                true => time,
                false => format!("{time} ({word})"),
            }
        }
        _ if status.success() => text.trim().to_owned(),
        _ => "out of 4 GiB".to_owned(),
    }
}
