//! What the tests stand on: host memory in a Vec, and helpers that write registers as control code would.

use std::cell::RefCell;

use crate::abi::Bits;
use crate::abi::array::{self as abi, core_bd, mem_bd, shim_bd, start_queue, switch_master, switch_slave};
use crate::abi::switch as ports;
use crate::array::Array;
use crate::cert::fabric::{ArrayFault, Cycles, Fabric};
use crate::memory::{HostMemory, MemoryFault, MemoryFaultKind};

/// Host memory of a few pages from address 0 on.
pub struct Host(pub RefCell<Vec<u8>>);

impl Host {
    pub fn new(size: usize) -> Self {
        Self(RefCell::new(vec![0; size]))
    }

    /// Bytes that differ from one another.
    pub fn counting(size: usize) -> Self {
        let words = (0..size as u32 / 4).flat_map(|word| (word.wrapping_mul(0x9E37_79B9) | 1).to_le_bytes());
        Self(RefCell::new(words.collect()))
    }

    pub fn bytes(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        self.0.borrow()[range].to_vec()
    }

    fn range(&self, address: u64, length: usize) -> Result<std::ops::Range<usize>, MemoryFault> {
        let size = self.0.borrow().len() as u64;
        let end = address.checked_add(length as u64).filter(|&end| end <= size);
        let fault = MemoryFault {
            address,
            length: length as u64,
            kind: MemoryFaultKind::Unmapped,
        };
        end.map(|end| address as usize..end as usize).ok_or(fault)
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

/// Register address.
pub fn at(column: u32, row: u32, offset: u32) -> u32 {
    column << abi::COLUMN_SHIFT | row << abi::ROW_SHIFT | offset
}

pub const CORE: u32 = abi::FIRST_CORE_ROW;

/// Fields of a BD by position.
pub fn words<const COUNT: usize>(fields: &[(Bits, u32)]) -> [u32; COUNT] {
    let mut words = [0; COUNT];
    for (field, value) in fields {
        field.set(&mut words, *value);
    }
    words
}

pub fn shim_words(address: u64, length: u32, more: &[(Bits, u32)]) -> [u32; 9] {
    use shim_bd as bd;
    let mut fields = vec![(bd::LENGTH, length), (bd::ADDRESS_LOW, address as u32)];
    fields.push((bd::ADDRESS_HIGH, (address >> 32) as u32));
    fields.extend_from_slice(more);
    words(&fields)
}

/// `word` counts from the start of the tile's memory.
pub fn mem_words(word: u32, length: u32, more: &[(Bits, u32)]) -> [u32; 11] {
    use mem_bd as bd;
    let mut fields = vec![(bd::LENGTH, length), (bd::ADDRESS, abi::MEM_WINDOW / 4 + word)];
    fields.extend_from_slice(more);
    words(&fields)
}

pub fn core_words(word: u32, length: u32, more: &[(Bits, u32)]) -> [u32; 6] {
    use core_bd as bd;
    let mut fields = vec![(bd::LENGTH, length), (bd::ADDRESS, word)];
    fields.extend_from_slice(more);
    words(&fields)
}

pub trait Registers {
    fn put(&mut self, address: u32, value: u32);
    fn load(&mut self, address: u32) -> u32;
    fn block(&mut self, address: u32, words: &[u32]);
    fn shim_bd(&mut self, column: u32, bd: u32, words: [u32; 9]);
    fn mem_bd(&mut self, column: u32, s2mm: bool, channel: u32, bd: u32, words: [u32; 11]);
    fn core_bd(&mut self, column: u32, row: u32, bd: u32, words: [u32; 6]);
    fn shim_start(&mut self, column: u32, s2mm: bool, channel: u32, task: u32);
    fn mem_start(&mut self, column: u32, s2mm: bool, channel: u32, task: u32);
    fn core_start(&mut self, column: u32, row: u32, s2mm: bool, channel: u32, task: u32);
    /// Connects slave port to master port in a tile's switch, circuit-switched.
    fn connect(&mut self, column: u32, row: u32, slave: u32, master: u32);
    fn lock(&mut self, column: u32, row: u32, lock: u32, value: i32);
    fn lock_value(&mut self, column: u32, row: u32, lock: u32) -> i32;
    fn run(&mut self, host: &dyn HostMemory) -> Result<Cycles, ArrayFault>;
    fn mem_bytes(&mut self, column: u32, from: u32, count: usize) -> Vec<u8>;
    fn core_data(&mut self, column: u32, row: u32, word: u32, count: usize) -> Vec<u32>;
    fn shim_words_at(&mut self, column: u32, bd: u32) -> [u32; 9];
}

/// First registers of masters, slaves, slots of a tile row.
pub fn switch(row: u32) -> (u32, u32, u32) {
    match row {
        0 => (ports::SHIM_SWITCH_MASTER, ports::SHIM_SWITCH_SLAVE, ports::SHIM_SWITCH_SLOT),
        1 => (ports::MEM_SWITCH_MASTER, ports::MEM_SWITCH_SLAVE, ports::MEM_SWITCH_SLOT),
        _ => (ports::CORE_SWITCH_MASTER, ports::CORE_SWITCH_SLAVE, ports::CORE_SWITCH_SLOT),
    }
}

/// Half and position of a port of a tile row, as an offset.
fn place(row: u32, numbers: &[u32], port: u32, stride: u32) -> u32 {
    let each = if row < CORE { numbers.len() / 2 } else { numbers.len() };
    let place = numbers.iter().position(|&number| number == port).unwrap();
    (place / each) as u32 * abi::HALF_STRIDE + (place % each) as u32 * stride
}

/// The register of a master port.
pub fn master(row: u32, port: u32) -> u32 {
    let numbers: &[u32] = match row {
        0 => &ports::SHIM_MASTER_PORTS,
        1 => &ports::MEM_MASTER_PORTS,
        _ => &ports::CORE_MASTER_PORTS,
    };
    switch(row).0 + place(row, numbers, port, 4)
}

fn slave_ports(row: u32) -> &'static [u32] {
    match row {
        0 => &ports::SHIM_SLAVE_PORTS,
        1 => &ports::MEM_SLAVE_PORTS,
        _ => &ports::CORE_SLAVE_PORTS,
    }
}

/// The register of a slave port.
pub fn slave(row: u32, port: u32) -> u32 {
    switch(row).1 + place(row, slave_ports(row), port, 4)
}

/// The register of a slot of a slave port.
pub fn slot(row: u32, port: u32, index: u32) -> u32 {
    switch(row).2 + place(row, slave_ports(row), port, 4 * abi::SWITCH_SLOTS) + 4 * index
}

fn lock_base(row: u32) -> u32 {
    if row < CORE {
        abi::SHIM_LOCK_VALUE
    } else {
        abi::CORE_LOCK_VALUE
    }
}

/// A start-queue word.
pub fn task(bd: u32, repeat: u32, token: bool) -> u32 {
    words::<1>(&[
        (start_queue::BD, bd),
        (start_queue::REPEAT, repeat),
        (start_queue::TOKEN, u32::from(token)),
    ])[0]
}

impl Registers for Array {
    fn put(&mut self, address: u32, value: u32) {
        let now = self.now();
        self.write(now, address, value).unwrap();
    }

