//! Every algorithm against a judge that walks over all permutations, and against each other.
//!
//! A checker is the one part of a test kit that nobody checks. `SIXBELLS_SEED=7 cargo test -p
//! sixbells-checker differential` replays one seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::frontier::{Frontier, Outcome};
use super::machine::{Interned, Machine, Registers, Timed};
use super::object::{NEVER, Object, ObjectCall};
use super::register::{self, Found};
use super::scratch::Scratch;
use super::search::Search;
use super::touch::{NOTHING, Touch};
use super::verify;
use super::{obvious, shrink};
use crate::budget::Budget;
use crate::model::Spec;

const HISTORIES: u64 = if cfg!(debug_assertions) { 15_000 } else { 200_000 };

/// The independent judge: tries every permutation that real time allows, remembers nothing.
fn some_order(touches: &[Touch], done: u32, state: u64) -> bool {
    let open = |at: usize| done >> at & 1 == 0;
    if (0..touches.len()).all(|at| !open(at) || !touches[at].happened()) {
        return true;
    }
    (0..touches.len()).filter(|at| open(*at)).any(|at| {
        let Touch { observes, writes, invoked, .. } = touches[at];
        let blocked =
            (0..touches.len()).any(|other| open(other) && touches[other].returned < invoked);
        let fits = observes == NOTHING || observes == state;
        let next = if writes == NOTHING { state } else { writes };
        !blocked && fits && some_order(touches, done | 1 << at, next)
    })
}

/// A random history of a register that works, before something is done to it.
fn history(rng: &mut SmallRng, unique: bool) -> Vec<Touch> {
    let clients = rng.random_range(2..=6);
    let values = rng.random_range(1..5_u64);
    let crashes = [0.0, 0.1, 0.3, 0.5][rng.random_range(0..4)];
    let mut attempts = Vec::new();
    for _ in 0..clients {
        let mut now = rng.random_range(0..6_u64);
        for _ in 0..rng.random_range(1..=10 / clients) {
            let returned = now + rng.random_range(0..8);
            attempts.push((rng.random_range(now..=returned), now, returned));
            now = returned + rng.random_range(1..4);
        }
    }
    attempts.sort_unstable();
    let (mut state, mut fresh) = (0, 10);
    let mut touches = Vec::new();
    for (_, invoked, returned) in attempts {
        fresh += 1;
        let written = if unique { fresh } else { rng.random_range(0..values) };
        let kind = rng.random_range(0..10);
        let guess = if rng.random_bool(0.7) { state } else { rng.random_range(0..values) };
        let (observes, writes) = match kind {
            0..5 => (state, NOTHING),
            5..8 => (NOTHING, written),
            _ => (guess, written),
        };
        let crashed = rng.random_bool(crashes);
        let succeeds = observes == NOTHING || observes == state;
        if !crashed && !succeeds {
            continue;
        }
        if writes != NOTHING && succeeds && (!crashed || rng.random_bool(0.5)) {
            state = writes;
        }
        let returned = if crashed { NEVER } else { returned + 1 };
        if !(crashed && writes == NOTHING) {
            touches.push(Touch { observes, writes, invoked: invoked + 1, returned });
        }
    }
    touches
}

