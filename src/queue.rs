//! The host queue, device side: header in either layout, packets checked once, indices, completion.
//!
//! Everything here is written by a client. Each header and packet is copied once, checked, and only the copy is used.

use std::fmt;

use crate::abi::host_queue::{
    self as abi, completion_state, context_error, exec_buf, header_padded, header_unpadded, indirect_entry, indirect_payload,
    packet, packet_opcode, packet_type,
};
use crate::cert::ExecBuf;
use crate::memory::{Access, Hint, HostMemory, MemoryFault};

/// Which of the two headers in the wild a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Linux 7.2: 32 bytes, major 0.
    Unpadded,
    /// XRT 2.25: 128 bytes, major 1.
    Padded,
}

/// Byte offsets of a header's fields.
#[derive(Clone, Copy, Debug)]
pub struct Offsets {
    /// u64.
    pub read_index: usize,
    /// u16.
    pub major: usize,
    /// u32.
    pub capacity: usize,
    /// u64.
    pub write_index: usize,
    /// u64.
    pub data_address: usize,
}

impl Layout {
    /// Where the fields are.
    pub const fn offsets(self) -> Offsets {
        match self {
            Self::Unpadded => Offsets {
                read_index: header_unpadded::READ_INDEX,
                major: header_unpadded::MAJOR,
                capacity: header_unpadded::CAPACITY,
                write_index: header_unpadded::WRITE_INDEX,
                data_address: header_unpadded::DATA_ADDRESS,
            },
            Self::Padded => Offsets {
                read_index: header_padded::READ_INDEX,
                major: header_padded::MAJOR,
                capacity: header_padded::CAPACITY,
                write_index: header_padded::WRITE_INDEX,
                data_address: header_padded::DATA_ADDRESS,
            },
        }
    }
}

/// Why a queue can't be served. The next ring tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueError {
    /// Header, packet or index is out of reach.
    Memory(&'static str, MemoryFault),
    /// `version.major` names no layout.
    Version(u16),
    /// Not a power of two, or too large.
    Capacity(u32),
    /// `write_index - read_index` exceeds the capacity.
    Indices {
        /// The device's.
        read: u64,
        /// The host's.
        write: u64,
        /// Packets that the queue holds.
        capacity: u32,
    },
    /// The packets lie past the end of 64-bit addresses.
    Data(u64),
}

impl fmt::Display for QueueError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(what, fault) => write!(out, "{what}: {fault}"),
            Self::Version(major) => write!(
                out,
                "queue header version {major}: the device knows 0 (32 bytes) and 1 (128 bytes)"
            ),
            Self::Capacity(capacity) => {
                write!(
                    out,
                    "queue of {capacity} packets: the capacity is a power of two, at most {}",
                    abi::CAPACITY_MAX
                )
            }
            Self::Indices { read, write, capacity } => {
                write!(
                    out,
                    "write_index {write:#x} is not within {capacity} of read_index {read:#x}; create the context again"
                )
            }
            Self::Data(address) => write!(
                out,
                "queue data address {address:#x}: its packets pass the end of 64-bit addresses"
            ),
        }
    }
}

/// A queue that the device has looked at and serves.
#[derive(Clone, Debug)]
pub struct Queue {
    address: u64,
    layout: Layout,
    capacity: u32,
    data_address: u64,
    read_index: u64,
    mirror: bool,
}

impl Queue {
    /// Reads and checks the header at `address`. With `mirror`, write_index of a padded header also goes where Linux 7.2 looks for it.
    pub fn open(host: &dyn HostMemory, address: u64, mirror: bool) -> Result<Self, QueueError> {
        let memory = |fault| QueueError::Memory("queue header", fault);
        let mut common = [0u8; header_unpadded::SIZE];
        host.read(address, &mut common).map_err(memory)?;
        let major = u16::from_le_bytes([common[header_unpadded::MAJOR], common[header_unpadded::MAJOR + 1]]);
        let layout = match u32::from(major) {
            0 => Layout::Unpadded,
            abi::PADDED_MAJOR => Layout::Padded,
            _ => return Err(QueueError::Version(major)),
        };
        let capacity = word(&common, header_unpadded::CAPACITY);
        if !capacity.is_power_of_two() || capacity > abi::CAPACITY_MAX {
            return Err(QueueError::Capacity(capacity));
        }
        let mut data = [0u8; 8];
        host.read(address.wrapping_add(layout.offsets().data_address as u64), &mut data)
            .map_err(memory)?;
        let data_address = u64::from_le_bytes(data);
        if data_address.checked_add(u64::from(capacity) * packet::SIZE as u64).is_none() {
            return Err(QueueError::Data(data_address));
        }
        let read_index = double(&common, header_unpadded::READ_INDEX);
        Ok(Self {
            address,
            layout,
            capacity,
            data_address,
            read_index,
            mirror,
        })
    }

