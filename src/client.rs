//! The host queue, host side: fill a packet, ring, poll. It knows only mapped memory and makes no system call unless the engine sleeps.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::abi::host_queue::{self as abi, completion_state, exec_buf, indirect_entry, indirect_payload, packet, packet_opcode};
use crate::descriptor::duplicate;
use crate::error::{Error, Result};
use crate::memory::SharedPages;
use crate::queue::Layout;

/// Bytes between completion words: a cache line, so that the host polls one word while the device writes another.
const COMPLETION_STRIDE: usize = 64;
/// Packets start on a cache line of their own in both layouts.
const PACKETS_AT: usize = abi::header_padded::SIZE;
/// Completion words kept after their slot was used again.
const HISTORY: u64 = 4096;

/// What an EXEC_BUF asks for.
#[derive(Clone, Debug, Default)]
pub struct Submission<'a> {
    /// Micro-controllers and their code addresses.
    pub code: &'a [(u32, u64)],
    /// Device address of the arguments.
    pub args_address: u64,
    /// Bytes of the arguments.
    pub args_length: u32,
    /// Where timestamps go, or 0; 48 bits.
    pub dtrace_address: u64,
    /// Another packet of the same chain follows.
    pub chain: bool,
}

struct Producer {
    /// Sequence number of the next packet.
    next: u64,
    /// The newest read_index seen.
    read_index: u64,
    /// Completion words of sequences whose slot was used again.
    history: Vec<u32>,
}

/// A host queue in memory that the host and the device share.
///
/// The queue's memory holds, in this order: header, packets, indirect payloads at `(uc * capacity + slot) * 32` as XRT lays them
/// out, completion words.
pub struct HostQueue {
    queue: SharedPages,
    doorbell: SharedPages,
    address: u64,
    capacity: u64,
    layout: Layout,
    kick: Option<OwnedFd>,
    producer: Mutex<Producer>,
}

impl HostQueue {
    /// Bytes that a queue of `capacity` packets takes.
    pub fn required_size(capacity: u32) -> u64 {
        let slots = u64::from(capacity);
        let payloads = slots * u64::from(abi::INDIRECT_MAX) * indirect_payload::SIZE as u64;
        PACKETS_AT as u64 + slots * packet::SIZE as u64 + payloads + slots * COMPLETION_STRIDE as u64
    }

    /// Lays a queue out in `size` bytes of `queue_fd` at `queue_offset`, which the device sees at `address`. `kick` is the engine's
    /// eventfd; without it the engine polls from time to time while it sleeps.
    #[allow(clippy::too_many_arguments, reason = "a queue is described by all of these")]
    pub fn new(
        queue: (RawFd, u64),
        address: u64,
        size: u64,
        doorbell: (RawFd, u64),
        layout: Layout,
        capacity: u32,
        kick: Option<RawFd>,
    ) -> Result<Self> {
        if !capacity.is_power_of_two() || capacity > abi::CAPACITY_MAX {
            return Err(Error::new(
                libc::EINVAL,
                format!(
                    "a queue of {capacity} packets: the capacity is a power of two, at most {}",
                    abi::CAPACITY_MAX
                ),
            ));
        }
        let needed = Self::required_size(capacity);
        if size < needed {
            return Err(Error::new(
                libc::ENOSPC,
                format!("a queue of {capacity} packets takes {needed} bytes, not {size}"),
            ));
        }
        if !address.is_multiple_of(64) || address.checked_add(size).is_none_or(|end| end > 1 << 57) {
            return Err(Error::new(
                libc::EINVAL,
                format!("queue address {address:#x}: it must be a multiple of 64, and the queue must end below 2**57"),
            ));
        }
        let queue = SharedPages::map(queue.0, queue.1, size.next_multiple_of(crate::memory::PAGE_SIZE))?;
        let doorbell = SharedPages::map(doorbell.0, doorbell.1, u64::from(abi::DOORBELL_PAGE_SIZE))?;
        let kick = kick.map(|fd| duplicate(fd, "the kick eventfd")).transpose()?;
        let producer = Mutex::new(Producer {
            next: 0,
            read_index: 0,
            history: vec![0; HISTORY as usize],
        });
        let this = Self {
            queue,
            doorbell,
            address,
            capacity: u64::from(capacity),
            layout,
            kick,
            producer,
        };
        this.lay_out();
        Ok(this)
    }

