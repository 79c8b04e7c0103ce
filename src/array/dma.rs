//! DMA channels at work: tasks, chains of buffer descriptors, locks before and after each, tokens at the end.

use crate::abi::array::{self as abi, channel_control, channel_status, start_queue, stream_packet_header};
use crate::abi::timing;
use crate::cert::fabric::{ArrayFault, Cycles};

use super::Array;
use super::bd;
use super::channel::{Channel, Direction, NOBODY, State};
use super::lock::Overflow;
use super::tile::{Kind, Tile};
use super::trace::{Part, What};
use super::walk::Walk;

/// Tokens of one channel nobody has taken; the count of WAIT_TCTS has 16 bits.
const TOKENS_MAX: usize = 0xFFFF;

impl Array {
    /// Puts a task into a channel's start queue.
    pub(super) fn start_task(&mut self, at: Cycles, index: usize, task: u32) {
        let channel = &mut self.channels[index];
        channel.start = task;
        if channel_control::RESET.get(&[channel.control]) != 0 || channel.state == State::Faulted {
            return;
        }
        if channel.state == State::Idle {
            channel.task = task;
            channel.bd = start_queue::BD.get(&[task]) as u8;
            channel.state = State::Starting;
            channel.pending = self.events.push(at, index as u16);
        } else if channel.queue.len() < abi::START_QUEUE_DEPTH as usize {
            channel.queue.push_back(task);
        } else {
            let mut word = [channel.errors];
            channel_status::QUEUE_OVERFLOW.set(&mut word, 1);
            channel.errors = word[0];
            let reason = format!(
                "a task was started while {} wait in the start queue, which holds no more: wait for tokens or status first",
                abi::START_QUEUE_DEPTH
            );
            let fault = self.channel_fault(index, reason);
            self.fail_later(at, fault);
        }
    }

    /// Writes a channel's control register; reset drops its tasks.
    pub(super) fn control_channel(&mut self, at: Cycles, index: usize, value: u32) -> Result<(), ArrayFault> {
        self.channels[index].control = value;
        if channel_control::RESET.get(&[value]) != 0 {
            self.reset_channel(at, index)
        } else {
            Ok(())
        }
    }

    fn reset_channel(&mut self, at: Cycles, index: usize) -> Result<(), ArrayFault> {
        let entity = index as u16;
        let channel = &mut self.channels[index];
        let was = channel.state;
        channel.state = State::Idle;
        channel.queue.clear();
        channel.bd = 0;
        channel.errors = 0;
        channel.pending = 0;
        channel.sender.header = None;
        channel.sender.in_packet = false;
        let owner = std::mem::replace(&mut channel.receiver.owner, NOBODY);
        if was == State::AcquiresLock {
            let (tile, lock) = (usize::from(channel.tile), usize::from(channel.descriptor.acquire_id));
            self.tiles[tile].locks[lock].forget(entity);
        }
        if self.channels[index].direction == Direction::Mm2s {
            self.stop_waiting(entity);
            return self.part(at, entity);
        }
        if owner == NOBODY {
            return Ok(());
        }
        let sender = usize::from(owner);
        if self.channels[sender].state == State::Moving {
            // Its words have not left; it offers them again, to whoever then is there.
            self.channels[sender].state = State::Ready;
            self.channels[sender].pending = 0;
            self.part(at, owner)?;
        }
        self.pair(at, sender)
    }

    /// Begins the task in `channel.task`.
    pub(super) fn begin_task(&mut self, at: Cycles, index: usize) -> Result<(), ArrayFault> {
        let channel = &mut self.channels[index];
        channel.repeats_left = start_queue::REPEAT.get(&[channel.task]);
        channel.bd = start_queue::BD.get(&[channel.task]) as u8;
        if out_of_order(channel.control) && channel.direction == Direction::S2mm {
            self.await_packet(at, index)
        } else {
            self.begin_bd(at, index)
        }
    }

    fn await_packet(&mut self, at: Cycles, index: usize) -> Result<(), ArrayFault> {
        self.channels[index].state = State::AwaitsPacket;
        self.channels[index].ready = at;
        self.offer(at, index)
    }

