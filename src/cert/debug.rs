//! Registers that control code saves into the debug buffers which a context's micro-controllers may have.

use crate::abi::control_code::saved_register;
use crate::memory::HostMemory;

#[derive(Clone, Copy, Debug)]
struct Buffer {
    address: u64,
    room: u64,
    used: u64,
}

/// Buffers at `(address, size)`, by micro-controller.
#[derive(Clone, Debug, Default)]
pub(crate) struct DebugBuffers(Vec<Buffer>);

impl DebugBuffers {
    pub fn new(buffers: &[(u64, u32)]) -> Self {
        let buffer = |&(address, size): &(u64, u32)| Buffer {
            address,
            room: u64::from(size),
            used: 0,
        };
        Self(buffers.iter().map(buffer).collect())
    }

    /// A packet begins on micro-controller `uc`: what it saves goes to the start of the buffer.
    pub fn begin(&mut self, uc: usize) {
        if let Some(buffer) = self.0.get_mut(uc) {
            buffer.used = 0;
        }
    }

    /// Appends a register's value. What has no room, or can't be written, is lost: debugging fails no context.
    pub fn save(&mut self, host: &dyn HostMemory, uc: usize, id: u32, value: u32) {
        let Some(buffer) = self.0.get_mut(uc) else { return };
        let size = saved_register::SIZE as u64;
        if buffer.used + size > buffer.room {
            return;
        }
        let mut bytes = [0; saved_register::SIZE];
        bytes[saved_register::ID..][..4].copy_from_slice(&id.to_le_bytes());
        bytes[saved_register::VALUE..][..4].copy_from_slice(&value.to_le_bytes());
        if host.write(buffer.address.wrapping_add(buffer.used), &bytes).is_ok() {
            buffer.used += size;
        }
    }
}