    fn lay_out(&self) {
        self.queue
            .write(0, &vec![0; Self::required_size(self.capacity as u32) as usize]);
        let offsets = self.layout.offsets();
        let major = if self.layout == Layout::Padded {
            abi::PADDED_MAJOR as u16
        } else {
            0
        };
        self.queue.write(offsets.major, &major.to_le_bytes());
        self.queue.write(offsets.capacity, &(self.capacity as u32).to_le_bytes());
        self.queue
            .write(offsets.data_address, &(self.address + PACKETS_AT as u64).to_le_bytes());
        if self.kick.is_some() {
            self.doorbell.word32(abi::DOORBELL_KICKS as usize).store(1, Ordering::Release);
        }
    }

    fn payload_at(&self, uc: u32, slot: u64) -> usize {
        let index = u64::from(uc) * self.capacity + slot;
        PACKETS_AT + self.capacity as usize * packet::SIZE + index as usize * indirect_payload::SIZE
    }

    fn completion_at(&self, sequence: u64) -> usize {
        let slot = (sequence & (self.capacity - 1)) as usize;
        self.payload_at(abi::INDIRECT_MAX, 0) + slot * COMPLETION_STRIDE
    }

    fn producer(&self) -> MutexGuard<'_, Producer> {
        self.producer.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Queues an EXEC_BUF and rings. Gives its sequence number.
    ///
    /// # Errors
    /// EAGAIN: the queue is full; EINVAL: a bad micro-controller, address or length; EIO: the queue's memory is gone or the device's
    /// index is out of range.
    pub fn submit(&self, submission: &Submission<'_>) -> Result<u64> {
        self.check(submission)?;
        let mut bytes = [0u8; packet::SIZE];
        bytes[packet::OPCODE] = packet_opcode::EXEC_BUF as u8;
        bytes[packet::CHAIN] = submission.chain.into();
        let mut producer = self.producer();
        let sequence = self.slot(&mut producer)?;
        self.prefetch(sequence);
        let direct = matches!(submission.code, [(0, _)]);
        if let (true, [(_, code)]) = (direct, submission.code) {
            bytes[packet::COUNT..][..2].copy_from_slice(&(exec_buf::SIZE as u16).to_le_bytes());
            bytes[packet::DATA..][..exec_buf::SIZE].copy_from_slice(&exec_bytes(*code, submission));
        } else {
            let count = submission.code.len() * 4 * indirect_entry::WORDS;
            bytes[packet::COUNT..][..2].copy_from_slice(&(count as u16).to_le_bytes());
            bytes[packet::DISTRIBUTE] = 1;
            bytes[packet::INDIRECT] = 1;
            for (entry, &(uc, code)) in bytes[packet::DATA..].chunks_exact_mut(8).zip(submission.code) {
                let at = self.payload_at(uc, sequence & (self.capacity - 1));
                let mut payload = [0u8; indirect_payload::SIZE];
                payload[indirect_payload::OPCODE] = packet_opcode::EXEC_BUF as u8;
                payload[indirect_payload::COUNT..][..2].copy_from_slice(&(exec_buf::SIZE as u16).to_le_bytes());
                payload[indirect_payload::DISTRIBUTE] = 1;
                payload[indirect_payload::DTRACE_LOW..].copy_from_slice(&exec_bytes(code, submission));
                self.queue.write(at, &payload);
                let address = self.address + at as u64;
                let mut words = [0u32; indirect_entry::WORDS];
                indirect_entry::ADDRESS_LOW.set(&mut words, address as u32);
                indirect_entry::ADDRESS_HIGH.set(&mut words, (address >> 32) as u32);
                indirect_entry::UC.set(&mut words, uc);
                entry[..4].copy_from_slice(&words[0].to_le_bytes());
                entry[4..].copy_from_slice(&words[1].to_le_bytes());
            }
        }
        self.post(&mut producer, sequence, bytes);
        Ok(sequence)
    }

