//! Which register or memory stands at an offset of a tile.

use crate::abi::array as abi;

use super::switch;
use super::tile::Kind;

/// What a tile offset names. Channels count S2MM first, then MM2S; locks, BDs and channels count through both halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// Data memory, by byte offset.
    Data(u32),
    /// Program memory, by byte offset.
    Program(u32),
    CoreControl,
    CoreStatus,
    CorePc,
    CoreFault,
    /// Events of counters `2 * word` and `2 * word + 1`.
    CounterControl(u8),
    Counter(u8),
    Bd {
        bd: u16,
        word: u8,
    },
    ChannelControl(u8),
    ChannelStart(u8),
    ChannelStatus(u8),
    LockValue(u8),
    LockRequest {
        lock: u8,
        acquire: bool,
        value: i8,
    },
    Master(u8),
    Slave(u8),
    /// Slot `slave * SWITCH_SLOTS + slot`.
    Slot(u8),
    /// A register of the stream switch that is kept and does nothing, counted through both halves.
    Kept(u8),
}

/// Names the register at `offset` of a tile of this kind; `None` where there is nothing. `offset` is a multiple of 4.
pub(super) fn decode(kind: Kind, offset: u32) -> Option<Register> {
    match kind {
        Kind::Shim => decode_shim(offset),
        Kind::Mem => decode_mem(offset),
        Kind::Core => decode_core(offset),
    }
}

/// `offset - base` if it is below `size`.
#[inline]
pub(super) fn within(offset: u32, base: u32, size: u32) -> Option<u32> {
    let inside = offset.wrapping_sub(base);
    (inside < size).then_some(inside)
}

/// A bank of `count` BDs: the BD and the word in it.
#[inline]
fn bd(inside: u32, stride: u32, first: u32) -> Option<Register> {
    Some(Register::Bd {
        bd: (first + inside / stride) as u16,
        word: (inside % stride / 4) as u8,
    })
}

fn lock_value(inside: u32, first: u32) -> Option<Register> {
    (inside.is_multiple_of(abi::LOCK_STRIDE)).then_some(Register::LockValue((first + inside / abi::LOCK_STRIDE) as u8))
}

fn lock_request(inside: u32, first: u32) -> Option<Register> {
    let value = (inside >> 2) & 0x7F;
    Some(Register::LockRequest {
        lock: (first + inside / abi::LOCK_REQUEST_STRIDE) as u8,
        acquire: inside & abi::LOCK_REQUEST_ACQUIRE != 0,
        // Seven bits, signed.
        value: ((value << 1) as u8 as i8) >> 1,
    })
}

/// A channel's control register or, one word above it, its start queue.
fn channel(inside: u32, first: u32) -> Option<Register> {
    let index = (first + inside / 8) as u8;
    Some(if inside.is_multiple_of(8) {
        Register::ChannelControl(index)
    } else {
        Register::ChannelStart(index)
    })
}

fn decode_shim(offset: u32) -> Option<Register> {
    let half = offset / abi::HALF_STRIDE;
    let inner = offset % abi::HALF_STRIDE;
    if half > 1 {
        return None;
    }
    let mm2s = abi::SHIM_S2MM + half * abi::SHIM_MM2S_PER_HALF;
    if let Some(inside) = within(inner, abi::SHIM_BD, abi::SHIM_BDS * abi::SHIM_BD_STRIDE) {
        return bd(inside, abi::SHIM_BD_STRIDE, half * abi::SHIM_BDS);
    }
    if let Some(inside) = within(inner, abi::SHIM_S2MM_CONTROL, 8 * abi::SHIM_S2MM_PER_HALF) {
        return channel(inside, half * abi::SHIM_S2MM_PER_HALF);
    }
    if let Some(inside) = within(inner, abi::SHIM_MM2S_CONTROL, 8 * abi::SHIM_MM2S_PER_HALF) {
        return channel(inside, mm2s);
    }
    if let Some(inside) = within(inner, abi::SHIM_S2MM_STATUS, 4 * abi::SHIM_S2MM_PER_HALF) {
        return Some(Register::ChannelStatus((half * abi::SHIM_S2MM_PER_HALF + inside / 4) as u8));
    }
    if let Some(inside) = within(inner, abi::SHIM_MM2S_STATUS, 4 * abi::SHIM_MM2S_PER_HALF) {
        return Some(Register::ChannelStatus((mm2s + inside / 4) as u8));
    }
    if let Some(inside) = within(inner, abi::SHIM_LOCK_VALUE, abi::SHIM_LOCKS * abi::LOCK_STRIDE) {
        return lock_value(inside, half * abi::SHIM_LOCKS);
    }
    if let Some(inside) = within(inner, abi::SHIM_LOCK_REQUEST, abi::SHIM_LOCKS * abi::LOCK_REQUEST_STRIDE) {
        return lock_request(inside, half * abi::SHIM_LOCKS);
    }
    switch::decode(Kind::Shim, half, inner)
}

