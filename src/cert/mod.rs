//! CERT micro-controllers: control code in, register writes and waits out.

mod debug;
mod dma;
mod dtrace;
pub mod fabric;
mod job;
mod log;
mod machine;
mod page;
mod patch;
mod processor;
mod streams;
mod synchronise;
#[cfg(test)]
mod tests;
mod trace;
mod uc;
mod waiting;

pub use fabric::Cycles;
pub use log::LogEntry;
pub use machine::{Machine, Progress};
pub use trace::TraceEntry;

/// What an EXEC_BUF packet asks a micro-controller to run; addresses are in host memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecBuf {
    /// Page 0 of the control code.
    pub code: u64,
    /// The arguments: 64-bit addresses, read by APPLY_OFFSET_57.
    pub args: u64,
    /// Bytes of the arguments; 0 when the host has patched the BDs itself.
    pub args_length: u32,
    /// Where timestamps and saved registers go, or 0.
    pub dtrace: u64,
}

/// Why a context stopped, and where its control code was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextFault {
    /// One of `abi::host_queue::context_error`.
    pub error: u32,
    /// The micro-controller.
    pub uc: usize,
    /// The page it was in.
    pub page: u32,
    /// Byte offset of the instruction from the page's start, header excluded.
    pub offset: u32,
    /// The instruction's opcode.
    pub opcode: u8,
    /// What happened, the limit it broke and the remedy.
    pub message: String,
}

/// What a micro-controller has done since its partition was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UcStatistics {
    /// Instructions carried out; a poll counts each time it reads.
    pub instructions: u64,
    /// Pages loaded.
    pub pages: u64,
    /// Bytes its DMA moved.
    pub dma_bytes: u64,
    /// PREEMPTs that saved and restored.
    pub preemptions: u64,
}
