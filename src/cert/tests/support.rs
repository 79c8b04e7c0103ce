//! A fabric that only remembers, host memory in a vector, and control code put together by hand.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::cert::fabric::{ArrayFault, Cycles, Fabric, RegisterFault};
use crate::cert::{ContextFault, ExecBuf, Machine, Progress};
use crate::memory::{HostMemory, MemoryFault, MemoryFaultKind};

/// Addresses from here on do not exist.
pub const NOWHERE: u32 = 0xF000_0000;
/// Writing n here makes a token of tile 0x40, actor 6 arrive n cycles later.
pub const TOKEN_AFTER: u32 = 0x0041_0000;
/// Writing n here sets the register [`FLAG`] to 1 n cycles later.
pub const FLAG_AFTER: u32 = 0x0041_0004;
pub const FLAG: u32 = 0x0041_0008;
/// A lock with value 0: reading with address bit 0x200 acquires, without releases, as AIE4's lock requests do.
pub const LOCK: u32 = 0x0042_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Token,
    Flag,
}

#[derive(Clone, Default)]
pub struct Fake {
    pub registers: BTreeMap<u32, u32>,
    pub writes: Vec<(Cycles, u32, u32)>,
    pub reads: u64,
    /// How many writes there were each time it was handed over.
    pub handed_over: Vec<usize>,
    pub lock: u32,
    tokens: Vec<Cycles>,
    arrived: u64,
    events: BinaryHeap<Reverse<(Cycles, u64, Event)>>,
    made: u64,
}

impl Fake {
    fn soon(&mut self, at: Cycles, event: Event) {
        self.made += 1;
        self.events.push(Reverse((at, self.made, event)));
    }

    pub fn values(&self) -> Vec<(u32, u32)> {
        self.writes.iter().map(|&(_, address, value)| (address, value)).collect()
    }
}

impl Fabric for Fake {
    fn read(&mut self, _at: Cycles, address: u32) -> Result<u32, RegisterFault> {
        self.reads += 1;
        match address {
            NOWHERE.. => Err(RegisterFault {
                address,
                reason: "no such register",
            }),
            a if a & !0x200 == LOCK && a & 0x200 != 0 => {
                let granted = self.lock > 0;
                self.lock -= u32::from(granted);
                Ok(u32::from(granted))
            }
            LOCK => {
                self.lock += 1;
                Ok(1)
            }
            _ => Ok(self.registers.get(&address).copied().unwrap_or(0)),
        }
    }

    fn write(&mut self, at: Cycles, address: u32, value: u32) -> Result<(), RegisterFault> {
        match address {
            NOWHERE.. => {
                return Err(RegisterFault {
                    address,
                    reason: "no such register",
                });
            }
            TOKEN_AFTER => self.soon(at + Cycles::from(value), Event::Token),
            FLAG_AFTER => self.soon(at + Cycles::from(value), Event::Flag),
            _ => {}
        }
        self.writes.push((at, address, value));
        self.registers.insert(address, value);
        Ok(())
    }

    fn write_block(&mut self, at: Cycles, address: u32, words: &[u32]) -> Result<(), RegisterFault> {
        for (index, &word) in words.iter().enumerate() {
            self.write(at, address.wrapping_add(4 * index as u32), word)?;
        }
        Ok(())
    }

    fn read_block(&mut self, at: Cycles, address: u32, words: &mut [u32]) -> Result<(), RegisterFault> {
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.read(at, address.wrapping_add(4 * index as u32))?;
        }
        Ok(())
    }

    fn hand_over(&mut self) {
        self.handed_over.push(self.writes.len());
    }

    fn take_tokens(&mut self, tile: u16, actor: u8, count: u32) -> Option<Cycles> {
        let count = count as usize;
        if (tile, actor) != (0x40, 6) || self.tokens.len() < count {
            return None;
        }
        self.tokens.drain(..count).next_back()
    }

    fn next_event(&self) -> Option<Cycles> {
        self.events.peek().map(|Reverse((at, _, _))| *at)
    }

    fn step(&mut self, _host: &dyn HostMemory) -> Result<(), ArrayFault> {
        if let Some(Reverse((at, _, event))) = self.events.pop() {
            match event {
                Event::Token => {
                    self.tokens.push(at);
                    self.arrived += 1;
                }
                Event::Flag => {
                    self.registers.insert(FLAG, 1);
                }
            }
        }
        Ok(())
    }

    fn tokens_arrived(&self) -> Option<u64> {
        Some(self.arrived)
    }

    fn blocked(&self) -> String {
        String::from("nothing of note")
    }
}