fn decode_mem(offset: u32) -> Option<Register> {
    let half = offset / abi::HALF_STRIDE;
    let inner = offset % abi::HALF_STRIDE;
    if half > 1 {
        return None;
    }
    if half == 0 && inner < abi::MEM_DATA_SIZE {
        return Some(Register::Data(inner));
    }
    let s2mm = half * abi::MEM_S2MM_PER_HALF;
    let mm2s = abi::MEM_S2MM + half * abi::MEM_MM2S_PER_HALF;
    if let Some(inside) = within(inner, abi::MEM_BD_S2MM, abi::MEM_S2MM_PER_HALF * abi::MEM_CHANNEL_BD_STRIDE) {
        return bd(inside, abi::MEM_BD_STRIDE, s2mm * abi::MEM_BDS_PER_CHANNEL);
    }
    if let Some(inside) = within(inner, abi::MEM_BD_MM2S, abi::MEM_MM2S_PER_HALF * abi::MEM_CHANNEL_BD_STRIDE) {
        return bd(inside, abi::MEM_BD_STRIDE, mm2s * abi::MEM_BDS_PER_CHANNEL);
    }
    if let Some(inside) = within(inner, abi::MEM_S2MM_CONTROL, abi::MEM_CHANNEL_STRIDE * abi::MEM_S2MM_PER_HALF) {
        return channel(inside, s2mm);
    }
    if let Some(inside) = within(inner, abi::MEM_MM2S_CONTROL, abi::MEM_CHANNEL_STRIDE * abi::MEM_MM2S_PER_HALF) {
        return channel(inside, mm2s);
    }
    if let Some(inside) = within(inner, abi::MEM_S2MM_STATUS, 4 * abi::MEM_S2MM_PER_HALF) {
        return Some(Register::ChannelStatus((s2mm + inside / 4) as u8));
    }
    if let Some(inside) = within(inner, abi::MEM_MM2S_STATUS, 4 * abi::MEM_MM2S_PER_HALF) {
        return Some(Register::ChannelStatus((mm2s + inside / 4) as u8));
    }
    if let Some(inside) = within(inner, abi::MEM_LOCK_VALUE, abi::MEM_LOCKS_PER_HALF * abi::LOCK_STRIDE) {
        return lock_value(inside, half * abi::MEM_LOCKS_PER_HALF);
    }
    if let Some(inside) = within(
        inner,
        abi::MEM_LOCK_REQUEST,
        abi::MEM_LOCKS_PER_HALF * abi::LOCK_REQUEST_STRIDE,
    ) {
        return lock_request(inside, half * abi::MEM_LOCKS_PER_HALF);
    }
    switch::decode(Kind::Mem, half, inner)
}

