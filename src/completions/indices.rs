//! A host queue's indices as a waiter sees them. The memory is the client's: it may hold anything, change at any moment, or vanish.

use std::os::fd::RawFd;

use crate::abi::host_queue::{self as abi, header_padded, header_unpadded};
use crate::error::{Error, Result};
use crate::memory::{PAGE_SIZE, SharedPages};
use crate::queue::Layout;

/// Looks at indices that do not fit together: the two are read one after the other, and read_index is written as two words.
const LOOKS: u32 = 4;

/// Header of one host queue.
#[derive(Debug)]
pub(super) struct Indices(SharedPages);

impl Indices {
    /// The queue in `length` bytes of `fd` at `offset`.
    pub fn map(fd: RawFd, offset: u64, length: u64) -> Result<Self> {
        if length < header_unpadded::SIZE as u64 {
            return Err(Error::new(
                libc::EINVAL,
                format!(
                    "a queue of {length} bytes: its header takes {} at least",
                    header_unpadded::SIZE
                ),
            ));
        }
        Ok(Self(SharedPages::map(fd, offset, PAGE_SIZE)?))
    }

    /// (read_index, write_index), in the layout that the header names now.
    pub fn read(&self) -> (u64, u64) {
        let common = Layout::Unpadded.offsets();
        // The 16 bits of `major` start a 32-bit word.
        let major = u32::from(self.0.word32(common.major).load(std::sync::atomic::Ordering::Acquire) as u16);
        let layout = if major == abi::PADDED_MAJOR {
            Layout::Padded
        } else {
            Layout::Unpadded
        };
        // read_index first: what is read of write_index afterwards can't be behind it.
        let read = self.0.load64(common.read_index);
        (read, self.0.load64(layout.offsets().write_index))
    }

    /// Whether command `sequence` is done. Indices that make no sense say no, as in Linux 7.2 (`get_read_index`).
    #[inline]
    pub fn done(&self, sequence: u64) -> bool {
        for _ in 0..LOOKS {
            let (read, write) = self.read();
            if read <= write && write - read <= u64::from(abi::CAPACITY_MAX) {
                return read > sequence;
            }
        }
        false
    }

    /// Whether the memory is gone.
    pub fn gone(&self) -> bool {
        self.0.poisoned()
    }
}

const _: () = {
    assert!(header_padded::READ_INDEX == header_unpadded::READ_INDEX && header_padded::MAJOR == header_unpadded::MAJOR);
    assert!(header_padded::SIZE as u64 <= PAGE_SIZE && header_unpadded::MAJOR.is_multiple_of(4));
};
