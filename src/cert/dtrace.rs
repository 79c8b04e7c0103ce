//! Timestamps and register values that control code leaves in host memory.

use super::ExecBuf;
use super::fabric::Cycles;
use crate::abi::control_code::{DTRACE_MAGIC, dtrace_header, dtrace_kind, dtrace_record};
use crate::memory::HostMemory;

/// One record.
pub(crate) struct Record {
    kind: u32,
    uc: usize,
    id: u32,
    value: u64,
}

impl Record {
    pub fn timestamp(uc: usize, id: u32, at: Cycles) -> Self {
        Self {
            kind: dtrace_kind::TIMESTAMP,
            uc,
            id,
            value: at,
        }
    }

    pub fn register(uc: usize, id: u32, value: u32) -> Self {
        Self {
            kind: dtrace_kind::REGISTER,
            uc,
            id,
            value: u64::from(value),
        }
    }

    pub fn trace(uc: usize, info: u32, at: Cycles) -> Self {
        Self {
            kind: dtrace_kind::TRACE,
            uc,
            id: info,
            value: at,
        }
    }

    fn bytes(&self) -> [u8; dtrace_record::SIZE] {
        let mut bytes = [0; dtrace_record::SIZE];
        bytes[dtrace_record::KIND..][..2].copy_from_slice(&(self.kind as u16).to_le_bytes());
        bytes[dtrace_record::UC..][..2].copy_from_slice(&(self.uc as u16).to_le_bytes());
        bytes[dtrace_record::ID..][..4].copy_from_slice(&self.id.to_le_bytes());
        bytes[dtrace_record::VALUE..][..8].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }
}

/// Appends `record` to the packet's trace buffer. Without a buffer, without room, or where the buffer is not mapped, the record is
/// dropped: tracing never fails a context.
pub(crate) fn record(host: &dyn HostMemory, exec: &ExecBuf, record: Record) {
    if exec.dtrace == 0 {
        return;
    }
    let mut header = [0; dtrace_header::SIZE];
    if host.read(exec.dtrace, &mut header).is_err() {
        return;
    }
    let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let count = field(dtrace_header::COUNT);
    if field(dtrace_header::MAGIC) != DTRACE_MAGIC || count >= field(dtrace_header::CAPACITY) {
        return;
    }
    let slot = (dtrace_header::SIZE as u64 + u64::from(count) * dtrace_record::SIZE as u64).wrapping_add(exec.dtrace);
    if host.write(slot, &record.bytes()).is_ok() {
        let count_address = exec.dtrace.wrapping_add(dtrace_header::COUNT as u64);
        let _dropped = host.write(count_address, &(count + 1).to_le_bytes());
    }
}