    /// Sets up the channel's current BD: checks it, acquires its lock, and makes it available to the stream.
    pub(super) fn begin_bd(&mut self, at: Cycles, index: usize) -> Result<(), ArrayFault> {
        let channel = &self.channels[index];
        let tile = &self.tiles[usize::from(channel.tile)];
        let words = &tile.bds[usize::from(channel.first_bd) + usize::from(channel.bd)];
        let descriptor = match bd::decode(tile.kind, words) {
            Ok(descriptor) => descriptor,
            Err(reason) => return Err(self.bd_fault(index, reason.to_owned())),
        };
        let offset = u64::from(descriptor.iteration_current) * u64::from(descriptor.iteration_step);
        let mut shape = descriptor.shape;
        if channel.direction == Direction::S2mm {
            // Padding is for sending only.
            (shape.before, shape.after) = ([0; 3], [0; 3]);
        }
        let walk = Walk::new(descriptor.base + offset, descriptor.length, &shape);
        if let Err(reason) = check(tile.kind, tile.locks.len(), &descriptor, offset, &walk) {
            return Err(self.bd_fault(index, reason));
        }
        let tile = usize::from(channel.tile);
        let channel = &mut self.channels[index];
        channel.descriptor = descriptor;
        channel.walk = walk;
        channel.fresh = true;
        channel.bds += 1;
        if channel.direction == Direction::Mm2s && !channel.sender.in_packet {
            channel.sender.packet = descriptor.packet.then_some(descriptor.packet_id);
            channel.sender.header = descriptor.packet.then(|| header(&self.tiles[tile], channel));
        }
        let mut ready = at;
        if descriptor.acquire {
            let lock = &mut self.tiles[tile].locks[usize::from(descriptor.acquire_id)];
            if !lock.acquire(descriptor.acquire_value) {
                lock.wait(index as u16, descriptor.acquire_value);
                channel.state = State::AcquiresLock;
                return Ok(());
            }
            ready += Cycles::from(timing::LOCK_CYCLES);
            self.trace_lock(at, tile, descriptor.acquire_id);
        }
        self.activate(at, index, ready)
    }

    /// Makes the channel's BD available to the stream from `ready` on.
    pub(super) fn activate(&mut self, at: Cycles, index: usize, ready: Cycles) -> Result<(), ArrayFault> {
        let channel = &mut self.channels[index];
        channel.state = State::Ready;
        channel.ready = ready;
        match channel.direction {
            Direction::Mm2s => self.pair(at, index),
            Direction::S2mm => self.offer(at, index),
        }
    }

    /// Ends the channel's BD: releases its lock and goes on with the chain, the task, or the next task.
    pub(super) fn end_bd(&mut self, at: Cycles, index: usize) -> Result<(), ArrayFault> {
        let channel = &mut self.channels[index];
        let descriptor = channel.descriptor;
        let tile = usize::from(channel.tile);
        let bd = usize::from(channel.first_bd) + usize::from(channel.bd);
        // Until it is known what comes next; a release below may look at this channel.
        channel.state = State::Starting;
        if descriptor.iteration_wrap > 1 || descriptor.iteration_current != 0 {
            let next = descriptor.iteration_current + 1;
            let next = if next >= descriptor.iteration_wrap { 0 } else { next };
            let kind = self.tiles[tile].kind;
            bd::set_iteration(kind, &mut self.tiles[tile].bds[bd], next);
        }
        if descriptor.release_value != 0 {
            let (lock, value) = (descriptor.release_id, descriptor.release_value);
            if let Err(Overflow) = self.tiles[tile].locks[usize::from(lock)].release(value) {
                let range = format!("{}..{}", abi::LOCK_MIN, abi::LOCK_MAX);
                return Err(self.bd_fault(index, format!("releasing lock {lock} by {value} takes it outside {range}")));
            }
            self.admit(at, tile, lock)?;
        }
        let channel = &mut self.channels[index];
        let ordered = channel.direction == Direction::Mm2s || !out_of_order(channel.control);
        if let Some(next) = descriptor.next.filter(|_| ordered) {
            channel.bd = next;
            return self.begin_bd(at, index);
        }
        if channel.repeats_left > 0 {
            channel.repeats_left -= 1;
            if !ordered {
                return self.await_packet(at, index);
            }
            channel.bd = start_queue::BD.get(&[channel.task]) as u8;
            return self.begin_bd(at, index);
        }
        self.end_task(at, index)
    }

