//! A DMA channel: its start queue, the buffer descriptor it works on, and its status.

use std::collections::VecDeque;

use crate::abi::array::{channel_status, start_queue};
use crate::cert::fabric::Cycles;

use super::bd::Descriptor;
use super::stream::Destination;
use super::walk::Walk;

/// Which way a channel moves data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the stream to memory.
    S2mm,
    /// From memory to the stream.
    Mm2s,
}

impl Direction {
    /// The name used in registers and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::S2mm => "S2MM",
            Self::Mm2s => "MM2S",
        }
    }
}

/// What a channel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    /// A task was started; its event is scheduled.
    Starting,
    /// In the wait list of its BD's acquire lock.
    AcquiresLock,
    /// Out of order only: the next packet's header will name the BD.
    AwaitsPacket,
    /// Its BD is set up; the other end of the stream is not.
    Ready,
    /// Words are on their way; a scheduled event ends that.
    Moving,
    /// Stopped by a fault until it is reset.
    Faulted,
}

/// No entity.
pub(super) const NOBODY: u16 = u16::MAX;

/// One DMA channel.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    /// Index of its tile in the array.
    pub tile: u16,
    pub direction: Direction,
    /// Among the channels of its direction.
    pub number: u8,
    pub host_side: bool,
    /// Index of its BD 0 among the tile's.
    pub first_bd: u16,
    pub control: u32,
    pub start: u32,
    pub state: State,
    /// The running task's start-queue word, and those behind it.
    pub task: u32,
    pub queue: VecDeque<u32>,
    pub repeats_left: u32,
    pub bd: u8,
    pub descriptor: Descriptor,
    pub walk: Walk,
    /// From when on it can move words.
    pub ready: Cycles,
    /// Nothing of the BD has been moved yet.
    pub fresh: bool,
    /// The scheduled event that counts; others with this entity are void.
    pub pending: u64,
    /// Sticky status bits.
    pub errors: u32,
    /// Arrival times of task-complete tokens nobody has taken.
    pub tokens: VecDeque<Cycles>,
    pub sender: Sender,
    pub receiver: Receiver,
    pub busy: Cycles,
    pub words: u64,
    pub tasks: u64,
    pub bds: u64,
}

/// What only an MM2S channel has.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    /// Header still to be sent before the BD's words.
    pub header: Option<u32>,
    /// The packet's id, if what it sends is a packet.
    pub packet: Option<u8>,
    /// Between a packet's first word and its last.
    pub in_packet: bool,
    /// Where the words on their way go.
    pub partners: Vec<Destination>,
    pub chunk: u32,
    pub chunk_start: Cycles,
    /// The S2MM channel in whose wait list it is.
    pub waits_for: u16,
}

/// What only an S2MM channel has.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    /// The MM2S channel whose packet it is in the middle of.
    pub owner: u16,
    /// MM2S channels that have a packet for it, longest first.
    pub waiting: Vec<u16>,
}

impl Channel {
    pub fn new(tile: u16, direction: Direction, number: u8, host_side: bool, first_bd: u16) -> Self {
        Self {
            tile,
            direction,
            number,
            host_side,
            first_bd,
            control: 0,
            start: 0,
            state: State::Idle,
            task: 0,
            queue: VecDeque::new(),
            repeats_left: 0,
            bd: 0,
            descriptor: Descriptor::default(),
            walk: Walk::default(),
            ready: 0,
            fresh: true,
            pending: 0,
            errors: 0,
            tokens: VecDeque::new(),
            sender: Sender {
                header: None,
                packet: None,
                in_packet: false,
                partners: Vec::new(),
                chunk: 0,
                chunk_start: 0,
                waits_for: NOBODY,
            },
            receiver: Receiver {
                owner: NOBODY,
                waiting: Vec::new(),
            },
            busy: 0,
            words: 0,
            tasks: 0,
            bds: 0,
        }
    }

    /// For messages: `S2MM0 BD 3`.
    pub fn part(&self) -> String {
        format!("{}{} BD {}", self.direction.name(), self.number, self.bd)
    }

    /// Whether the running task asks for a task-complete token.
    pub fn wants_token(&self) -> bool {
        start_queue::TOKEN.get(&[self.task]) != 0
    }

    /// The status register.
    pub fn status(&self) -> u32 {
        let mut word = [self.errors];
        let running = !matches!(self.state, State::Idle | State::Faulted);
        let status = match self.state {
            State::Idle | State::Faulted => 0,
            State::Starting => 1,
            _ => 2,
        };
        channel_status::STATUS.set(&mut word, status);
        channel_status::STALLED_LOCK_ACQUIRE.set(&mut word, u32::from(self.state == State::AcquiresLock));
        channel_status::STALLED_STREAM.set(&mut word, u32::from(matches!(self.state, State::Ready | State::AwaitsPacket)));
        channel_status::RUNNING.set(&mut word, u32::from(running));
        channel_status::QUEUE_SIZE.set(&mut word, self.queue.len() as u32);
        channel_status::CURRENT_BD.set(&mut word, u32::from(self.bd));
        word[0]
    }
}
