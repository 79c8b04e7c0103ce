//! A control-code page: read from host memory once, checked, and interpreted from the private copy.

use crate::abi::control_code::{
    FILLER, MNEMONICS, PAGE_HEADER_SIZE, PAGE_MAGIC, PAGE_SIZE, SIZES, opcode, page_header, start_job,
};
use crate::memory::{HostMemory, MemoryFault};

/// Bytes of a page after its header.
const BODY: usize = (PAGE_SIZE - PAGE_HEADER_SIZE) as usize;
/// Words of the longest instruction.
pub(crate) const INSTRUCTION_WORDS: usize = 5;
/// Words kept: the body, and enough filler that an instruction can be taken from its last word.
const WORDS: usize = BODY / 4 + INSTRUCTION_WORDS;

/// A page's copy. Offsets count bytes from the end of the header, as all pointers in control code do.
#[derive(Clone)]
pub(crate) struct Page {
    words: Box<[u32; WORDS]>,
    limit: u32,
    /// Number of the page within its program.
    pub number: u32,
    /// Whether another page follows in order.
    pub more: bool,
}

/// Where a job lies on its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobSpan {
    /// Opcode that starts it: START_JOB, START_JOB_DEFERRED or START_COND_JOB_PREEMPT.
    pub kind: u8,
    /// Its id.
    pub id: u16,
    /// Offset of its first instruction.
    pub first: u32,
    /// Offset just after its END_JOB.
    pub end: u32,
}

/// Why a page is refused; `offset` is where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageError {
    pub offset: u32,
    pub opcode: u8,
    pub unknown_opcode: bool,
    pub message: String,
}

impl PageError {
    fn new(offset: u32, message: String) -> Self {
        Self {
            offset,
            opcode: 0,
            unknown_opcode: false,
            message,
        }
    }
}

