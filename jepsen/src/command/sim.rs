//! `sim`: temporary
use clap::Args;
use sixbells_jepsen::report::Exit;
use sixbells_jepsen::sim::{
    plan::{Frame, Plan},
    run::run as simulate,
    seeds, suite,
};
use std::io::Write;

/// Simulate a cluster.
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[arg(long)]
    seeds: Option<u64>,
    #[arg(long)]
    trace: bool,
}

pub(crate) fn run(args: &SimArgs) -> anyhow::Result<Exit> {
    let frame = Frame::default();
    if let Some(count) = args.seeds {
        let results = seeds::each(
            args.seed..args.seed + count,
            2,
            |seed| {
                let out = simulate(&Plan::draw(seed, &frame), &suite::register(), None, None);
                if let Some(v) = &out.violation {
                    println!("{seed}: {v}");
                }
                out.violation.is_some()
            },
            |_, _| false,
        );
        println!("{} of {} failed", results.iter().filter(|r| r.1).count(), results.len());
        return Ok(Exit::Valid);
    }
    let plan = Plan::draw(args.seed, &frame);
    println!("{plan:?}");
    let log: Option<Box<dyn FnMut(String)>> = if args.trace {
        Some(Box::new(|l| {
            let _ = writeln!(std::io::stdout(), "{l}");
        }))
    } else {
        None
    };
    let out = simulate(&plan, &suite::register(), None, log);
    println!(
        "{:x} {:?} {:?} {:?}",
        out.traces.hash,
        out.traces.simulated,
        out.traces.steps,
        out.violation.map(|v| v.to_string())
    );
    println!("{:?}", out.traces.reached);
    println!("{:?}", out.looked);
    Ok(Exit::Valid)
}