/// Does one of the things that go wrong: a read or a compare-and-set that saw something else, a call
/// that ended sooner, one that began later.
fn damage(rng: &mut SmallRng, touches: &mut [Touch]) {
    if touches.is_empty() {
        return;
    }
    let written: Vec<u64> = touches.iter().map(|touch| touch.writes).collect();
    let at = rng.random_range(0..touches.len());
    match rng.random_range(0..4) {
        0 | 1 => {
            let observers = touches.iter_mut().filter(|touch| touch.observes != NOTHING);
            let mut observers: Vec<_> = observers.collect();
            if !observers.is_empty() {
                let which = rng.random_range(0..observers.len());
                let seen = written[rng.random_range(0..written.len())];
                observers[which].observes = if seen == NOTHING { 0 } else { seen };
            }
        }
        2 if touches[at].happened() => touches[at].returned = touches[at].invoked,
        _ if touches[at].happened() => touches[at].invoked = touches[at].returned,
        _ => {}
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("SIXBELLS_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..count,
    }
}

fn budget() -> Budget {
    Budget::new(Duration::from_secs(30), 1 << 30)
}

type Step = fn(&u64, &(u64, u64), Option<&u64>) -> Option<u64>;

/// The same register as a model of which nothing is known. What a call that happened observed is its
/// answer, which can be forgotten.
fn opaque() -> Spec<u64, (u64, u64), u64, Step> {
    fn step(state: &u64, &(expects, writes): &(u64, u64), saw: Option<&u64>) -> Option<u64> {
        let fits =
            [Some(&expects), saw].into_iter().flatten().all(|o| [NOTHING, *state].contains(o));
        fits.then_some(if writes == NOTHING { *state } else { writes })
    }
    let step: Step = step;
    Spec::new(0, step).reading(|(_, writes): &(u64, u64)| *writes == NOTHING)
}

/// What an algorithm says: whether there is an order; the order was replayed.
fn says(outcome: &Outcome, touches: &[Touch], name: &str, replay: &str) -> bool {
    match outcome {
        Outcome::Order(order) => {
            assert!(
                verify::touches(order, touches, &BTreeMap::new(), 0),
                "{name}: no order {order:?}; {replay}"
            );
            true
        }
        Outcome::Impossible { .. } => false,
        Outcome::Wider | Outcome::TooWide => panic!("{name} gave up; {replay}"),
    }
}

fn by_frontier<M: Machine>(machine: M, calls: &[Timed]) -> Outcome {
    let before = BTreeMap::new();
    let mut frontier = Frontier::new(machine, calls, &before);
    loop {
        match frontier.attempt(u64::MAX, &mut budget()).unwrap() {
            Outcome::Wider => {}
            outcome => return outcome,
        }
    }
}

/// All algorithms, by name, and what they say.
fn answers(touches: &[Touch], replay: &str) -> Vec<(&'static str, bool)> {
    let mut answers = Vec::new();
    match register::decide_unique(touches, 0, &mut Scratch::default()) {
        Some(Found::Order(_)) => answers.push(("zones", true)),
        Some(_) => answers.push(("zones", false)),
        None => assert!(!is_unique(touches), "zones gave up; {replay}"),
    }
    match register::decide_repeated(touches, 0, &BTreeMap::new(), &mut budget()).unwrap().0 {
        Found::Order(_) => answers.push(("registers", true)),
        Found::Impossible { .. } | Found::Contradiction(_) => answers.push(("registers", false)),
    }
    let (machine, calls) = Registers::new(touches, 0);
    answers.push(("frontier", says(&by_frontier(machine, &calls), touches, "frontier", replay)));
    let (mut machine, calls) = Registers::new(touches, 0);
    let mut search = Search::new(&mut machine, &calls, BTreeMap::new());
    let found = search.attempt(u64::MAX, &mut budget()).unwrap();
    answers.push(("search", says(&found, touches, "search", replay)));
    let (model, inputs) = (opaque(), inputs(touches));
    let object = object(touches, &inputs);
    let (machine, calls) = Interned::new(&model, &object);
    let found = by_frontier(machine, &calls);
    answers.push(("opaque frontier", says(&found, touches, "opaque frontier", replay)));
    let (mut machine, calls) = Interned::new(&model, &object);
    let mut search = Search::new(&mut machine, &calls, BTreeMap::new());
    let found = search.attempt(u64::MAX, &mut budget()).unwrap();
    answers.push(("opaque search", says(&found, touches, "opaque search", replay)));
    answers
}

/// Whether each value can have come to be there once.
fn is_unique(touches: &[Touch]) -> bool {
    let written = touches.iter().map(|touch| touch.writes).filter(|value| *value != NOTHING);
    let mut there: Vec<u64> = written.chain([0]).collect();
    there.sort_unstable();
    there.windows(2).all(|pair| pair[0] != pair[1])
}

/// What was asked, and what was answered.
type Asked = ((u64, u64), Option<u64>);

fn inputs(touches: &[Touch]) -> Vec<Asked> {
    let asked = |Touch { observes, writes, .. }: &Touch| ((NOTHING, *writes), Some(*observes));
    let crashed = |Touch { observes, writes, .. }: &Touch| ((*observes, *writes), None);
    touches
        .iter()
        .map(|touch| if touch.happened() { asked(touch) } else { crashed(touch) })
        .collect()
}

fn object<'a>(touches: &[Touch], inputs: &'a [Asked]) -> Object<'a, (u64, u64), u64> {
    let calls = touches.iter().zip(inputs).map(|(touch, (input, output))| ObjectCall {
        input,
        output: output.as_ref(),
        invoked: touch.invoked,
        returned: touch.returned,
    });
    Object { calls: calls.collect() }
}

