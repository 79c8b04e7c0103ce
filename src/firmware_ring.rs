//! Rings in host memory that management firmware fills: its log, and the trace of its events. AMD's driver reads them by the footer.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::abi::firmware_ring::{self as abi, event, event_footer, event_header, footer};
use crate::memory::{AddressSpace, HostMemory, Reader};

/// One ring: its last page is the footer, whose `tail` counts bytes ever written, modulo 2^32.
pub struct FirmwareRing {
    address: u64,
    /// Bytes of entries.
    room: u64,
    began: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    reader: Reader,
    tail: u64,
    /// Of events.
    sequence: u16,
}

impl FirmwareRing {
    /// A ring in `size` bytes (more than a footer) at `address`, and its footer.
    pub fn new(space: &Arc<AddressSpace>, address: u64, size: u64, kind: u8, payload_version: u32) -> Self {
        let ring = Self {
            address,
            room: size - u64::from(abi::FOOTER_SIZE),
            began: Instant::now(),
            inner: Mutex::new(Inner {
                reader: space.reader(),
                tail: 0,
                sequence: 0,
            }),
        };
        let mut bytes = [0; footer::SIZE];
        bytes[footer::MAJOR] = abi::VERSION_MAJOR as u8;
        bytes[footer::TYPE] = kind;
        bytes[footer::PAYLOAD_VERSION..][..4].copy_from_slice(&payload_version.to_le_bytes());
        let inner = ring.lock();
        // Who gives memory that can't be written gets nothing written, now and later.
        let _lost = inner.reader.enter().write(address + ring.room, &bytes);
        drop(inner);
        ring
    }

    /// Appends `data`, as much of its end as there is room for. What can't be written is lost: logging fails nobody.
    pub fn append(&self, data: &[u8]) {
        self.lock().append(self, data);
    }

    /// Appends a record of event `id` that happens now.
    pub fn event(&self, id: u32, arguments: &[u32]) {
        let mut inner = self.lock();
        let words = (event::SIZE + 4 * arguments.len()).div_ceil(8);
        let mut record = vec![0; event_header::SIZE + 8 * words + event_footer::SIZE];
        let sequence = inner.sequence.to_le_bytes();
        record[event_header::MAGIC] = abi::EVENT_MAGIC as u8;
        record[event_header::PAYLOAD_WORDS] = words as u8;
        record[event_header::SEQUENCE..][..2].copy_from_slice(&sequence);
        let time = self.began.elapsed().as_nanos() as u64;
        record[event_header::SIZE..][..8].copy_from_slice(&time.to_le_bytes());
        record[event_header::SIZE + event::EVENT_ID..][..4].copy_from_slice(&id.to_le_bytes());
        for (index, argument) in arguments.iter().enumerate() {
            record[event_header::SIZE + event::SIZE + 4 * index..][..4].copy_from_slice(&argument.to_le_bytes());
        }
        let end = record.len() - event_footer::SIZE;
        record[end + event_footer::SEQUENCE..][..2].copy_from_slice(&sequence);
        record[end + event_footer::PAYLOAD_WORDS] = words as u8;
        record[end + event_footer::MAGIC] = abi::EVENT_MAGIC_END as u8;
        inner.sequence = inner.sequence.wrapping_add(1);
        inner.append(self, &record);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|broken| broken.into_inner())
    }
}

impl Inner {
    fn append(&mut self, ring: &FirmwareRing, data: &[u8]) {
        let skipped = data.len().saturating_sub(ring.room as usize);
        let host = self.reader.enter();
        let at = (self.tail + skipped as u64) % ring.room;
        let (first, rest) = data[skipped..].split_at((data.len() - skipped).min((ring.room - at) as usize));
        if host.write(ring.address + at, first).is_err() || host.write(ring.address, rest).is_err() {
            return;
        }
        self.tail += data.len() as u64;
        // A reader that finds no new tail finds no new entries.
        let tail = (self.tail as u32).to_le_bytes();
        let _lost = host.write(ring.address + ring.room + footer::TAIL as u64, &tail);
    }
}

/// Words that an event has at most.
pub const ARGUMENTS_MAX: usize = 6;

/// Where a context's events go, of which kinds, and what the context is called there.
#[derive(Clone)]
pub struct EventSink {
    /// The function's trace.
    pub ring: Arc<FirmwareRing>,
    /// Bits of `abi::firmware_ring::category`.
    pub categories: u64,
    /// Firmware's id of the context.
    pub context: u32,
}

impl EventSink {
    /// Appends an event of `category`, if that is traced; the context comes before its `arguments`.
    pub fn note<const N: usize>(&self, category: u32, id: u32, arguments: [u32; N]) {
        if self.categories >> category & 1 != 0 {
            let mut all = [self.context; ARGUMENTS_MAX];
            all[1..=N].copy_from_slice(&arguments);
            self.ring.event(id, &all[..=N]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::*;

    const SIZE: u64 = 3 * 4096;

    fn space() -> (OwnedFd, Arc<AddressSpace>) {
        // SAFETY: a live C string and flags; a result of 0 or more is a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"ring".as_ptr(), libc::MFD_CLOEXEC)) };
        // SAFETY: plain values.
        assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), SIZE.cast_signed()) }, 0);
        let space = Arc::new(AddressSpace::default());
        space.map(0x1000_0000, fd.as_raw_fd(), 0, SIZE, 3).unwrap();
        (fd, space)
    }

    fn read(space: &Arc<AddressSpace>, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        space.read(0x1000_0000 + offset, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn entries_wrap_and_the_tail_counts_on() {
        let (_fd, space) = space();
        let ring = FirmwareRing::new(&space, 0x1000_0000, SIZE, 7, 0x0102_0304);
        let footer = read(&space, 8192, 72);
        assert_eq!((footer[footer::TYPE], &footer[4..8]), (7, &[4, 3, 2, 1][..]));
        ring.append(&[1; 8190]);
        ring.append(&[2; 5]);
        assert_eq!(read(&space, 8190, 2), [2, 2]);
        assert_eq!(read(&space, 0, 4), [2, 2, 2, 1]);
        assert_eq!(read(&space, 8192 + 64, 4), 8195u32.to_le_bytes());
        // More than there is room for: its end stays, at the place that its count says.
        let long: Vec<u8> = (0..10_000u32).map(|index| index as u8).collect();
        ring.append(&long);
        let last = (8195 + 10_000 - 1) % 8192;
        assert_eq!(read(&space, last, 1), [9999u32 as u8]);
        assert_eq!(read(&space, 8192 + 64, 4), 18_195u32.to_le_bytes());
    }

    #[test]
    fn memory_that_goes_away_loses_entries_and_nothing_else() {
        let (_fd, space) = space();
        let ring = FirmwareRing::new(&space, 0x1000_0000, SIZE, 0, 0);
        ring.append(b"here");
        space.unmap(0x1000_0000, SIZE).unwrap();
        ring.append(b"gone");
        ring.event(1, &[2]);
    }
}