fn half(bytes: &[u8; PAGE_HEADER_SIZE as usize], at: usize) -> u32 {
    u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// `words` as the bytes they are in memory.
fn as_bytes(words: &mut [u32]) -> &mut [u8] {
    let length = size_of_val(words);
    // SAFETY: the pointer and length are those of `words`, which stays borrowed; bytes need no alignment, every byte of a u32 is
    // initialised, and every bit pattern is a u32.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), length) }
}

impl Page {
    /// A page with nothing on it.
    pub fn empty() -> Self {
        Self {
            words: Box::new([0; WORDS]),
            limit: 0,
            number: 0,
            more: false,
        }
    }

    /// Replaces this copy with page `number` of the program at `base`. Each byte of host memory is read once.
    pub fn load(&mut self, host: &dyn HostMemory, base: u64, number: u32) -> Result<(), PageError> {
        self.limit = 0;
        self.number = number;
        self.more = false;
        let unreadable = |fault: MemoryFault| PageError::new(0, format!("page {number}: {fault}"));
        let address = base
            .checked_add(u64::from(number) * u64::from(PAGE_SIZE))
            .filter(|start| start.checked_add(u64::from(PAGE_SIZE)).is_some())
            .ok_or_else(|| {
                PageError::new(
                    0,
                    format!("page {number} of the code at {base:#x} lies beyond 64-bit addresses"),
                )
            })?;
        let mut header = [0; PAGE_HEADER_SIZE as usize];
        host.read(address, &mut header).map_err(unreadable)?;
        let (magic, own, length) = (
            half(&header, page_header::MAGIC),
            half(&header, page_header::PAGE),
            half(&header, page_header::LENGTH),
        );
        if magic != PAGE_MAGIC {
            return Err(PageError::new(
                0,
                format!("page {number} at {address:#x} starts with {magic:#06x}, not {PAGE_MAGIC:#06x}"),
            ));
        }
        if own != number {
            return Err(PageError::new(
                0,
                format!("page {number} at {address:#x} calls itself page {own}"),
            ));
        }
        if !length.is_multiple_of(4) || length <= PAGE_HEADER_SIZE || length > PAGE_SIZE {
            return Err(PageError::new(
                0,
                format!("page {number} at {address:#x} has length {length}; it must be a multiple of 4 from 20 to {PAGE_SIZE}"),
            ));
        }
        let used = (length - PAGE_HEADER_SIZE) as usize;
        let start = address + u64::from(PAGE_HEADER_SIZE);
        let words = &mut self.words[..used / 4];
        host.read(start, as_bytes(words)).map_err(unreadable)?;
        words.iter_mut().for_each(|word| *word = u32::from_le(*word));
        self.words[used / 4..][..INSTRUCTION_WORDS].fill(u32::from_ne_bytes([FILLER as u8; 4]));
        self.limit = used as u32;
        self.more = half(&header, page_header::NEXT_LENGTH) != 0;
        Ok(())
    }

    /// Bytes in use.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// The words from `offset` on, as many as the longest instruction has. `offset` must lie below [`Page::limit`].
    #[inline]
    pub fn instruction(&self, offset: u32) -> [u32; INSTRUCTION_WORDS] {
        let at = (offset as usize / 4).min(WORDS - INSTRUCTION_WORDS);
        let mut words = [0; INSTRUCTION_WORDS];
        words.copy_from_slice(&self.words[at..at + INSTRUCTION_WORDS]);
        words
    }

    /// `count` words at byte `offset`; `None` when they leave the part in use or are not aligned to words.
    pub fn words(&self, offset: u32, count: u32) -> Option<&[u32]> {
        let range = self.range(offset, count)?;
        Some(&self.words[range])
    }

    /// As [`Page::words`], to patch.
    pub fn words_mut(&mut self, offset: u32, count: u32) -> Option<&mut [u32]> {
        let range = self.range(offset, count)?;
        Some(&mut self.words[range])
    }

    fn range(&self, offset: u32, count: u32) -> Option<std::ops::Range<usize>> {
        let end = offset.checked_add(count.checked_mul(4)?)?;
        (offset.is_multiple_of(4) && end <= self.limit).then_some(offset as usize / 4..end as usize / 4)
    }

    /// The job that starts at `offset`, or `None` at EOF.
    pub fn job(&self, offset: u32) -> Result<Option<JobSpan>, PageError> {
        if offset >= self.limit {
            return Err(PageError::new(offset, format!("page {} ends without EOF", self.number)));
        }
        let words = self.instruction(offset);
        let kind = words[0] as u8;
        match u32::from(kind) {
            opcode::EOF => return Ok(None),
            opcode::START_JOB | opcode::START_JOB_DEFERRED | opcode::START_COND_JOB_PREEMPT => {}
            other => {
                let name = MNEMONICS[other as usize & 0xff];
                let what = if name.is_empty() { "an unknown opcode" } else { name };
                return Err(PageError {
                    offset,
                    opcode: kind,
                    unknown_opcode: true,
                    message: format!("{what} stands outside a job; only START_JOB and its kin or EOF may"),
                });
            }
        }
        let size = start_job::SIZE.get(&words);
        let head = u32::from(SIZES[kind as usize]);
        let smallest = head + u32::from(SIZES[opcode::END_JOB as usize]);
        let id = start_job::JOB.get(&words) as u16;
        if !size.is_multiple_of(4) || size < smallest || size > self.limit - offset {
            let left = self.limit - offset;
            return Err(PageError {
                opcode: kind,
                ..PageError::new(
                    offset,
                    format!("job {id} has size {size}; it must be a multiple of 4 from {smallest} to {left}"),
                )
            });
        }
        Ok(Some(JobSpan {
            kind,
            id,
            first: offset + head,
            end: offset + size,
        }))
    }
}

/// An instruction in words, for messages and traces: its mnemonic and its raw operand words.
pub(crate) fn describe(words: &[u32; INSTRUCTION_WORDS]) -> String {
    let code = words[0] as u8 as usize;
    if SIZES[code] == 0 {
        return format!("unknown opcode {code:#04x}");
    }
    let mut text = String::from(MNEMONICS[code]);
    if words[0] >> 16 != 0 {
        text.push_str(&format!(" {:#x}", words[0] >> 16));
    }
    for word in &words[1..usize::from(SIZES[code]) / 4] {
        text.push_str(&format!(" {word:#x}"));
    }
    text
}