    /// The layout that the client chose.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Sequence number of the next packet.
    pub fn read_index(&self) -> u64 {
        self.read_index
    }

    /// How many packets wait.
    pub fn waiting(&self, host: &dyn HostMemory) -> Result<u64, QueueError> {
        let mut bytes = [0u8; 8];
        host.read(
            self.address.wrapping_add(self.layout.offsets().write_index as u64),
            &mut bytes,
        )
        .map_err(|fault| QueueError::Memory("queue write_index", fault))?;
        let write = u64::from_le_bytes(bytes);
        let waiting = write.wrapping_sub(self.read_index);
        if waiting > u64::from(self.capacity) {
            return Err(QueueError::Indices {
                read: self.read_index,
                write,
                capacity: self.capacity,
            });
        }
        Ok(waiting)
    }

    /// The lines that a ring makes the device read: write_index and the next packet.
    pub fn hints(&self, host: &Access<'_>) -> [Hint; 2] {
        let slot = self.read_index & u64::from(self.capacity - 1);
        let write_index = self.address.wrapping_add(self.layout.offsets().write_index as u64);
        [
            host.hint(write_index),
            host.hint(self.data_address + slot * packet::SIZE as u64),
        ]
    }

    /// A private copy of the next packet.
    pub fn copy_packet(&self, host: &dyn HostMemory) -> Result<[u8; packet::SIZE], QueueError> {
        let slot = self.read_index & u64::from(self.capacity - 1);
        let mut bytes = [0u8; packet::SIZE];
        host.read(self.data_address + slot * packet::SIZE as u64, &mut bytes)
            .map_err(|fault| QueueError::Memory("queue packet", fault))?;
        Ok(bytes)
    }

    /// Passes the current packet: mirrors write_index where Linux 7.2 looks for it, then writes read_index as two 32-bit words.
    pub fn advance(&mut self, host: &dyn HostMemory) -> Result<(), QueueError> {
        let memory = |fault| QueueError::Memory("queue read_index", fault);
        if self.mirror && self.layout == Layout::Padded {
            let mut bytes = [0u8; 8];
            host.read(self.address.wrapping_add(header_padded::WRITE_INDEX as u64), &mut bytes)
                .map_err(memory)?;
            host.write(self.address.wrapping_add(u64::from(abi::MIRROR_WRITE_INDEX)), &bytes)
                .map_err(memory)?;
        }
        self.read_index = self.read_index.wrapping_add(1);
        let at = self.address.wrapping_add(self.layout.offsets().read_index as u64);
        let bytes = self.read_index.to_le_bytes();
        host.write(at, &bytes[..4]).map_err(memory)?;
        host.write(at.wrapping_add(4), &bytes[4..]).map_err(memory)
    }
}

/// Code for one micro-controller.
pub type Start = (usize, ExecBuf);

/// What a packet asks for.
#[allow(
    clippy::large_enum_variant,
    reason = "kept in one piece: the path of a packet allocates nothing"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run control code.
    Exec(Starts),
    /// Answer.
    Test,
    /// End the context.
    Exit,
}

/// Up to six starts, without an allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    list: [Start; abi::INDIRECT_MAX as usize],
    count: usize,
}

impl Starts {
    /// The starts.
    pub fn as_slice(&self) -> &[Start] {
        &self.list[..self.count]
    }

    fn push(&mut self, start: Start) {
        self.list[self.count] = start;
        self.count += 1;
    }
}

/// A checked packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What to do, or why it can't be done.
    pub request: Result<Request, String>,
    /// Another packet of the chain follows.
    pub chain: bool,
    /// Address of the completion word, or 0.
    pub completion: u64,
}

impl Packet {
    /// Checks a copy of a packet; `ucs` is how many micro-controllers the partition has.
    pub fn decode(host: &dyn HostMemory, bytes: &[u8; packet::SIZE], ucs: usize) -> Self {
        let completion = double(bytes, packet::COMPLETION_SIGNAL);
        let request = if completion.is_multiple_of(4) {
            Self::request(host, bytes, ucs)
        } else {
            Err(format!("completion address {completion:#x} is not a multiple of 4"))
        };
        Self {
            request,
            chain: bytes[packet::CHAIN] == 1,
            completion,
        }
    }

