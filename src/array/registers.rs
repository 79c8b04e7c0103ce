//! Register reads and writes: what control code can do to the array.

use crate::abi::array as abi;
use crate::cert::fabric::{ArrayFault, Cycles, Fabric, RegisterFault};
use crate::memory::HostMemory;

use super::address::{Register, decode};
use super::channel::{Channel, Direction};
use super::tile::{BD_WORDS, GRID_ROWS, Kind, row_to_grid};
use super::{Array, REROUTE};

const OFFSET_MASK: u32 = (1 << abi::ROW_SHIFT) - 1;
const ROW_MASK: u32 = (1 << (abi::COLUMN_SHIFT - abi::ROW_SHIFT)) - 1;

/// Appends the channels of a tile, S2MM first.
pub(super) fn add_channels(channels: &mut Vec<Channel>, kind: Kind, tile: u16) {
    let counts = [(Direction::S2mm, kind.s2mm()), (Direction::Mm2s, kind.mm2s())];
    let per_half = [abi::SHIM_S2MM_PER_HALF as u8, abi::SHIM_MM2S_PER_HALF as u8];
    for (direction, count) in counts {
        for number in 0..count {
            let first_bd = match kind {
                // Shared by the channels of a half.
                Kind::Shim => u16::from(number / per_half[direction as usize]) * abi::SHIM_BDS as u16,
                // Each channel has its own.
                Kind::Mem => {
                    let before = if direction == Direction::S2mm { 0 } else { kind.s2mm() };
                    u16::from(before + number) * abi::MEM_BDS_PER_CHANNEL as u16
                }
                Kind::Core => 0,
            };
            channels.push(Channel::new(tile, direction, number, kind == Kind::Shim, first_bd));
        }
    }
}

impl Array {
    /// The tile and register that an address names.
    fn locate(&self, address: u32) -> Result<(usize, Register), RegisterFault> {
        let fault = |reason| RegisterFault { address, reason };
        if !address.is_multiple_of(4) {
            return Err(fault("the address is not a multiple of 4"));
        }
        let column = address >> abi::COLUMN_SHIFT;
        if column >= self.columns {
            return Err(fault("the column is not in the partition"));
        }
        let Some(grid) = row_to_grid(address >> abi::ROW_SHIFT & ROW_MASK) else {
            return Err(fault("no tile has this row; rows are 0 (shim), 1 (mem) and 6 to 9 (core)"));
        };
        let tile = column as usize * GRID_ROWS + grid;
        let register = decode(self.tiles[tile].kind, address & OFFSET_MASK);
        register
            .map(|register| (tile, register))
            .ok_or(fault("the tile has no register or memory at this offset"))
    }

    fn channel_index(&self, tile: usize, channel: u8) -> usize {
        usize::from(self.tiles[tile].first_channel) + usize::from(channel)
    }

    fn load(&mut self, at: Cycles, tile: usize, register: Register) -> u32 {
        let place = &mut self.tiles[tile];
        match register {
            Register::Data(offset) => place.memory.word(offset as usize),
            Register::Program(offset) => place.program.word(offset as usize),
            Register::Bd { bd, word } => place.bds[usize::from(bd)][usize::from(word)],
            Register::LockValue(lock) => i32::from(place.locks[usize::from(lock)].value()) as u32,
            Register::LockRequest { lock, acquire, value } => self.request(at, tile, lock, acquire, value),
            Register::Master(port) => place.switch.masters[usize::from(port)],
            Register::Slave(port) => place.switch.slaves[usize::from(port)],
            Register::Slot(slot) => place.switch.slots[usize::from(slot)],
            Register::Kept(word) => place.switch.kept[usize::from(word)],
            Register::ChannelControl(channel) => self.channels[self.channel_index(tile, channel)].control,
            Register::ChannelStart(channel) => self.channels[self.channel_index(tile, channel)].start,
            Register::ChannelStatus(channel) => self.channels[self.channel_index(tile, channel)].status(),
            Register::CoreControl
            | Register::CoreStatus
            | Register::CorePc
            | Register::CoreFault
            | Register::CounterControl(_)
            | Register::Counter(_) => {
                let core = place.core.and_then(|core| self.cores.get(usize::from(core)));
                core.map_or(0, |core| match register {
                    Register::CounterControl(word) => core.counters.control(usize::from(word)),
                    Register::Counter(counter) => core.counters.value(usize::from(counter), at),
                    Register::CoreControl => core.control,
                    Register::CoreStatus => core.status(),
                    Register::CorePc => core.pc,
                    _ => core.fault,
                })
            }
        }
    }

