//! A micro-controller's DMA: descriptors on a page, in order, to registers, tile memory or host memory.

use std::collections::VecDeque;

use super::fabric::{Cycles, Fabric};
use super::page::Page;
use crate::abi::control_code::{UC_DMA_QUEUE_DEPTH, uc_bd};
use crate::abi::timing::{UC_DMA_BYTES_PER_CYCLE, UC_DMA_SETUP_CYCLES};
use crate::memory::HostMemory;

/// Bytes of a descriptor.
pub(crate) const BD_SIZE: u32 = 4 * uc_bd::WORDS as u32;

/// One descriptor, checked against its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// Offset of the data on the page.
    pub local: u32,
    pub words: u32,
    /// Register-space address, or a host address when `external`.
    pub remote: u64,
    pub external: bool,
    pub next: bool,
}

impl Descriptor {
    /// The descriptor at `offset` of `page`.
    pub fn read(page: &Page, offset: u32) -> Result<Self, String> {
        let bd = page.words(offset, uc_bd::WORDS as u32).ok_or_else(|| {
            format!(
                "uC-DMA BD at {offset:#x} is unaligned or leaves the page's {:#x} bytes in use",
                page.limit()
            )
        })?;
        // A local pointer counts from its BD; without the local-relative bit, from the page's start (chosen).
        let base = if uc_bd::LOCAL_RELATIVE.get(bd) != 0 { offset } else { 0 };
        let local = base.wrapping_add(uc_bd::LOCAL.get(bd));
        let words = uc_bd::LENGTH.get(bd);
        let remote = u64::from(uc_bd::REMOTE_HIGH.get(bd)) << 32 | u64::from(uc_bd::REMOTE_LOW.get(bd));
        let external = uc_bd::EXTERNAL.get(bd) != 0;
        if page.words(local, words).is_none() {
            return Err(format!(
                "uC-DMA BD at {offset:#x} takes {words} words at {local:#x}, unaligned or outside the page's {:#x} bytes in use",
                page.limit()
            ));
        }
        if !external && remote > u64::from(u32::MAX) {
            return Err(format!(
                "uC-DMA BD at {offset:#x} goes to register address {remote:#x}; those have 32 bits"
            ));
        }
        Ok(Self {
            local,
            words,
            remote,
            external,
            next: uc_bd::NEXT_BD.get(bd) != 0,
        })
    }

    fn cycles(&self) -> Cycles {
        Cycles::from(UC_DMA_SETUP_CYCLES) + Cycles::from(self.words * 4).div_ceil(Cycles::from(UC_DMA_BYTES_PER_CYCLE))
    }

    /// Moves the data.
    pub fn copy<F: Fabric>(&self, page: &Page, fabric: &mut F, host: &dyn HostMemory, at: Cycles) -> Result<(), String> {
        let Some(data) = page.words(self.local, self.words) else {
            return Err(String::from("uC-DMA data left its page"));
        };
        if self.external {
            let mut chunk = [0; 512];
            let mut address = self.remote;
            for part in data.chunks(chunk.len() / 4) {
                for (bytes, word) in chunk.chunks_exact_mut(4).zip(part) {
                    bytes.copy_from_slice(&word.to_le_bytes());
                }
                let size = 4 * part.len();
                host.write(address, &chunk[..size])
                    .map_err(|fault| format!("uC-DMA to host memory: {fault}"))?;
                address = address.wrapping_add(size as u64);
            }
            return Ok(());
        }
        fabric
            .write_block(at, self.remote as u32, data)
            .map_err(|fault| format!("uC-DMA to {:#010x}: {}", fault.address, fault.reason))
    }
}

/// One chain of descriptors in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub handle: u32,
    pub stream: usize,
    /// Offset of the descriptor to be worked next.
    pub bd: u32,
    /// Where it was started, for messages.
    pub origin: u32,
}

/// The queue; its front is being worked.
#[derive(Clone, Debug)]
pub(crate) struct UcDma {
    pub queue: VecDeque<Transfer>,
    active: Option<Descriptor>,
    /// When the active descriptor is done; [`Cycles::MAX`] when idle.
    pub done: Cycles,
    issued: u32,
    completed: u32,
}

impl UcDma {
    pub fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            active: None,
            done: Cycles::MAX,
            issued: 0,
            completed: 0,
        }
    }

    pub fn full(&self) -> bool {
        self.queue.len() >= UC_DMA_QUEUE_DEPTH as usize
    }

    /// Whether the transfer of `handle` has still to end; a number that names no transfer never has.
    pub fn outstanding(&self, handle: u32) -> bool {
        (1..=self.issued.wrapping_sub(self.completed)).contains(&handle.wrapping_sub(self.completed))
    }

    /// Queues the chain at `bd` of `page` (the page of `stream`); the queue must not be full.
    pub fn enqueue(&mut self, page: &Page, stream: usize, bd: u32, origin: u32, at: Cycles) -> Result<u32, String> {
        let first = Descriptor::read(page, bd)?;
        self.issued = self.issued.wrapping_add(1);
        self.queue.push_back(Transfer {
            handle: self.issued,
            stream,
            bd,
            origin,
        });
        if self.active.is_none() {
            self.activate(first, at);
        }
        Ok(self.issued)
    }

    fn activate(&mut self, descriptor: Descriptor, at: Cycles) {
        self.done = at + descriptor.cycles();
        self.active = Some(descriptor);
    }

    /// The active descriptor.
    pub fn active(&self) -> Option<Descriptor> {
        self.active
    }

    /// Ends the active descriptor, starts the next of its chain at `page`, and tells which transfer has ended by that, if one has.
    pub fn complete(&mut self, page: &Page) -> Result<Option<Transfer>, String> {
        let at = self.done;
        self.done = Cycles::MAX;
        let (Some(descriptor), Some(front)) = (self.active.take(), self.queue.front_mut()) else {
            return Ok(None);
        };
        if descriptor.next {
            front.bd += BD_SIZE;
            let next = Descriptor::read(page, front.bd)?;
            self.activate(next, at);
            return Ok(None);
        }
        self.completed = front.handle;
        Ok(self.queue.pop_front())
    }

    /// Starts the front of the queue, whose page is `page`.
    pub fn begin(&mut self, page: &Page, at: Cycles) -> Result<(), String> {
        if let Some(front) = self.queue.front() {
            let descriptor = Descriptor::read(page, front.bd)?;
            self.activate(descriptor, at);
        }
        Ok(())
    }
}