/// What is left of an impossible history is impossible too, says the judge.
fn assert_contradictions(touches: &[Touch], replay: &str) {
    let judged = |core: &[u32], name: &str| {
        let part: Vec<Touch> = core.iter().map(|at| touches[*at as usize]).collect();
        assert!(!part.is_empty(), "{name}: nothing contradicts nothing; {replay}");
        assert!(!some_order(&part, 0, 0), "{name}: the core has an order: {part:?}; {replay}");
    };
    if let Some(Found::Contradiction(core)) =
        register::decide_unique(touches, 0, &mut Scratch::default())
    {
        judged(&core, "zones");
    }
    if let Some(core) = obvious::contradiction(touches, 0) {
        judged(&core, "obvious");
    }
    if let Found::Impossible { until } =
        register::decide_repeated(touches, 0, &BTreeMap::new(), &mut budget()).unwrap().0
    {
        judged(&shrink::registers(touches, 0, &BTreeMap::new(), until, &mut budget()), "registers");
    }
}

/// Whether the held calls have an order, if reads besides them are gone, and other calls did what
/// `otherwise` makes of them.
fn some_order_of(touches: &[Touch], held: &[u32], otherwise: fn(&Touch) -> Touch) -> bool {
    let relaxed = (0_u32..).zip(touches).filter_map(|(at, touch)| match touch.is_read() {
        _ if held.contains(&at) => Some(*touch),
        true => None,
        false => Some(otherwise(touch)),
    });
    some_order(&relaxed.collect::<Vec<Touch>>(), 0, 0)
}

/// The shrunk calls contradict each other whatever became of the others, and each of them is needed.
fn assert_whole_and_minimal(touches: &[Touch], replay: &str) {
    let none = BTreeMap::new();
    let crashes = |touch: &Touch| Touch { returned: NEVER, ..*touch };
    let crashes_unanswered = |touch: &Touch| match touch.happened() {
        true => Touch { observes: NOTHING, returned: NEVER, ..*touch },
        false => *touch,
    };
    let judged = |core: &[u32], name: &str, otherwise: fn(&Touch) -> Touch| {
        let shown: Vec<&Touch> = core.iter().map(|at| &touches[*at as usize]).collect();
        let possible = some_order_of(touches, core, otherwise);
        assert!(!possible, "{name}: the others can explain {shown:#?}; {replay}");
        for idle in core.iter().filter(|_| core.len() > 1) {
            let rest: Vec<u32> = core.iter().copied().filter(|at| at != idle).collect();
            let needed = some_order_of(touches, &rest, otherwise);
            assert!(needed, "{name}: one less will do of {shown:#?}; {replay}");
        }
    };
    let registers = register::decide_repeated(touches, 0, &none, &mut budget()).unwrap().0;
    if let Found::Impossible { until } = registers {
        let core = shrink::registers(touches, 0, &none, until, &mut budget());
        judged(&core, "registers", crashes);
    }
    let (model, inputs) = (opaque(), inputs(touches));
    let object = object(touches, &inputs);
    let core = shrink::calls(&model, &object, &none, NEVER, &mut budget());
    judged(&core, "opaque", crashes_unanswered);
}

#[test]
fn all_algorithms_agree_with_a_walk_over_all_permutations() {
    let (mut legal, mut illegal, mut by_zones) = (0, 0, 0_u64);
    for seed in seeds(HISTORIES) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let unique = rng.random_bool(0.4);
        let mut touches = history(&mut rng, unique);
        for _ in 0..rng.random_range(0..5) {
            damage(&mut rng, &mut touches);
        }
        touches.sort_by_key(|touch| touch.invoked);
        let replay = format!(
            "replay: SIXBELLS_SEED={seed} cargo test -p sixbells-checker differential\n{touches:#?}"
        );
        let expected = some_order(&touches, 0, 0);
        for (name, found) in answers(&touches, &replay) {
            assert_eq!(found, expected, "{name}; {replay}");
            by_zones += u64::from(name == "zones");
        }
        if expected {
            legal += 1;
        } else {
            illegal += 1;
        }
        if !expected {
            assert_contradictions(&touches, &replay);
            if seed % 16 == 0 {
                assert_whole_and_minimal(&touches, &replay);
            }
        }
    }
    println!("{legal} legal, {illegal} illegal, {by_zones} by zones");
    // A generator that only makes legal histories, or only silly ones, would test nothing.
    let all = std::env::var("SIXBELLS_SEED").is_err();
    assert!(
        !all || (illegal > HISTORIES / 6 && legal > HISTORIES / 5 && by_zones > HISTORIES / 10)
    );
}