    /// A lock request never waits; bit 0 of the answer tells whether it was met.
    fn request(&mut self, at: Cycles, tile: usize, lock: u8, acquire: bool, value: i8) -> u32 {
        let counter = &mut self.tiles[tile].locks[usize::from(lock)];
        let met = if acquire {
            counter.acquire(value)
        } else {
            counter.release(value).is_ok()
        };
        if met && let Err(fault) = self.admit(at, tile, u16::from(lock)) {
            self.fail_later(at, fault);
        }
        u32::from(met)
    }

    fn store(&mut self, at: Cycles, tile: usize, register: Register, value: u32) -> Result<(), &'static str> {
        let place = &mut self.tiles[tile];
        let mut outcome = Ok(());
        match register {
            Register::Data(offset) => put(place.memory.bytes_mut(), offset, &[value]),
            Register::Program(offset) => put(place.program.bytes_mut(), offset, &[value]),
            Register::Bd { bd, word } => place.bds[usize::from(bd)][usize::from(word)] = value,
            Register::LockValue(lock) => {
                if place.locks[usize::from(lock)].set(value as i32).is_err() {
                    return Err("the lock value is outside -64..63");
                }
                outcome = self.admit(at, tile, u16::from(lock));
            }
            Register::LockRequest { .. } => return Err("locks are requested by reading this register"),
            Register::Master(port) => {
                place.switch.masters[usize::from(port)] = value;
                self.switches_changed(at);
            }
            Register::Slave(port) => {
                place.switch.slaves[usize::from(port)] = value;
                self.switches_changed(at);
            }
            Register::Slot(slot) => {
                place.switch.slots[usize::from(slot)] = value;
                self.switches_changed(at);
            }
            Register::Kept(word) => place.switch.kept[usize::from(word)] = value,
            Register::ChannelControl(channel) => {
                let index = self.channel_index(tile, channel);
                outcome = self.control_channel(at, index, value);
            }
            Register::ChannelStart(channel) => {
                let index = self.channel_index(tile, channel);
                self.start_task(at, index, value);
            }
            Register::ChannelStatus(channel) => {
                let index = self.channel_index(tile, channel);
                // Error bits are cleared by writing 1 to them.
                self.channels[index].errors &= !value;
            }
            Register::CoreControl => {
                if let Some(core) = place.core {
                    self.control_core(at, usize::from(core), value);
                }
            }
            Register::CounterControl(word) => {
                if let Some(core) = place.core {
                    self.cores[usize::from(core)].counters.set_control(usize::from(word), value);
                }
            }
            Register::Counter(counter) => {
                if let Some(core) = place.core {
                    self.cores[usize::from(core)]
                        .counters
                        .set_value(usize::from(counter), value, at);
                }
            }
            Register::CoreStatus | Register::CorePc | Register::CoreFault => return Err("the register can only be read"),
        }
        if let Err(fault) = outcome {
            self.fail_later(at, fault);
        }
        Ok(())
    }

    fn switches_changed(&mut self, at: Cycles) {
        self.routes.forget();
        if !self.reroute_pending {
            self.reroute_pending = true;
            self.events.push(at, REROUTE);
        }
    }
}