    fn request(host: &dyn HostMemory, bytes: &[u8; packet::SIZE], ucs: usize) -> Result<Request, String> {
        if u32::from(bytes[packet::TYPE]) != packet_type::VENDOR {
            return Err(format!(
                "packet type {}: the device knows 0 (vendor-specific)",
                bytes[packet::TYPE]
            ));
        }
        if bytes[packet::CHAIN] > 1 || bytes[packet::DISTRIBUTE] > 1 || bytes[packet::INDIRECT] > 1 {
            return Err("chain, distribute and indirect are 0 or 1".into());
        }
        match u32::from(bytes[packet::OPCODE]) {
            packet_opcode::EXEC_BUF if bytes[packet::INDIRECT] == 0 => direct(bytes),
            packet_opcode::EXEC_BUF => indirect(host, bytes, ucs),
            packet_opcode::TEST => Ok(Request::Test),
            packet_opcode::EXIT => Ok(Request::Exit),
            other => Err(format!(
                "packet opcode {other}: the device knows 1 (EXEC_BUF), 2 (TEST) and 3 (EXIT)"
            )),
        }
    }
}

fn direct(bytes: &[u8; packet::SIZE]) -> Result<Request, String> {
    let count = half(bytes, packet::COUNT);
    if usize::from(count) != exec_buf::SIZE {
        return Err(format!("EXEC_BUF with {count} bytes of data: it takes {}", exec_buf::SIZE));
    }
    let mut starts = Starts::default();
    starts.push((0, exec(&bytes[packet::DATA..])));
    Ok(Request::Exec(starts))
}

fn indirect(host: &dyn HostMemory, bytes: &[u8; packet::SIZE], ucs: usize) -> Result<Request, String> {
    const ENTRY: usize = 4 * indirect_entry::WORDS;
    let count = usize::from(half(bytes, packet::COUNT));
    if count == 0 || !count.is_multiple_of(ENTRY) || count > ENTRY * abi::INDIRECT_MAX as usize {
        return Err(format!(
            "indirect EXEC_BUF with {count} bytes of entries: it takes 1 to {} of {ENTRY}",
            abi::INDIRECT_MAX
        ));
    }
    let mut starts = Starts::default();
    for entry in bytes[packet::DATA..packet::DATA + count].chunks_exact(ENTRY) {
        let words = [word(entry, 0), word(entry, 4)];
        let address =
            u64::from(indirect_entry::ADDRESS_HIGH.get(&words)) << 32 | u64::from(indirect_entry::ADDRESS_LOW.get(&words));
        let uc = indirect_entry::UC.get(&words) as usize;
        if uc >= ucs || starts.as_slice().iter().any(|&(other, _)| other == uc) {
            return Err(format!(
                "indirect entry for uC {uc}: the partition has uCs 0 to {}, each at most once",
                ucs - 1
            ));
        }
        let mut payload = [0u8; indirect_payload::SIZE];
        host.read(address, &mut payload)
            .map_err(|fault| format!("indirect payload of uC {uc}: {fault}"))?;
        let header = (
            u32::from(payload[indirect_payload::TYPE]),
            u32::from(payload[indirect_payload::OPCODE]),
        );
        let count = usize::from(half(&payload, indirect_payload::COUNT));
        if header != (packet_type::VENDOR, packet_opcode::EXEC_BUF)
            || count != exec_buf::SIZE
            || payload[indirect_payload::INDIRECT] != 0
        {
            return Err(format!(
                "indirect payload of uC {uc}: type {}, opcode {}, count {count}, indirect {}; it must be 0, 1, {}, 0",
                header.0,
                header.1,
                payload[indirect_payload::INDIRECT],
                exec_buf::SIZE
            ));
        }
        starts.push((uc, exec(&payload[indirect_payload::DTRACE_LOW..])));
    }
    Ok(Request::Exec(starts))
}

fn exec(bytes: &[u8]) -> ExecBuf {
    ExecBuf {
        code: double(bytes, exec_buf::CODE_LOW),
        args: double(bytes, exec_buf::ARGS_LOW),
        args_length: half(bytes, exec_buf::ARGS_LENGTH).into(),
        dtrace: u64::from(half(bytes, exec_buf::DTRACE_HIGH)) << 32 | u64::from(word(bytes, exec_buf::DTRACE_LOW)),
    }
}

/// The completion word of a packet that failed with `error` (one of `context_error`) on `uc`.
pub fn error_word(error: u32, uc: usize) -> u32 {
    let state = if error == context_error::TIMEOUT {
        completion_state::TIMEOUT
    } else {
        completion_state::ERROR
    };
    let number = match error {
        context_error::EXIT | context_error::INVALID_PACKET => error,
        _ => uc as u32 * 100 + error,
    };
    number << 4 | state
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn double(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
