//! A replicated counter on one node: `cargo run --release --example embed`.
//!
//! With two more peers, each in a process of its own, nothing here changes but the addresses.

use serde::{Deserialize, Serialize};
use sixbells::{Node, StateMachine};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter(u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Command {
    Add(u64),
}

impl StateMachine for Counter {
    type Command = Command;
    type Response = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, Command::Add(n): Command) -> u64 {
        self.0 += n;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let node = Node::<Counter>::builder(1)
        .data_dir("data/embed")
        .peers([(1, "127.0.0.1:7001")])
        .start()
        .await?;
    let counter = node.handle();

    println!("write -> {}", counter.write(Command::Add(3)).await?);
    println!("read  -> {}", counter.read(()).await?);

    node.shutdown().await;
    Ok(())
}
