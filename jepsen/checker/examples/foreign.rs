//! Checks histories that another system's test recorded.
//!
//! ```text
//! cargo run -p sixbells-checker --example foreign
//! ```
//! Jepsen writes a `history.edn`: one map an event, with a process that *invokes* a function and
//! then completes it with `:ok`, `:fail` (it certainly did not happen) or `:info` (nobody knows).
//! From there it is three steps:
//! 1. read the text; what is no event is refused with its line, what is of no interest is counted;
//! 2. pair the events into operations;
//! 3. check these against a [`model`](sixbells_checker::model) that knows their functions. Here:
//!    a register with compare-and-set, and many of them under keys, whose values are `[key value]`.
//!
//! For a file, [`History::read`]; for a file of millions, `Operations::read`. The command line does
//! the same without a program: `cargo jepsen check history.edn --model kv`.

use std::error::Error;
use std::time::Duration;

use sixbells_checker::budget::Budget;
use sixbells_checker::history::{Format, History};
use sixbells_checker::linearizable::{Verdict, check_operations};
use sixbells_checker::model::{HistoryModel, Keyed, Register};

/// A register as etcd tests have it. The answer to process 1's cas was lost, and process 2 saw what
/// it wrote, so it did happen. Later, process 2 reads from a member that was left behind.
const REGISTER: &str = "
{:index 0, :time 1000000, :process 0, :type :invoke, :f :write, :value 3}
{:index 1, :time 3000000, :process 0, :type :ok, :f :write, :value 3}
{:index 2, :time 4000000, :process 1, :type :invoke, :f :cas, :value [3 4]}
{:index 3, :time 5000000, :process :nemesis, :type :info, :f :partition, :value :majority}
{:index 4, :time 6000000, :process 2, :type :invoke, :f :read, :value nil}
{:index 5, :time 8000000, :process 2, :type :ok, :f :read, :value 4}
{:index 6, :time 9000000, :process 1, :type :info, :f :cas, :value [3 4], :error :timeout}
{:index 7, :time 9500000, :process 2, :type :invoke, :f :read, :value nil}
{:index 8, :time 9900000, :process 2, :type :ok, :f :read, :value 3}
";

/// Registers under keys: each is checked apart. The reads of key 1 overlap its write of 5, so one of
/// them may miss it.
const KEYED: &str = "
[{:process 0, :type :invoke, :f :write, :value [1 5], :time 10}
 {:process 1, :type :invoke, :f :read, :value [1 nil], :time 20}
 {:process 1, :type :ok, :f :read, :value [1 nil], :time 30}
 {:process 1, :type :invoke, :f :read, :value [1 nil], :time 40}
 {:process 2, :type :invoke, :f :cas, :value [2 [7 8]], :time 45}
 {:process 1, :type :ok, :f :read, :value [1 5], :time 50}
 {:process 2, :type :fail, :f :cas, :value [2 [7 8]], :time 55}
 {:process 0, :type :ok, :f :write, :value [1 5], :time 60}]
";

fn verdict(
    name: &str,
    text: &str,
    mut model: impl HistoryModel,
) -> Result<Verdict, Box<dyn Error>> {
    let history = History::parse(name, text, Format::Edn)?;
    let (clock, operations) = history.operations()?;
    let mut budget = Budget::new(Duration::from_secs(60), 1 << 30);
    let verdict = check_operations(&mut model, &operations, clock, &[], &mut budget);
    // What the model cannot read is named by its line, like everything that is wrong with a file.
    Ok(verdict.map_err(|error| history.error_at(error.index, error.reason))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("etcd.edn: {}", verdict("etcd.edn", REGISTER, Register::with_cas())?);
    println!("keyed.edn: {}", verdict("keyed.edn", KEYED, Keyed::kv())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stale_read_is_found_and_the_overlapping_ones_pass() {
        let stale = verdict("etcd.edn", REGISTER, Register::with_cas()).unwrap().to_string();
        assert!(stale.starts_with("not linearizable: process 2 read 3"), "{stale}");
        let overlapping = verdict("keyed.edn", KEYED, Keyed::kv()).unwrap();
        assert_eq!(overlapping.unwrap().orders.len(), 1);
        let other = verdict("etcd.edn", REGISTER, Keyed::kv()).unwrap_err().to_string();
        assert!(other.starts_with("etcd.edn:2: "), "{other}");
    }
}
