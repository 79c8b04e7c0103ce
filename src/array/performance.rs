//! A core's performance counters: cycles from one event of the core to another.

use crate::abi::array::{CORE_COUNTERS, core_event, counter_control as control};
use crate::cert::fabric::Cycles;

const COUNTERS: usize = CORE_COUNTERS as usize;

#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    value: u32,
    /// When it began to run, if it runs.
    since: Option<Cycles>,
}

/// The counters of one core.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    control: [u32; COUNTERS / 2],
    counters: [Counter; COUNTERS],
}

impl Counters {
    pub fn control(&self, word: usize) -> u32 {
        self.control[word]
    }

    /// Sets the events of two counters, which stop and keep their values.
    pub fn set_control(&mut self, word: usize, value: u32) {
        self.control[word] = value;
        for counter in &mut self.counters[2 * word..2 * word + 2] {
            counter.since = None;
        }
    }

    pub fn value(&self, counter: usize, at: Cycles) -> u32 {
        let Counter { value, since } = self.counters[counter];
        value.wrapping_add(since.map_or(0, |since| at.saturating_sub(since) as u32))
    }

    pub fn set_value(&mut self, counter: usize, value: u32, at: Cycles) {
        let since = self.counters[counter].since.map(|_| at);
        self.counters[counter] = Counter { value, since };
    }

    /// An event of the core at `at`: counters that it starts or stops do so.
    pub fn event(&mut self, event: u32, at: Cycles) {
        for index in 0..COUNTERS {
            let words = &self.control[index / 2..];
            if words[0] == 0 {
                continue;
            }
            let (start, stop) = if index % 2 == 0 {
                (control::START.get(words), control::STOP.get(words))
            } else {
                (control::SECOND_START.get(words), control::SECOND_STOP.get(words))
            };
            // One event for both: it is counted for as long as it holds, which is a cycle for an instruction's.
            let stop = match (start == stop, start) {
                (true, core_event::ACTIVE) => core_event::DISABLED,
                _ => stop,
            };
            let running = self.counters[index].since.is_some();
            if running && event == stop {
                self.counters[index] = Counter {
                    value: self.value(index, at),
                    since: None,
                };
            } else if !running && event == start && event == stop {
                self.counters[index].value = self.counters[index].value.wrapping_add(1);
            } else if !running && event == start {
                self.counters[index].since = Some(at);
            }
        }
    }
}