/// Host memory at [`Host::BASE`].
pub struct Host(pub RefCell<Vec<u8>>);

impl Host {
    pub const BASE: u64 = 0x1_0000_0000;

    pub fn new(bytes: Vec<u8>) -> Self {
        Self(RefCell::new(bytes))
    }

    pub fn u32(&self, offset: usize) -> u32 {
        let bytes = self.0.borrow();
        u32::from_le_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
    }

    fn range(&self, address: u64, length: usize) -> Result<std::ops::Range<usize>, MemoryFault> {
        let fault = MemoryFault {
            address,
            length: length as u64,
            kind: MemoryFaultKind::Unmapped,
        };
        let start = address.checked_sub(Self::BASE).ok_or(fault)? as usize;
        let end = start.checked_add(length).ok_or(fault)?;
        if end > self.0.borrow().len() {
            Err(fault)
        } else {
            Ok(start..end)
        }
    }
}

impl HostMemory for Host {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        let range = self.range(address, out.len())?;
        out.copy_from_slice(&self.0.borrow()[range]);
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryFault> {
        let range = self.range(address, data.len())?;
        self.0.borrow_mut()[range].copy_from_slice(data);
        Ok(())
    }
}

/// A job: START_JOB or its kin, its instructions, END_JOB. Encodings as Debian's aiebu-asm writes them.
pub fn job(kind: u32, id: u32, instructions: &[&[u32]]) -> Vec<u32> {
    let body: Vec<u32> = instructions.concat();
    let mut words = vec![kind | id << 16, 4 * (body.len() as u32 + 3)];
    words.extend(body);
    words.push(0x07);
    words
}

pub const START: u32 = 0x00;
pub const DEFERRED: u32 = 0x17;
pub const CONDITIONAL: u32 = 0x1f;

pub fn write(address: u32, value: u32) -> [u32; 3] {
    [0x05, address, value]
}

/// A page: header, jobs, EOF, filler to 16 bytes, then `data`.
pub fn page(number: u16, more: bool, jobs: &[Vec<u32>], data: &[u32]) -> Vec<u8> {
    let mut words: Vec<u32> = jobs.concat();
    words.push(0xff);
    while !words.len().is_multiple_of(4) {
        words.push(0xA5A5_A5A5);
    }
    words.extend(data);
    let length = (16 + 4 * words.len()) as u16;
    let mut bytes = vec![0xff, 0xff];
    for half in [number, 0, 0, length, if more { 32 } else { 0 }, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    for word in words {
        bytes.extend(word.to_le_bytes());
    }
    bytes.resize(8192, 0);
    bytes
}

/// Where `data` of [`page`] begins for `jobs`.
pub fn data_offset(jobs: &[Vec<u32>]) -> u32 {
    let words = jobs.iter().map(Vec::len).sum::<usize>() + 1;
    (4 * words.next_multiple_of(4)) as u32
}

pub const EXEC: ExecBuf = ExecBuf {
    code: Host::BASE,
    args: 0,
    args_length: 0,
    dtrace: 0,
};

/// Runs `bytes` on uC 0 of one column until it ends.
pub fn run(bytes: Vec<u8>) -> (Machine<Fake>, Host, Progress) {
    let host = Host::new(bytes);
    let mut machine = Machine::new(Fake::default(), 1);
    machine.start(0, EXEC).expect("uC 0 exists");
    let progress = finish(&mut machine, &host);
    (machine, host, progress)
}

/// Runs a machine to its end, which has to come within a million steps.
pub fn finish(machine: &mut Machine<Fake>, host: &dyn HostMemory) -> Progress {
    let progress = machine.run(host, 1_000_000);
    assert_ne!(progress, Progress::More, "the machine does not end");
    progress
}

/// The fault of a run that must fail.
pub fn fault(bytes: Vec<u8>) -> ContextFault {
    match run(bytes).2 {
        Progress::Fault(fault) => fault,
        other => panic!("{other:?} instead of a fault"),
    }
}
