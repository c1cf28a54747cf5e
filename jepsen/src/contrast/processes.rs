//! The contrast on real processes.
//!
//! In: a [`Setting`], and where run folders go. Out: a [`Contrast`], as of simulated clusters: each mode is a
//! [`Trial`] of its own, with the same seed for clients and nemesis.
//!
//! Invariant: the sides run one after the other, so that neither has the machine's other half.
//!
//! Does not: repeat exactly. Processes, disks and sockets have a pace of their own.

use std::{path::Path, sync::Arc, time::Duration};

use sixbells::{LogEngine, Mode};

use super::{Contrast, Setting, Side};
use crate::{
    cluster::Plan,
    load::{Pace, Reads},
    nemesis::Fault,
    store::RunFolder,
    trial::Trial,
    workload::Suited,
};

/// How many clients, and how many operations of all of them together a second: so many that the search
/// for another order comes to an end.
const CLIENTS: u64 = 6;
const RATE: f64 = 60.0;
/// From one step of the nemesis to the next.
const INTERVAL: Duration = Duration::from_secs(2);

/// Runs both sides, one after the other, unless `interrupted`.
///
/// # Errors
/// If a run folder cannot be written, or a fault is not one of processes.
pub async fn run(
    setting: Setting,
    store: &Path,
    replay: &str,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Contrast> {
    let names = setting.faults.iter().map(|kind| kind.name().parse::<Fault>());
    let faults: Vec<Fault> = names.collect::<Result<_, _>>().map_err(anyhow::Error::msg)?;
    let mut interrupted = std::pin::pin!(interrupted);
    let mut sides = Vec::new();
    for (mode, engine) in [(Mode::Strong, LogEngine::Wal), (Mode::Eventual, LogEngine::Sled)] {
        let folder = RunFolder::create(store, &format!("contrast-{mode}"), setting.seed, replay)?;
        let trial = Trial {
            script: Arc::new(Suited { workload: setting.workload, seed: setting.seed }),
            plan: Plan { nodes: setting.nodes, mode, engine },
            pace: Pace { rate: RATE, concurrency: CLIENTS, seed: setting.seed },
            reads: Reads::Linearizable,
            time_limit: setting.active,
            faults: faults.clone(),
            interval: INTERVAL,
        };
        let outcome = trial.run(&folder, interrupted.as_mut()).await?;
        let whole = outcome.report.failures.is_empty();
        sides.push(Side::of_trial(mode, CLIENTS, outcome));
        folder.remove_data()?;
        anyhow::ensure!(
            whole,
            "the run in {mode} mode did not come to its end: {:?}",
            sides[sides.len() - 1].promises
        );
    }
    let both: Result<[Side; 2], _> = sides.try_into();
    let [strong, eventual] = both.map_err(|_sides| anyhow::anyhow!("there are not two sides"))?;
    Ok(Contrast { setting, strong, eventual })
}
