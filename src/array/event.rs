//! The event queue: what happens next, in simulated time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::cert::fabric::Cycles;

/// Something that happens to one entity (a DMA channel, a core, or the array itself).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub time: Cycles,
    /// Order of scheduling; decides between events of the same time, so runs repeat exactly.
    pub sequence: u64,
    pub entity: u16,
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives its greatest element first, and the earliest event is wanted.
        (other.time, other.sequence).cmp(&(self.time, self.sequence))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Events by time. An event is cancelled by its entity forgetting the sequence number it was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Event>,
    sequence: u64,
}

impl Queue {
    /// Schedules an event and returns its sequence number, which is never zero.
    #[inline]
    pub fn push(&mut self, time: Cycles, entity: u16) -> u64 {
        self.sequence += 1;
        self.heap.push(Event {
            time,
            sequence: self.sequence,
            entity,
        });
        self.sequence
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Event> {
        self.heap.pop()
    }

    #[inline]
    pub fn next(&self) -> Option<Cycles> {
        self.heap.peek().map(|event| event.time)
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;

    #[test]
    fn earliest_first_then_in_order_of_scheduling() {
        let mut queue = Queue::default();
        for (time, entity) in [(30, 1), (10, 2), (30, 3), (10, 4), (20, 5)] {
            queue.push(time, entity);
        }
        assert_eq!(queue.next(), Some(10));
        let order: Vec<u16> = std::iter::from_fn(|| queue.pop()).map(|event| event.entity).collect();
        assert_eq!(order, [2, 4, 5, 1, 3]);
    }
}
