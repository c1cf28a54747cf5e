//! A lock service, and why a lock alone protects nothing: `cargo run --release --example lock`.
//!
//! What it can promise: at any position of the log at most one session holds the lock, and each grant
//! carries a *fencing token* that is larger than every earlier one.
//!
//! What it cannot promise: that the holder still holds it by the time it acts. A process is paused, its
//! lease ends, another gets the lock, the first wakes up and writes. No lock service can prevent it;
//! whatever the lock protects has to refuse a token smaller than one it has seen. (Kleppmann, "How to
//! do distributed locking", 2016.)
//!
//! Time is no business of `apply`: the caller that wants to end a lease says so with a command, and
//! gives the instant by its own clock. Leases here end when somebody proposes that they do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sixbells::{Node, StateMachine};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Locks {
    held: BTreeMap<String, Grant>,
    last_token: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Grant {
    holder: String,
    token: u64,
    expires_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Command {
    /// Asks for a lock until `expires_ms`, by the caller's clock, which says `now_ms`.
    Acquire { lock: String, holder: String, now_ms: u64, expires_ms: u64 },
    /// Gives it back. A token that is not the current one releases nothing.
    Release { lock: String, token: u64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Response {
    Granted { token: u64 },
    HeldBy(Grant),
    Released(bool),
}

impl StateMachine for Locks {
    type Command = Command;
    type Response = Response;
    type Query = String;
    type Answer = Option<Grant>;

    fn apply(&mut self, command: Command) -> Response {
        match command {
            Command::Acquire { lock, holder, now_ms, expires_ms } => {
                match self.held.get(&lock) {
                    Some(grant) if grant.expires_ms > now_ms && grant.holder != holder => {
                        return Response::HeldBy(grant.clone());
                    }
                    _ => {}
                }
                self.last_token += 1;
                let grant = Grant { holder, token: self.last_token, expires_ms };
                self.held.insert(lock, grant);
                Response::Granted { token: self.last_token }
            }
            Command::Release { lock, token } => {
                let current = self.held.get(&lock).is_some_and(|grant| grant.token == token);
                if current {
                    self.held.remove(&lock);
                }
                Response::Released(current)
            }
        }
    }

    fn query(&self, lock: String) -> Option<Grant> {
        self.held.get(&lock).cloned()
    }
}

/// What the lock protects: it remembers the largest token it has seen, and refuses smaller ones.
#[derive(Default)]
struct Storage {
    largest: u64,
    lines: Vec<String>,
}

impl Storage {
    fn write(&mut self, token: u64, line: &str) -> bool {
        if token < self.largest {
            return false;
        }
        self.largest = token;
        self.lines.push(line.to_owned());
        true
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Node::<Locks>::builder(1)
        .data_dir(dir.path())
        .peers([(1, "127.0.0.1:7021")])
        .start()
        .await?;
    let locks = node.handle();
    let acquire = |holder: &str, now_ms| Command::Acquire {
        lock: "report".into(),
        holder: holder.into(),
        now_ms,
        expires_ms: now_ms + 10_000,
    };

    let first = locks.write(acquire("ada", 1_000)).await?;
    println!("ada asks at 1 s:   {first:?}");
    println!("bob asks at 5 s:   {:?}", locks.write(acquire("bob", 5_000)).await?);
    println!("(ada is paused; her lease ends at 11 s)");
    let second = locks.write(acquire("bob", 12_000)).await?;
    println!("bob asks at 12 s:  {second:?}");

    let (Response::Granted { token: ada }, Response::Granted { token: bob }) = (first, second)
    else {
        anyhow::bail!("neither was granted");
    };
    let mut storage = Storage::default();
    println!("bob writes with token {bob}: {}", storage.write(bob, "bob's report"));
    let late = storage.write(ada, "ada's report");
    println!("ada wakes up, writes with token {ada}: {late}");
    anyhow::ensure!(!late && storage.lines == ["bob's report"], "a fenced write went through");

    let released = locks.write(Command::Release { lock: "report".into(), token: ada }).await?;
    println!("ada releases with her old token: {released:?}");
    anyhow::ensure!(locks.read("report".into()).await?.is_some(), "bob still holds the lock");
    node.shutdown().await;
    Ok(())
}