fn decode_core(offset: u32) -> Option<Register> {
    if offset < abi::CORE_DATA_SIZE {
        return Some(Register::Data(offset));
    }
    if let Some(inside) = within(offset, abi::CORE_PROGRAM, abi::CORE_PROGRAM_SIZE) {
        return Some(Register::Program(inside));
    }
    match offset {
        abi::CORE_CONTROL => return Some(Register::CoreControl),
        abi::CORE_STATUS => return Some(Register::CoreStatus),
        abi::CORE_PC => return Some(Register::CorePc),
        abi::CORE_FAULT => return Some(Register::CoreFault),
        _ => {}
    }
    if let Some(inside) = within(offset, abi::CORE_COUNTER_CONTROL, 2 * abi::CORE_COUNTERS) {
        return Some(Register::CounterControl((inside / 4) as u8));
    }
    if let Some(inside) = within(offset, abi::CORE_COUNTER, 4 * abi::CORE_COUNTERS) {
        return Some(Register::Counter((inside / 4) as u8));
    }
    if let Some(inside) = within(offset, abi::CORE_BD, abi::CORE_BDS * abi::CORE_BD_STRIDE) {
        return bd(inside, abi::CORE_BD_STRIDE, 0);
    }
    if let Some(inside) = within(offset, abi::CORE_CHANNEL_CONTROL, 8 * (abi::CORE_S2MM + abi::CORE_MM2S)) {
        return channel(inside, 0);
    }
    if let Some(inside) = within(offset, abi::CORE_CHANNEL_STATUS, 0x14) {
        return match inside / 4 {
            index @ 0..2 => Some(Register::ChannelStatus(index as u8)),
            4 => Some(Register::ChannelStatus(abi::CORE_S2MM as u8)),
            _ => None,
        };
    }
    if let Some(inside) = within(offset, abi::CORE_LOCK_VALUE, abi::CORE_LOCKS * abi::LOCK_STRIDE) {
        return lock_value(inside, 0);
    }
    if let Some(inside) = within(offset, abi::CORE_LOCK_REQUEST, abi::CORE_LOCKS * abi::LOCK_REQUEST_STRIDE) {
        return lock_request(inside, 0);
    }
    switch::decode(Kind::Core, 0, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_the_register_map() {
        // Addresses measured or derived in the public backend, as the facts table gives them.
        assert_eq!(decode(Kind::Shim, 0x18544), Some(Register::ChannelStart(0)));
        assert_eq!(decode(Kind::Shim, 0x18554), Some(Register::ChannelStart(2)));
        assert_eq!(decode(Kind::Shim, 0x1855c), Some(Register::ChannelStart(3)));
        assert_eq!(decode(Kind::Shim, 0x58544), Some(Register::ChannelStart(1)));
        assert_eq!(decode(Kind::Shim, 0x5855c), Some(Register::ChannelStart(5)));
        assert_eq!(decode(Kind::Shim, 0x18584), Some(Register::ChannelStatus(3)));
        assert_eq!(decode(Kind::Shim, 0x58570), Some(Register::ChannelStatus(1)));
        assert_eq!(decode(Kind::Mem, 0x9F10), Some(Register::ChannelStatus(12)));
        assert_eq!(decode(Kind::Mem, 0x9E04 + 8 * 3), Some(Register::ChannelStart(3)));
        assert_eq!(decode(Kind::Mem, 0x49E04), Some(Register::ChannelStart(4)));
        assert_eq!(decode(Kind::Mem, 0x9E64), Some(Register::ChannelStart(8)));
        assert_eq!(decode(Kind::Mem, 0x49E64 + 8 * 4), Some(Register::ChannelStart(17)));
        assert_eq!(decode(Kind::Core, 0xACE14), Some(Register::ChannelStart(2)));
        assert_eq!(
            decode(Kind::Mem, 0x8000 + 0x300 + 0x30 * 15 + 4),
            Some(Register::Bd { bd: 31, word: 1 })
        );
        assert_eq!(
            decode(Kind::Core, 0xAC000 + 0x20 * 15),
            Some(Register::Bd { bd: 15, word: 0 })
        );
    }

    #[test]
    fn lock_requests_carry_a_signed_value() {
        let request = |offset: u32| decode(Kind::Mem, 0x18000 + offset);
        let minus_one = Register::LockRequest {
            lock: 5,
            acquire: true,
            value: -1,
        };
        assert_eq!(request(5 * 0x400 + 0x200 + (0x7F << 2)), Some(minus_one));
        assert_eq!(
            request(2 << 2),
            Some(Register::LockRequest {
                lock: 0,
                acquire: false,
                value: 2
            })
        );
        assert_eq!(
            decode(Kind::Mem, 0x58000 + 0x40 * 4),
            Some(Register::LockRequest {
                lock: 32,
                acquire: false,
                value: -64
            })
        );
    }

    #[test]
    fn every_register_stands_at_one_offset() {
        for (kind, limit) in [(Kind::Shim, 0x100000), (Kind::Mem, 0x100000), (Kind::Core, 0x100000)] {
            let mut seen = std::collections::HashMap::new();
            for offset in (0..limit).step_by(4) {
                if let Some(register) = decode(kind, offset)
                    && let Some(first) = seen.insert(format!("{register:?}"), offset)
                {
                    panic!("{kind:?}: {register:?} at {first:#x} and {offset:#x}");
                }
            }
        }
    }
}