    /// Queues a packet without code: TEST, or EXIT.
    pub fn submit_opcode(&self, opcode: u32) -> Result<u64> {
        let mut bytes = [0u8; packet::SIZE];
        bytes[packet::OPCODE] = opcode as u8;
        let mut producer = self.producer();
        let sequence = self.slot(&mut producer)?;
        self.post(&mut producer, sequence, bytes);
        Ok(sequence)
    }

    fn check(&self, submission: &Submission<'_>) -> Result<()> {
        let refuse = |message: String| Err(Error::new(libc::EINVAL, message));
        let limit = abi::INDIRECT_MAX as usize;
        if submission.code.is_empty() || submission.code.len() > limit {
            return refuse(format!(
                "code for {} micro-controllers: a packet takes 1 to {limit}",
                submission.code.len()
            ));
        }
        for (index, &(uc, _)) in submission.code.iter().enumerate() {
            if uc >= abi::INDIRECT_MAX || submission.code[..index].iter().any(|&(other, _)| other == uc) {
                return refuse(format!("uC {uc}: a packet names each of uCs 0 to {} at most once", limit - 1));
            }
        }
        if submission.args_length > u32::from(u16::MAX) {
            return refuse(format!(
                "{} bytes of arguments: a packet takes at most {}",
                submission.args_length,
                u16::MAX
            ));
        }
        if submission.dtrace_address >> 48 != 0 {
            return refuse(format!(
                "trace address {:#x} does not fit the packet's 48 bits",
                submission.dtrace_address
            ));
        }
        Ok(())
    }

    /// The next sequence number, if its slot is free.
    fn slot(&self, producer: &mut Producer) -> Result<u64> {
        if producer.next - producer.read_index >= self.capacity {
            producer.read_index = self.read_index(producer.next)?;
            if producer.next - producer.read_index >= self.capacity {
                return Err(Error::new(
                    libc::EAGAIN,
                    format!("the queue is full: {} packets wait; wait for the oldest", self.capacity),
                ));
            }
        }
        if self.queue.poisoned() || self.doorbell.poisoned() {
            return Err(Error::new(
                libc::EIO,
                "the queue's or the doorbell's file was shrunk; create the queue again",
            ));
        }
        Ok(producer.next)
    }

    /// The device's read_index. It is written as two 32-bit words, so an impossible value is read again before it is an error.
    fn read_index(&self, next: u64) -> Result<u64> {
        let offset = self.layout.offsets().read_index;
        for _ in 0..1000 {
            let index = self.queue.load64(offset);
            if index <= next && next - index <= self.capacity {
                return Ok(index);
            }
            std::hint::spin_loop();
        }
        Err(Error::new(
            libc::EIO,
            format!(
                "read_index {:#x} is out of range for write_index {next:#x}; create the queue again",
                self.queue.load64(offset)
            ),
        ))
    }

    /// Asks for the cache lines that `post` writes, all at once: one after another they would take a round trip each.
    fn prefetch(&self, sequence: u64) {
        self.queue
            .prefetch_write(PACKETS_AT + (sequence & (self.capacity - 1)) as usize * packet::SIZE);
        self.queue.prefetch_write(self.layout.offsets().write_index);
        self.queue.prefetch_write(self.completion_at(sequence));
        self.doorbell.prefetch_write(0);
    }

