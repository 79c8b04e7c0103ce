//! A context's trace: packets, instructions of the micro-controllers, DMAs, cores and locks, in simulated nanoseconds.

use crate::array::{Array, Part, TraceEvent, What};
use crate::cert::{Cycles, Machine, TraceEntry};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Simulated nanoseconds since the context was created.
    pub time: u64,
    /// "packet", "completion", "error", "uc", "dma", "core" or "lock".
    pub kind: &'static str,
    /// What happened.
    pub text: String,
}

/// Events kept until somebody takes them.
const EVENTS_MAX: usize = 1 << 20;

/// Events that nobody has taken yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    events: Vec<Event>,
    lost: u64,
}

impl Trace {
    pub fn push(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        } else {
            self.lost += 1;
        }
    }

    /// Takes what the partition recorded; `time` turns its clock into simulated nanoseconds.
    pub fn collect(&mut self, machine: &mut Machine<Array>, time: impl Fn(Cycles) -> u64) {
        let (entries, lost) = machine.take_trace();
        self.lost += lost;
        let instructions = entries.iter().map(|entry| instruction(entry, time(entry.time)));
        let mut events: Vec<Event> = instructions.collect();
        events.extend(
            machine
                .fabric_mut()
                .take_trace()
                .iter()
                .map(|event| array_event(event, &time)),
        );
        // Both lists are in order already; a stable sort keeps equals in theirs.
        events.sort_by_key(|event| event.time);
        events.into_iter().for_each(|event| self.push(event));
    }

    pub fn take(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            let time = events.last().map_or(0, |event| event.time);
            let text = format!("{lost} events were not kept; take the trace more often");
            events.push(Event {
                time,
                kind: "error",
                text,
            });
        }
        events
    }
}

/// Starts or stops recording in a partition.
pub(super) fn set_machine_trace(machine: &mut Machine<Array>, on: bool) {
    machine.set_trace(on);
    machine.fabric_mut().set_trace(on);
}

fn instruction(entry: &TraceEntry, time: u64) -> Event {
    let TraceEntry {
        uc, page, offset, job, ..
    } = entry;
    Event {
        time,
        kind: "uc",
        text: format!("uC {uc} page {page} +{offset:#06x} job {job}: {}", entry.text()),
    }
}

fn array_event(event: &TraceEvent, time: &impl Fn(Cycles) -> u64) -> Event {
    let (kind, part) = match event.part {
        Part::Channel(direction, number) => ("dma", format!("{}{number}", direction.name())),
        Part::Core => ("core", "core".to_owned()),
        Part::Lock(number) => ("lock", format!("lock {number}")),
    };
    let what = match event.what {
        What::Moved { bd, bytes } => format!("BD {bd} moved {bytes} bytes"),
        What::TaskEnded => "task ended".to_owned(),
        What::Token => "task-complete token".to_owned(),
        What::Executed { word, opcode } => format!("word {word:#x} opcode {opcode:#04x}"),
        What::Mark(id) => format!("mark {id}"),
        What::Lock(value) => format!("is {value}"),
    };
    let (column, row) = (event.tile >> 5, event.tile & 31);
    let text = format!(
        "tile ({column}, {row}) {part}: {what}, {} cycles, {:.1} pJ",
        event.duration, event.energy
    );
    Event {
        time: time(event.time),
        kind,
        text,
    }
}
