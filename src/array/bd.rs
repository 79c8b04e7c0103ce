//! Buffer descriptors: one form for the three that tiles have.

use crate::abi::array::{self as abi, core_bd, mem_bd, shim_bd};

use super::tile::{BD_WORDS, Kind};
use super::walk::Shape;

/// A buffer descriptor's fields, whichever tile it is of. Addresses, lengths and steps count 32-bit words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Descriptor {
    /// First word: in tile memory, or (shim) the host byte address divided by four.
    pub base: u64,
    /// The same before anything is taken off, in the unit of the register, for messages.
    pub raw_address: u64,
    pub length: u32,
    pub shape: Shape,
    pub iteration_step: u32,
    pub iteration_wrap: u32,
    pub iteration_current: u32,
    pub acquire: bool,
    pub acquire_id: u16,
    pub acquire_value: i8,
    pub release_id: u16,
    pub release_value: i8,
    pub next: Option<u8>,
    pub packet: bool,
    pub packet_id: u8,
    pub out_of_order_id: u8,
    pub tlast_suppress: bool,
}

/// Why an address of a BD cannot be used.
pub(super) type Misplaced = &'static str;

/// Reads the fields of `words`.
pub(super) fn decode(kind: Kind, words: &[u32; BD_WORDS]) -> Result<Descriptor, Misplaced> {
    match kind {
        Kind::Shim => decode_shim(words),
        Kind::Mem => decode_mem(words),
        Kind::Core => Ok(decode_core(words)),
    }
}

/// Writes the iteration counter back into `words`.
pub(super) fn set_iteration(kind: Kind, words: &mut [u32; BD_WORDS], current: u32) {
    match kind {
        Kind::Shim => shim_bd::ITERATION_CURRENT,
        Kind::Mem => mem_bd::ITERATION_CURRENT,
        Kind::Core => core_bd::ITERATION_CURRENT,
    }
    .set(words, current);
}

fn decode_shim(words: &[u32; BD_WORDS]) -> Result<Descriptor, Misplaced> {
    use shim_bd as bd;
    let raw_address = u64::from(bd::ADDRESS_HIGH.get(words)) << 32 | u64::from(bd::ADDRESS_LOW.get(words));
    let offset = u64::from(abi::SHIM_ADDRESS_OFFSET);
    let address = if raw_address >= offset {
        raw_address - offset
    } else {
        raw_address
    };
    if !address.is_multiple_of(4) {
        return Err("its host address is not a multiple of 4");
    }
    Ok(Descriptor {
        base: address / 4,
        raw_address,
        length: bd::LENGTH.get(words),
        shape: Shape {
            wraps: [bd::D0_WRAP.get(words), bd::D1_WRAP.get(words), bd::D2_WRAP.get(words)],
            steps: [bd::D1_STEP.get(words), bd::D2_STEP.get(words), bd::D3_STEP.get(words)],
            ..Shape::default()
        },
        iteration_step: bd::ITERATION_STEP.get(words),
        iteration_wrap: bd::ITERATION_WRAP.get(words) + 1,
        iteration_current: bd::ITERATION_CURRENT.get(words),
        acquire: bd::ACQUIRE_ENABLE.get(words) != 0,
        acquire_id: bd::ACQUIRE_ID.get(words) as u16,
        acquire_value: bd::ACQUIRE_VALUE.get_signed(words) as i8,
        release_id: bd::RELEASE_ID.get(words) as u16,
        release_value: bd::RELEASE_VALUE.get_signed(words) as i8,
        next: (bd::USE_NEXT_BD.get(words) != 0).then(|| bd::NEXT_BD.get(words) as u8),
        packet: bd::ENABLE_PACKET.get(words) != 0,
        packet_id: bd::PACKET_ID.get(words) as u8,
        out_of_order_id: bd::OUT_OF_ORDER_ID.get(words) as u8,
        tlast_suppress: bd::TLAST_SUPPRESS.get(words) != 0,
    })
}

