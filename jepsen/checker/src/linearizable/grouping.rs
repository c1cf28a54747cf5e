//! The calls of a history by object.
//!
//! One pass names the objects and counts their calls, a second one puts each call where it belongs:
//! both walk the history from front to back, which is what memory is fast at.
//!
//! Invariants: the calls of an object stand by invocation, then as `ties` tells them apart, then as in
//! the history;
//! crashed calls that only read are left out, and so are objects of which nothing is known to have
//! happened: neither has anything to say.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::machine::number;
use super::object::NEVER;
use super::ties;
use super::touch::Touch;
use crate::call::Call;
use crate::model::Model;

/// Calls by object.
#[derive(Debug)]
pub(super) struct Grouping<K> {
    pub(super) keys: Vec<K>,
    /// By object: where its calls end among the members; they begin where those before it end.
    ends: Vec<usize>,
    /// Calls by their position in the history.
    pub(super) members: Vec<u32>,
    /// By object: whether some process made a call at the instant when an earlier one of it returned.
    coarse: Vec<bool>,
    in_order: bool,
}

/// No object: the call says nothing.
const SILENT: u32 = u32::MAX;

impl<K: Clone + Eq + std::hash::Hash> Grouping<K> {
    /// Groups a history. The error says why it is none.
    pub(super) fn new<M: Model<Key = K>>(
        calls: &[Call<M::Input, M::Output>],
        model: &M,
    ) -> Result<Self, String> {
        let mut objects: HashMap<K, u32, FxBuildHasher> = HashMap::default();
        let mut last = LastReturns::default();
        let mut grouping = Self {
            keys: Vec::new(),
            ends: Vec::new(),
            members: Vec::new(),
            coarse: Vec::new(),
            in_order: true,
        };
        let mut sizes: Vec<(usize, bool)> = Vec::new();
        let mut owners = Vec::with_capacity(calls.len());
        let mut latest = 0;
        for (at, call) in calls.iter().enumerate() {
            well_formed(at, call)?;
            grouping.in_order &= latest <= call.invoked;
            latest = call.invoked;
            if call.returned.is_none() && model.read_only(&call.input) {
                owners.push(SILENT);
                continue;
            }
            let key = model.key(&call.input);
            let object = match objects.get(&key) {
                Some(object) => *object,
                None => {
                    let object = number(grouping.keys.len());
                    objects.insert(key.clone(), object);
                    grouping.keys.push(key);
                    sizes.push((0, false));
                    grouping.coarse.push(false);
                    object
                }
            };
            let size = &mut sizes[object as usize];
            *size = (size.0 + 1, size.1 || call.returned.is_some());
            owners.push(object);
            grouping.coarse[object as usize] |= last.note(call, object);
        }
        grouping.place(&owners, &sizes);
        if !grouping.in_order {
            grouping.sort(calls);
        }
        grouping.sort_instants(calls);
        Ok(grouping)
    }

    fn place(&mut self, owners: &[u32], sizes: &[(usize, bool)]) {
        let mut begins = Vec::with_capacity(sizes.len());
        let mut total = 0;
        for (size, speaks) in sizes {
            begins.push(total);
            total += if *speaks { *size } else { 0 };
            self.ends.push(total);
        }
        self.members.resize(total, 0);
        for (call, owner) in (0_u32..).zip(owners) {
            if *owner == SILENT || !sizes[*owner as usize].1 {
                continue;
            }
            let place = &mut begins[*owner as usize];
            self.members[*place] = call;
            *place += 1;
        }
    }

    /// Puts the calls of each object by invocation, where the history was not.
    fn sort<I, O>(&mut self, calls: &[Call<I, O>]) {
        let mut begin = 0;
        for end in &self.ends {
            self.members[begin..*end].sort_by_key(|call| (calls[*call as usize].invoked, *call));
            begin = *end;
        }
    }

    /// Puts the calls of one instant, where times do not say all, as [`ties`] tells them apart.
    fn sort_instants<I, O>(&mut self, calls: &[Call<I, O>]) {
        for object in (0..self.keys.len()).filter(|object| self.coarse[*object]) {
            let range = self.range(object);
            let members = &mut self.members[range];
            let ranks = ties::rank(&times(calls, members));
            let mut ranked: Vec<(u64, u32)> =
                ranks.spans.iter().map(|span| span.0).zip(members.iter().copied()).collect();
            ranked.sort_by_key(|(rank, _)| *rank);
            members.iter_mut().zip(ranked).for_each(|(member, (_, call))| *member = call);
        }
    }