    fn load(&mut self, address: u32) -> u32 {
        let now = self.now();
        self.read(now, address).unwrap()
    }

    fn block(&mut self, address: u32, words: &[u32]) {
        let now = self.now();
        self.write_block(now, address, words).unwrap();
    }

    fn shim_bd(&mut self, column: u32, bd: u32, words: [u32; 9]) {
        let half = bd / abi::SHIM_BDS * abi::HALF_STRIDE;
        self.block(
            at(column, 0, abi::SHIM_BD + half + bd % abi::SHIM_BDS * abi::SHIM_BD_STRIDE),
            &words,
        );
    }

    fn mem_bd(&mut self, column: u32, s2mm: bool, channel: u32, bd: u32, words: [u32; 11]) {
        let (base, per_half) = if s2mm {
            (abi::MEM_BD_S2MM, abi::MEM_S2MM_PER_HALF)
        } else {
            (abi::MEM_BD_MM2S, abi::MEM_MM2S_PER_HALF)
        };
        let offset = channel / per_half * abi::HALF_STRIDE + channel % per_half * abi::MEM_CHANNEL_BD_STRIDE;
        self.block(at(column, 1, base + offset + bd * abi::MEM_BD_STRIDE), &words);
    }

    fn core_bd(&mut self, column: u32, row: u32, bd: u32, words: [u32; 6]) {
        self.block(at(column, row, abi::CORE_BD + bd * abi::CORE_BD_STRIDE), &words);
    }