/// The tile's lock that a mem tile BD means; beyond its last if it is another tile's.
fn own_lock(id: u32) -> u16 {
    id.wrapping_sub(abi::MEM_LOCK_WINDOW) as u16
}

fn decode_mem(words: &[u32; BD_WORDS]) -> Result<Descriptor, Misplaced> {
    use mem_bd as bd;
    let raw_address = u64::from(bd::ADDRESS.get(words));
    let Some(base) = raw_address.checked_sub(u64::from(abi::MEM_WINDOW / 4)) else {
        return Err("its address lies below the tile's own memory, which starts at word 0x800000");
    };
    Ok(Descriptor {
        base,
        raw_address,
        length: bd::LENGTH.get(words),
        shape: Shape {
            wraps: [bd::D0_WRAP.get(words), bd::D1_WRAP.get(words), bd::D2_WRAP.get(words)],
            steps: [bd::D1_STEP.get(words), bd::D2_STEP.get(words), bd::D3_STEP.get(words)],
            before: [
                bd::D0_PAD_BEFORE.get(words),
                bd::D1_PAD_BEFORE.get(words),
                bd::D2_PAD_BEFORE.get(words),
            ],
            after: [
                bd::D0_PAD_AFTER.get(words),
                bd::D1_PAD_AFTER.get(words),
                bd::D2_PAD_AFTER.get(words),
            ],
        },
        iteration_step: bd::ITERATION_STEP.get(words),
        iteration_wrap: bd::ITERATION_WRAP.get(words) + 1,
        iteration_current: bd::ITERATION_CURRENT.get(words),
        acquire: bd::ACQUIRE_ENABLE.get(words) != 0,
        acquire_id: own_lock(bd::ACQUIRE_ID.get(words)),
        acquire_value: bd::ACQUIRE_VALUE.get_signed(words) as i8,
        release_id: own_lock(bd::RELEASE_ID.get(words)),
        release_value: bd::RELEASE_VALUE.get_signed(words) as i8,
        next: (bd::USE_NEXT_BD.get(words) != 0).then(|| bd::NEXT_BD.get(words) as u8),
        packet: bd::ENABLE_PACKET.get(words) != 0,
        packet_id: bd::PACKET_ID.get(words) as u8,
        out_of_order_id: bd::OUT_OF_ORDER_ID.get(words) as u8,
        tlast_suppress: bd::TLAST_SUPPRESS.get(words) != 0,
    })
}

fn decode_core(words: &[u32; BD_WORDS]) -> Descriptor {
    use core_bd as bd;
    let raw_address = u64::from(bd::ADDRESS.get(words));
    Descriptor {
        base: raw_address,
        raw_address,
        length: bd::LENGTH.get(words),
        shape: Shape {
            wraps: [bd::D0_WRAP.get(words), bd::D1_WRAP.get(words), 0],
            steps: [bd::D1_STEP.get(words), bd::D2_STEP.get(words), 1],
            ..Shape::default()
        },
        iteration_step: bd::ITERATION_STEP.get(words),
        iteration_wrap: bd::ITERATION_WRAP.get(words) + 1,
        iteration_current: bd::ITERATION_CURRENT.get(words),
        acquire: bd::ACQUIRE_ENABLE.get(words) != 0,
        acquire_id: bd::ACQUIRE_ID.get(words) as u16,
        acquire_value: bd::ACQUIRE_VALUE.get_signed(words) as i8,
        release_id: bd::RELEASE_ID.get(words) as u16,
        release_value: bd::RELEASE_VALUE.get_signed(words) as i8,
        next: (bd::USE_NEXT_BD.get(words) != 0).then(|| bd::NEXT_BD.get(words) as u8),
        packet: bd::ENABLE_PACKET.get(words) != 0,
        packet_id: bd::PACKET_ID.get(words) as u8,
        out_of_order_id: bd::OUT_OF_ORDER_ID.get(words) as u8,
        tlast_suppress: bd::TLAST_SUPPRESS.get(words) != 0,
    }
}
