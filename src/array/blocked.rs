//! Who waits for what: the text of a timeout's error message.

use super::Array;
use super::channel::{Channel, Direction, State};
use super::core::CoreState;

/// What a lock waiter needs.
fn condition(lock: u16, value: i8, now: i8) -> String {
    if value < 0 {
        format!("lock {lock} to be at least {} (it is {now})", -i16::from(value))
    } else {
        format!("lock {lock} to be {value} (it is {now})")
    }
}

impl Array {
    fn place(&self, tile: u16) -> String {
        let tile = &self.tiles[usize::from(tile)];
        format!("tile ({}, {})", tile.column, tile.row)
    }

    /// One sentence for each channel and core that waits for a lock or for the other end of a stream.
    pub fn blocked(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for channel in &self.channels {
            let what = match channel.state {
                State::AcquiresLock => {
                    let descriptor = &channel.descriptor;
                    let lock = &self.tiles[usize::from(channel.tile)].locks[usize::from(descriptor.acquire_id)];
                    condition(descriptor.acquire_id, descriptor.acquire_value, lock.value())
                }
                State::AwaitsPacket => "a packet".to_owned(),
                State::Ready if channel.direction == Direction::S2mm => {
                    match self.channels.get(usize::from(channel.receiver.owner)) {
                        Some(owner) => format!("the rest of a packet from {} {}", self.place(owner.tile), owner.part()),
                        None => format!("{} bytes from its stream", u64::from(channel.walk.left) * 4),
                    }
                }
                State::Ready => self.why_not_sent(channel),
                _ => continue,
            };
            sentences.push(format!("{} {} waits for {what}", self.place(channel.tile), channel.part()));
        }
        for core in self.cores.iter().filter(|core| core.state == CoreState::AcquiresLock) {
            let (lock, value) = core.lock;
            let now = self.tiles[usize::from(core.tile)].locks[usize::from(lock)].value();
            sentences.push(format!(
                "{} core pc {:#x} waits for {}",
                self.place(core.tile),
                core.pc,
                condition(lock, value, now)
            ));
        }
        sentences
    }

    fn why_not_sent(&self, channel: &Channel) -> String {
        if let Some(receiver) = self.channels.get(usize::from(channel.sender.waits_for)) {
            let place = self.place(receiver.tile);
            let name = format!("{}{}", receiver.direction.name(), receiver.number);
            return match receiver.state {
                State::Idle => format!("{place} {name}, which has no task"),
                _ => format!("{place} {name}, which is busy or waits itself"),
            };
        }
        let tile = usize::from(channel.tile);
        match stream_problem(self, channel, tile) {
            Some((tile, reason)) => format!("a way to a DMA: at tile ({}, {}) {reason}", tile >> 5, tile & 31),
            None => "its destinations".to_owned(),
        }
    }
}

fn stream_problem(array: &Array, channel: &Channel, tile: usize) -> Option<(u16, String)> {
    super::stream::resolve(&array.tiles, tile, channel.number, channel.sender.packet)
        .ok()?
        .dangling
}