    /// The objects that have something to say.
    pub(super) fn objects(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.keys.len()).filter(|object| !self.range(*object).is_empty())
    }

    /// Whether times do not say all that is known of an object's order.
    pub(super) fn is_coarse(&self, object: usize) -> bool {
        self.coarse[object]
    }

    /// Where an object's calls stand among the members.
    pub(super) fn range(&self, object: usize) -> std::ops::Range<usize> {
        let begin = object.checked_sub(1).map_or(0, |before| self.ends[before]);
        begin..self.ends[object]
    }

    /// The calls of an object.
    pub(super) fn members(&self, object: usize) -> &[u32] {
        &self.members[self.range(object)]
    }
}

/// The touches of a history by object; `None` if its states are more than a value.
pub(super) fn touches<M: Model>(
    calls: &[Call<M::Input, M::Output>],
    model: &M,
    grouping: &Grouping<M::Key>,
) -> Option<Vec<Touch>> {
    // By call: its place among the members. Calls are then read front to back, and touches written to
    // as many places at once as there are objects, rather than the other way around.
    let mut places = vec![u32::MAX; calls.len()];
    for (place, call) in (0_u32..).zip(&grouping.members) {
        places[*call as usize] = place;
    }
    let mut touches = vec![Touch::NOTHING; grouping.members.len()];
    for (call, place) in calls.iter().zip(places).filter(|(_, place)| *place != u32::MAX) {
        let effect = model.effect(&call.input, call.answer())?;
        if let Some(touch) = Touch::new(effect, call.invoked, call.returned) {
            touches[place as usize] = touch;
        }
    }
    Some(touches)
}

/// Whether there can be such a call; the error says why not.
fn well_formed<I, O>(at: usize, call: &Call<I, O>) -> Result<(), String> {
    let Call { process, invoked, returned, .. } = *call;
    if returned.is_some_and(|returned| returned < invoked) {
        return Err(format!("call {at} of process {process} returned before it was invoked"));
    }
    if invoked >= u64::MAX - 1 || returned.is_some_and(|returned| returned >= u64::MAX - 1) {
        return Err(format!("call {at} of process {process} has no time"));
    }
    Ok(())
}

/// Process, invocation and return of each of these calls, for [`ties::rank`].
pub(super) fn times<I, O>(calls: &[Call<I, O>], members: &[u32]) -> Vec<(u64, u64, u64)> {
    let call = |at: &u32| &calls[*at as usize];
    let time = |call: &Call<I, O>| (call.process, call.invoked, call.returned.unwrap_or(NEVER));
    members.iter().map(call).map(time).collect()
}

/// The last call of a process that returned.
#[derive(Clone, Copy)]
struct Last {
    returned: u64,
    object: u32,
    /// Whether it took no time, and began at the instant when the one before it returned.
    within: bool,
}

/// By process: its last call that returned. Most process ids are small.
#[derive(Default)]
struct LastReturns {
    small: Vec<Option<Last>>,
    large: HashMap<u64, Last, FxBuildHasher>,
}

/// Process ids below this one have a place of their own.
const SMALL_MAX: u64 = 1 << 16;

impl LastReturns {
    /// Notes a call; whether its process may have ended another one of the object at the instant when
    /// it began.
    fn note<I, O>(&mut self, call: &Call<I, O>, object: u32) -> bool {
        let before = self.get(call.process).filter(|last| last.returned == call.invoked);
        if let Some(returned) = call.returned {
            let within = before.is_some() && returned == call.invoked;
            self.insert(call.process, Last { returned, object, within });
        }
        before.is_some_and(|last| last.object == object || last.within)
    }

    fn get(&self, process: u64) -> Option<Last> {
        match usize::try_from(process) {
            Ok(at) if process < SMALL_MAX => self.small.get(at).copied().flatten(),
            _ => self.large.get(&process).copied(),
        }
    }

    fn insert(&mut self, process: u64, last: Last) {
        let at = match usize::try_from(process) {
            Ok(at) if process < SMALL_MAX => at,
            _ => {
                self.large.insert(process, last);
                return;
            }
        };
        if self.small.len() <= at {
            self.small.resize(at + 1, None);
        }
        self.small[at] = Some(last);
    }
}