    fn shim_start(&mut self, column: u32, s2mm: bool, channel: u32, task: u32) {
        let (base, per_half) = if s2mm {
            (abi::SHIM_S2MM_START, abi::SHIM_S2MM_PER_HALF)
        } else {
            (abi::SHIM_MM2S_START, abi::SHIM_MM2S_PER_HALF)
        };
        let offset = channel / per_half * abi::HALF_STRIDE + channel % per_half * abi::SHIM_CHANNEL_STRIDE;
        self.put(at(column, 0, base + offset), task);
    }

    fn mem_start(&mut self, column: u32, s2mm: bool, channel: u32, task: u32) {
        let (base, per_half) = if s2mm {
            (abi::MEM_S2MM_START, abi::MEM_S2MM_PER_HALF)
        } else {
            (abi::MEM_MM2S_START, abi::MEM_MM2S_PER_HALF)
        };
        let offset = channel / per_half * abi::HALF_STRIDE + channel % per_half * abi::MEM_CHANNEL_STRIDE;
        self.put(at(column, 1, base + offset), task);
    }

    fn core_start(&mut self, column: u32, row: u32, s2mm: bool, channel: u32, task: u32) {
        let index = if s2mm { channel } else { abi::CORE_S2MM + channel };
        self.put(at(column, row, abi::CORE_CHANNEL_CONTROL + 8 * index + 4), task);
    }

    fn connect(&mut self, column: u32, row: u32, slave: u32, master: u32) {
        let enabled = words::<1>(&[(switch_slave::ENABLE, 1)])[0];
        self.put(at(column, row, self::slave(row, slave)), enabled);
        let selected = words::<1>(&[(switch_master::ENABLE, 1), (switch_master::SELECT, slave)])[0];
        self.put(at(column, row, self::master(row, master)), selected);
    }

    fn lock(&mut self, column: u32, row: u32, lock: u32, value: i32) {
        self.put(at(column, row, lock_base(row) + abi::LOCK_STRIDE * lock), value as u32);
    }

    fn lock_value(&mut self, column: u32, row: u32, lock: u32) -> i32 {
        self.load(at(column, row, lock_base(row) + abi::LOCK_STRIDE * lock)) as i32
    }

    fn run(&mut self, host: &dyn HostMemory) -> Result<Cycles, ArrayFault> {
        self.drain(host, Cycles::MAX)?;
        Ok(self.now())
    }

    fn mem_bytes(&mut self, column: u32, from: u32, count: usize) -> Vec<u8> {
        // The host sees only the first 32 KB; the tests look behind the register map for the rest.
        let tile = column as usize * super::super::GRID_ROWS + 1;
        self.tiles[tile].memory.bytes()[from as usize..from as usize + count].to_vec()
    }

    fn core_data(&mut self, column: u32, row: u32, word: u32, count: usize) -> Vec<u32> {
        let mut out = vec![0; count];
        let now = self.now();
        self.read_block(now, at(column, row, word * 4), &mut out).unwrap();
        out
    }

    fn shim_words_at(&mut self, column: u32, bd: u32) -> [u32; 9] {
        let half = bd / abi::SHIM_BDS * abi::HALF_STRIDE;
        let mut words = [0; 9];
        let now = self.now();
        let address = at(column, 0, abi::SHIM_BD + half + bd % abi::SHIM_BDS * abi::SHIM_BD_STRIDE);
        self.read_block(now, address, &mut words).unwrap();
        words
    }
}
