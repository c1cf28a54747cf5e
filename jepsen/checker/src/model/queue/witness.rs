//! An order of a queue's calls, built where no pattern of [`super::aspects`] forbids one.
//!
//! In go the elements, each with the moments between which its enqueue and its dequeue can take
//! effect, and for every dequeue that found nothing a moment at which no element was surely there.
//! Out comes an order. That it can always be built proves the theorem:
//!
//! 1. An element is *free* at an empty moment p if its dequeue may have begun and its enqueue not
//!    ended by p: both go to p itself, behind the dequeues that found nothing, and disturb nobody.
//!    Any other element lies, as a whole, before p or after it, since at p it was not surely there.
//!    So the empty moments cut the history into stretches: a call of one can take effect before the
//!    moment at which the stretch ends, and precedes no call of the stretches before.
//! 2. In a stretch, a comes before b if e(a) -> e(b) or d(a) -> d(b). Each of the two relations is an
//!    interval order, so if e(a) -> e(b) and e(c) -> e(d), also e(a) -> e(d) or e(c) -> e(b). A
//!    shortest cycle through both would thus be one of two elements, which is the pattern
//!    *overtaken*. So the elements can be sorted by both.
//! 3. Enqueues and dequeues, each in that order, take effect as early as they can. A dequeue waits for
//!    its enqueue and for the dequeues before it, all of which begin before its own end.
//!
//! Invariants:
//! - an enqueue cannot take effect after its dequeue ends, nor a dequeue before its enqueue begins:
//!   whoever makes an [`Element`] cuts its moments so. Then d(a) -> e(b) implies e(a) -> e(b), which
//!   is why the sort need not look at it.
//!
//! Complexity: O(n log n).

/// The end of a dequeue that may have happened at any time.
pub(super) const TAKEN_BY_CRASHED: u64 = u64::MAX - 1;

/// The moments of the dequeue of an element that stays: after all others.
pub(super) const UNTAKEN: u64 = u64::MAX;

/// An element of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// The call that enqueued it.
    pub(super) enqueue: u32,
    /// The call that dequeued it, if any did.
    pub(super) dequeue: Option<u32>,
    /// The first and the last moment at which it can have been enqueued.
    pub(super) enqueued: (u64, u64),
    /// The first and the last moment at which it can have been dequeued.
    pub(super) dequeued: (u64, u64),
    /// Its place among the elements that no known dequeue has, if it is one.
    pub(super) untaken: Option<usize>,
}

/// The order; `empty` has the dequeues that found nothing, each with its moment.
pub(super) fn order(elements: Vec<Element>, mut empty: Vec<(u64, u32)>) -> Vec<u32> {
    empty.sort_unstable();
    let mut moments: Vec<u64> = empty.iter().map(|(moment, _)| *moment).collect();
    moments.dedup();
    let mut stretches: Vec<Vec<Element>> = vec![Vec::new(); moments.len() + 1];
    let mut free: Vec<Vec<Element>> = vec![Vec::new(); moments.len()];
    for element in elements {
        let at = moments.partition_point(|moment| *moment < element.dequeued.0);
        let free_then = moments.get(at).is_some_and(|moment| *moment <= element.enqueued.1);
        if free_then {
            free[at].push(element);
            continue;
        }
        stretches[at].push(element);
    }
    let mut order = Vec::new();
    let mut empty = empty.into_iter().peekable();
    for (at, stretch) in stretches.iter().enumerate() {
        merge(&sort(stretch), &mut order);
        let Some(moment) = moments.get(at) else { continue };
        while let Some((_, call)) = empty.next_if(|(same, _)| same == moment) {
            order.push(call);
        }
        for element in &free[at] {
            order.extend([Some(element.enqueue), element.dequeue].into_iter().flatten());
        }
    }
    order
}

/// Calls of one sort, as intervals: which elements' calls may come next.
struct Front {
    /// Elements by the start of their call, and how many of them may come next or came.
    starts: Vec<(u64, usize)>,
    begun: usize,
    /// Elements by the end of their call, and how many of them, at least, came.
    ends: Vec<(u64, usize)>,
    ended: usize,
}

impl Front {
    fn of(intervals: impl Iterator<Item = (u64, u64)>) -> Self {
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for (element, (start, end)) in intervals.enumerate() {
            starts.push((start, element));
            ends.push((end, element));
        }
        starts.sort_unstable();
        ends.sort_unstable();
        Self { starts, begun: 0, ends, ended: 0 }
    }

    /// The next element of which no other's call, among those that did not come, precedes its own.
    fn next(&mut self, came: &[bool]) -> Option<usize> {
        while self.ends.get(self.ended).is_some_and(|(_, element)| came[*element]) {
            self.ended += 1;
        }
        let (end, _) = self.ends.get(self.ended)?;
        let (_, element) = self.starts.get(self.begun).filter(|(start, _)| start <= end)?;
        self.begun += 1;
        Some(*element)
    }
}

/// The elements so that each comes before those that it precedes by its enqueue or by its dequeue.
fn sort(elements: &[Element]) -> Vec<Element> {
    let mut enqueues = Front::of(elements.iter().map(|element| element.enqueued));
    let mut dequeues = Front::of(elements.iter().map(|element| element.dequeued));
    let mut came = vec![false; elements.len()];
    // How many of its two calls may come next.
    let mut may = vec![0; elements.len()];
    let mut ready = Vec::new();
    let mut sorted = Vec::with_capacity(elements.len());
    while sorted.len() < elements.len() {
        for front in [&mut enqueues, &mut dequeues] {
            while let Some(element) = front.next(&came) {
                may[element] += 1;
                if may[element] == 2 {
                    ready.push(element);
                }
            }
        }
        let element = ready.pop().expect("an element that overtakes none of the others");
        came[element] = true;
        sorted.push(elements[element]);
    }
    sorted
}

/// Enqueues and dequeues in the order of their elements, each as early as it can be.
fn merge(sorted: &[Element], order: &mut Vec<u32>) {
    let mut enqueued = 0;
    let enqueues = sorted.iter().map(|element| {
        enqueued = element.enqueued.0.max(enqueued);
        (enqueued, element.enqueue)
    });
    let enqueues: Vec<(u64, u32)> = enqueues.collect();
    let mut waiting = enqueues.iter().peekable();
    let mut dequeued = 0;
    for (element, (enqueued, _)) in sorted.iter().zip(&enqueues) {
        // Those that stay come last, so no dequeue follows.
        let Some(dequeue) = element.dequeue else { break };
        dequeued = element.dequeued.0.max(*enqueued).max(dequeued);
        while let Some((_, enqueue)) = waiting.next_if(|(moment, _)| *moment <= dequeued) {
            order.push(*enqueue);
        }
        order.push(dequeue);
    }
    order.extend(waiting.map(|(_, enqueue)| *enqueue));
}