    fn end_task(&mut self, at: Cycles, index: usize) -> Result<(), ArrayFault> {
        let channel = &mut self.channels[index];
        channel.tasks += 1;
        channel.state = State::Idle;
        let token = channel.wants_token();
        if token {
            if channel.tokens.len() >= TOKENS_MAX {
                let reason = format!("{TOKENS_MAX} task-complete tokens wait to be taken, which is all that can: use WAIT_TCTS");
                return Err(self.channel_fault(index, reason));
            }
            channel.tokens.push_back(at);
            self.tokens += 1;
        }
        let (tile, part) = (usize::from(channel.tile), Part::Channel(channel.direction, channel.number));
        let next = channel.queue.pop_front();
        self.record(at, tile, part, What::TaskEnded, 0, 0.0);
        if token {
            self.record(at, tile, part, What::Token, 0, 0.0);
        }
        if let Some(task) = next {
            self.channels[index].task = task;
            return self.begin_task(at, index);
        }
        Ok(())
    }

    /// Lets in those that a lock's value now allows.
    pub(super) fn admit(&mut self, at: Cycles, tile: usize, lock: u16) -> Result<(), ArrayFault> {
        self.trace_lock(at, tile, lock);
        while let Some(entity) = self.tiles[tile].locks[usize::from(lock)].admit() {
            self.trace_lock(at, tile, lock);
            let index = usize::from(entity);
            let ready = at + Cycles::from(timing::LOCK_CYCLES);
            if index < self.channels.len() {
                self.activate(at, index, ready)?;
            } else {
                self.resume_core(index - self.channels.len(), ready);
            }
        }
        Ok(())
    }

    /// A fault of a channel, which stops.
    pub(super) fn channel_fault(&mut self, index: usize, reason: String) -> ArrayFault {
        let channel = &mut self.channels[index];
        channel.state = State::Faulted;
        channel.pending = 0;
        let part = format!("{}{}", channel.direction.name(), channel.number);
        ArrayFault {
            tile: self.tiles[usize::from(channel.tile)].id(),
            part,
            reason,
        }
    }

    /// A fault of a channel's BD.
    pub(super) fn bd_fault(&mut self, index: usize, reason: String) -> ArrayFault {
        let mut word = [self.channels[index].errors];
        channel_status::ERROR_BD_INVALID.set(&mut word, 1);
        self.channels[index].errors = word[0];
        let part = self.channels[index].part();
        ArrayFault {
            part,
            ..self.channel_fault(index, reason)
        }
    }
}

/// The header word of the packet a channel is about to send.
fn header(tile: &Tile, channel: &Channel) -> u32 {
    let mut word = [0];
    stream_packet_header::ID.set(&mut word, u32::from(channel.descriptor.packet_id));
    stream_packet_header::OUT_OF_ORDER_ID.set(&mut word, u32::from(channel.descriptor.out_of_order_id));
    stream_packet_header::TYPE.set(&mut word, channel_control::PACKET_TYPE.get(&[channel.control]));
    stream_packet_header::ROW.set(&mut word, u32::from(tile.row));
    stream_packet_header::COLUMN.set(&mut word, u32::from(tile.column));
    // Odd parity over the whole word.
    let parity = u32::from(word[0].count_ones() % 2 == 0);
    stream_packet_header::PARITY.set(&mut word, parity);
    word[0]
}

pub(super) fn out_of_order(control: u32) -> bool {
    channel_control::OUT_OF_ORDER.get(&[control]) != 0
}

/// Checks what can be known of a BD before it starts.
fn check(kind: Kind, locks: usize, descriptor: &bd::Descriptor, offset: u64, walk: &Walk) -> Result<(), String> {
    if descriptor.length == 0 {
        return Err("the BD's length is 0 words; the least is 1".to_owned());
    }
    for (name, id, used) in [
        ("acquire", descriptor.acquire_id, descriptor.acquire),
        ("release", descriptor.release_id, descriptor.release_value != 0),
    ] {
        if used && usize::from(id) >= locks {
            let first = if kind == Kind::Mem { abi::MEM_LOCK_WINDOW as u16 } else { 0 };
            let last = usize::from(first) + locks - 1;
            let id = id.wrapping_add(first);
            return Err(format!("{name} lock {id}: the tile has locks {first} to {last}"));
        }
    }
    let limit = match kind {
        Kind::Shim => return Ok(()),
        Kind::Mem => u64::from(abi::MEM_TILE_SIZE / 4),
        Kind::Core => u64::from(abi::CORE_DATA_SIZE / 4),
    };
    let extent = walk.extent();
    let first = descriptor.base + offset;
    if extent > 0 && first + extent > limit {
        return Err(format!(
            "address word {:#x}, {} words: its last is word {} of the tile's memory, which has {limit} words",
            descriptor.raw_address,
            descriptor.length,
            first + extent - 1,
        ));
    }
    Ok(())
}