    fn post(&self, producer: &mut Producer, sequence: u64, mut bytes: [u8; packet::SIZE]) {
        let completion = self.completion_at(sequence);
        if let Some(old) = sequence.checked_sub(self.capacity) {
            producer.history[(old % HISTORY) as usize] = self.queue.word32(completion).load(Ordering::Acquire);
        }
        self.queue.word32(completion).store(0, Ordering::Relaxed);
        let signal = self.address + completion as u64;
        bytes[packet::COMPLETION_SIGNAL..][..8].copy_from_slice(&signal.to_le_bytes());
        self.queue
            .write(PACKETS_AT + (sequence & (self.capacity - 1)) as usize * packet::SIZE, &bytes);
        producer.next = sequence + 1;
        fence(Ordering::Release);
        self.queue
            .write(self.layout.offsets().write_index, &producer.next.to_le_bytes());
        self.ring();
    }

    /// Rings the doorbell, and wakes the engine if it says that it sleeps.
    pub fn ring(&self) {
        self.doorbell.word32(0).store(abi::DOORBELL_RING, Ordering::Release);
        let Some(kick) = &self.kick else { return };
        // The engine says "asleep", fences and looks at write_index again; we wrote write_index, fence and look for "asleep".
        fence(Ordering::SeqCst);
        if self.doorbell.word32(abi::DOORBELL_SLEEPING as usize).load(Ordering::Relaxed) != 0 {
            let one = 1u64;
            // SAFETY: 8 bytes of a live integer. A full counter needs no further kick, so the result does not matter.
            unsafe { libc::write(kick.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// The completion word of `sequence`; 0 while it runs.
    ///
    /// # Errors
    /// EINVAL: never submitted, or too old to be remembered; EIO: the queue's memory is gone.
    pub fn completion(&self, sequence: u64) -> Result<u32> {
        let producer = self.producer();
        if sequence >= producer.next || sequence + self.capacity + HISTORY < producer.next {
            return Err(Error::new(
                libc::EINVAL,
                format!(
                    "packet {sequence} is not known: {} were submitted, and the last {HISTORY} are remembered",
                    producer.next
                ),
            ));
        }
        if sequence + self.capacity < producer.next {
            return Ok(producer.history[(sequence % HISTORY) as usize]);
        }
        self.word(sequence)
    }

    fn word(&self, sequence: u64) -> Result<u32> {
        let word = self.queue.word32(self.completion_at(sequence)).load(Ordering::Acquire);
        if word == 0 && self.queue.poisoned() {
            return Err(Error::new(libc::EIO, "the queue's file was shrunk; create the queue again"));
        }
        Ok(word)
    }

    /// Polls for the completion word of `sequence` for at most `limit`; 0 if it did not come. Makes no system call.
    pub fn spin(&self, sequence: u64, limit: Duration) -> Result<u32> {
        let word = self.completion(sequence)?;
        if word != 0 {
            return Ok(word);
        }
        let completion = self.queue.word32(self.completion_at(sequence));
        let start = Instant::now();
        loop {
            for _ in 0..64 {
                let word = completion.load(Ordering::Acquire);
                if word != 0 {
                    // Another thread may have used the slot again: the books know.
                    return self.completion(sequence);
                }
                std::hint::spin_loop();
            }
            if start.elapsed() >= limit {
                return self.completion(sequence);
            }
        }
    }

    /// Whether `word` says that a packet has ended well.
    pub fn completed(word: u32) -> bool {
        word == completion_state::COMPLETED
    }
}

fn exec_bytes(code: u64, submission: &Submission<'_>) -> [u8; exec_buf::SIZE] {
    let mut bytes = [0u8; exec_buf::SIZE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(exec_buf::DTRACE_LOW, &(submission.dtrace_address as u32).to_le_bytes());
    put(
        exec_buf::DTRACE_HIGH,
        &((submission.dtrace_address >> 32) as u16).to_le_bytes(),
    );
    put(exec_buf::CODE_LOW, &code.to_le_bytes());
    put(exec_buf::ARGS_LENGTH, &(submission.args_length as u16).to_le_bytes());
    put(exec_buf::ARGS_LOW, &submission.args_address.to_le_bytes());
    bytes
}