/// Stores words at a byte offset.
fn put(bytes: &mut [u8], offset: u32, words: &[u32]) {
    let offset = offset as usize;
    for (bytes, word) in bytes[offset..offset + words.len() * 4].chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

/// Words from a byte offset on.
fn get(bytes: &[u8], offset: u32, words: &mut [u32]) {
    let offset = offset as usize;
    for (bytes, word) in bytes[offset..offset + words.len() * 4].chunks_exact(4).zip(words) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
}

/// Address of the word `index` words above `address`.
fn above(address: u32, index: usize) -> Result<u32, RegisterFault> {
    let offset = u32::try_from(index).ok().and_then(|index| index.checked_mul(4));
    let end = offset.and_then(|offset| address.checked_add(offset));
    end.ok_or(RegisterFault {
        address,
        reason: "the block passes the end of the address space",
    })
}

/// How many words from `register` on lie in the same memory or BD; 1 for single registers.
fn span(kind: Kind, register: Register, left: usize) -> usize {
    let room = match register {
        Register::Data(offset) => match kind {
            Kind::Mem => (abi::MEM_DATA_SIZE - offset) / 4,
            _ => (abi::CORE_DATA_SIZE - offset) / 4,
        },
        Register::Program(offset) => (abi::CORE_PROGRAM_SIZE - offset) / 4,
        Register::Bd { word, .. } => match kind {
            Kind::Core => abi::CORE_BD_STRIDE / 4 - u32::from(word),
            _ => BD_WORDS as u32 - u32::from(word),
        },
        _ => 1,
    };
    left.min(room as usize)
}

impl Fabric for Array {
    fn read(&mut self, at: Cycles, address: u32) -> Result<u32, RegisterFault> {
        let (tile, register) = self.locate(address)?;
        Ok(self.load(at.max(self.now), tile, register))
    }

    fn write(&mut self, at: Cycles, address: u32, value: u32) -> Result<(), RegisterFault> {
        let (tile, register) = self.locate(address)?;
        let stored = self.store(at.max(self.now), tile, register, value);
        stored.map_err(|reason| RegisterFault { address, reason })
    }

    fn write_block(&mut self, at: Cycles, address: u32, words: &[u32]) -> Result<(), RegisterFault> {
        let mut done = 0;
        while done < words.len() {
            let address = above(address, done)?;
            let (tile, register) = self.locate(address)?;
            let place = &mut self.tiles[tile];
            let count = span(place.kind, register, words.len() - done);
            let part = &words[done..done + count];
            match register {
                Register::Data(offset) => put(place.memory.bytes_mut(), offset, part),
                Register::Program(offset) => put(place.program.bytes_mut(), offset, part),
                Register::Bd { bd, word } => {
                    place.bds[usize::from(bd)][usize::from(word)..usize::from(word) + count].copy_from_slice(part);
                }
                _ => {
                    let stored = self.store(at.max(self.now), tile, register, part[0]);
                    stored.map_err(|reason| RegisterFault { address, reason })?;
                }
            }
            done += count;
        }
        Ok(())
    }

    fn read_block(&mut self, at: Cycles, address: u32, words: &mut [u32]) -> Result<(), RegisterFault> {
        let mut done = 0;
        while done < words.len() {
            let address = above(address, done)?;
            let (tile, register) = self.locate(address)?;
            let place = &self.tiles[tile];
            let count = span(place.kind, register, words.len() - done);
            let part = &mut words[done..done + count];
            match register {
                Register::Data(offset) => get(place.memory.bytes(), offset, part),
                Register::Program(offset) => get(place.program.bytes(), offset, part),
                Register::Bd { bd, word } => {
                    part.copy_from_slice(&place.bds[usize::from(bd)][usize::from(word)..usize::from(word) + count]);
                }
                _ => part[0] = self.load(at.max(self.now), tile, register),
            }
            done += count;
        }
        Ok(())
    }

    fn take_tokens(&mut self, tile: u16, actor: u8, count: u32) -> Option<Cycles> {
        let column = u32::from(tile) >> (abi::COLUMN_SHIFT - abi::ROW_SHIFT);
        let grid = row_to_grid(u32::from(tile) & ROW_MASK).filter(|_| column < self.columns)?;
        let tile = column as usize * GRID_ROWS + grid;
        let channel = actor_channel(self.tiles[tile].kind, actor)?;
        let index = self.channel_index(tile, channel);
        let tokens = &mut self.channels[index].tokens;
        let count = count as usize;
        if count == 0 {
            return Some(0);
        }
        let last = *tokens.get(count - 1)?;
        tokens.drain(..count);
        Some(last)
    }

    fn next_event(&self) -> Option<Cycles> {
        self.events.next()
    }

    fn step(&mut self, host: &dyn HostMemory) -> Result<(), ArrayFault> {
        self.process(host)
    }

    fn tokens_arrived(&self) -> Option<u64> {
        Some(self.tokens)
    }

    fn hand_over(&mut self) {
        self.renew();
    }

    fn blocked(&self) -> String {
        Array::blocked(self).join("; ")
    }
}

/// The channel (S2MM first) whose tokens carry this actor id.
fn actor_channel(kind: Kind, actor: u8) -> Option<u8> {
    let (s2mm, mm2s): (&[u32], &[u32]) = match kind {
        Kind::Shim => (&abi::SHIM_ACTOR_S2MM, &abi::SHIM_ACTOR_MM2S),
        Kind::Mem => (&abi::MEM_ACTOR_S2MM, &abi::MEM_ACTOR_MM2S),
        Kind::Core => (&abi::CORE_ACTOR_S2MM, &abi::CORE_ACTOR_MM2S),
    };
    let position = s2mm.iter().chain(mm2s).position(|&id| id == u32::from(actor));
    position.map(|index| index as u8)
}
