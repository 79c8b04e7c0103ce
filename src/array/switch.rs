//! Which port of a stream switch a register belongs to: registers count ports by position, half by half.

use crate::abi::array as abi;
use crate::abi::switch;

use super::address::{Register, within};
use super::tile::Kind;

/// Registers of the switches of one kind of tile, as offsets in a half.
struct Layout {
    master: u32,
    slave: u32,
    slot: u32,
    /// Port numbers by position, the first half's first.
    masters: &'static [u32],
    slaves: &'static [u32],
    /// First offset and words of each block that is kept and does nothing.
    kept: &'static [u32],
    halves: usize,
}

const SHIM: Layout = Layout {
    master: switch::SHIM_SWITCH_MASTER,
    slave: switch::SHIM_SWITCH_SLAVE,
    slot: switch::SHIM_SWITCH_SLOT,
    masters: &switch::SHIM_MASTER_PORTS,
    slaves: &switch::SHIM_SLAVE_PORTS,
    kept: &switch::SHIM_SWITCH_KEPT,
    halves: 2,
};
const MEM: Layout = Layout {
    master: switch::MEM_SWITCH_MASTER,
    slave: switch::MEM_SWITCH_SLAVE,
    slot: switch::MEM_SWITCH_SLOT,
    masters: &switch::MEM_MASTER_PORTS,
    slaves: &switch::MEM_SLAVE_PORTS,
    kept: &switch::MEM_SWITCH_KEPT,
    halves: 2,
};
const CORE: Layout = Layout {
    master: switch::CORE_SWITCH_MASTER,
    slave: switch::CORE_SWITCH_SLAVE,
    slot: switch::CORE_SWITCH_SLOT,
    masters: &switch::CORE_MASTER_PORTS,
    slaves: &switch::CORE_SLAVE_PORTS,
    kept: &[],
    halves: 1,
};

const fn words(blocks: &[u32]) -> usize {
    let (mut total, mut block) = (0, 0);
    while block < blocks.len() {
        total += blocks[block + 1] as usize;
        block += 2;
    }
    total
}

/// Words that a tile keeps for registers that do nothing: those of both halves of the larger kind.
pub(super) const KEPT: usize = {
    let (shim, mem) = (words(SHIM.kept), words(MEM.kept));
    2 * if shim > mem { shim } else { mem }
};

/// The register at `inner` of half `half`.
pub(super) fn decode(kind: Kind, half: u32, inner: u32) -> Option<Register> {
    let layout = match kind {
        Kind::Shim => &SHIM,
        Kind::Mem => &MEM,
        Kind::Core => &CORE,
    };
    let half = half as usize;
    // The port whose block of `words` words from `base` on holds this offset, and the word in it.
    let port = |ports: &[u32], base: u32, words: u32| {
        let each = ports.len() / layout.halves;
        let inside = within(inner, base, each as u32 * words * 4)? / 4;
        Some((ports[half * each + (inside / words) as usize], inside % words))
    };
    if let Some((port, _)) = port(layout.masters, layout.master, 1) {
        return Some(Register::Master(port as u8));
    }
    if let Some((port, _)) = port(layout.slaves, layout.slave, 1) {
        return Some(Register::Slave(port as u8));
    }
    if let Some((port, slot)) = port(layout.slaves, layout.slot, abi::SWITCH_SLOTS) {
        return Some(Register::Slot((port * abi::SWITCH_SLOTS + slot) as u8));
    }
    let mut before = half * words(layout.kept);
    for block in layout.kept.chunks_exact(2) {
        if let Some(inside) = within(inner, block[0], block[1] * 4) {
            return Some(Register::Kept((before + inside as usize / 4) as u8));
        }
        before += block[1] as usize;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What AMD's control code connects (aiebu `test/aie4-ctrlcode`): master register, selected port, register of that port's slave.
    const ROUTES: [(Kind, u32, u32, u32); 24] = [
        // Save pages: both halves' memory southward, into the shim's two S2MM.
        (Kind::Mem, 0x20014, 0x00, 0x20040),
        (Kind::Shim, 0x08000, 0x12, 0x08064),
        (Kind::Mem, 0x20018, 0x01, 0x20044),
        (Kind::Shim, 0x48000, 0x13, 0x08068),
        // Restore pages: four streams northward.
        (Kind::Mem, 0x20000, 0x0E, 0x2005C),
        (Kind::Shim, 0x08020, 0x00, 0x08040),
        (Kind::Mem, 0x20004, 0x0F, 0x20060),
        (Kind::Shim, 0x08024, 0x01, 0x08044),
        (Kind::Mem, 0x60000, 0x12, 0x6005C),
        (Kind::Shim, 0x48020, 0x02, 0x48040),
        (Kind::Mem, 0x60004, 0x13, 0x60060),
        (Kind::Shim, 0x48024, 0x03, 0x48044),
        // A program of one column.
        (Kind::Mem, 0x60024, 0x07, 0x60044),
        (Kind::Mem, 0x60020, 0x0A, 0x60050),
        (Kind::Mem, 0x60000, 0x19, 0x6006C),
        (Kind::Mem, 0x60018, 0x04, 0x20050),
        (Kind::Shim, 0x08000, 0x15, 0x48068),
        (Kind::Core, 0xB4018, 0x01, 0xB4104),
        (Kind::Core, 0xB401C, 0x12, 0xB4148),
        (Kind::Core, 0xB4024, 0x14, 0xB4150),
        (Kind::Core, 0xB4048, 0x06, 0xB4118),
        // Programs that cross columns.
        (Kind::Core, 0xB4064, 0x0C, 0xB4130),
        (Kind::Core, 0xB400C, 0x18, 0xB4160),
        (Kind::Shim, 0x08000, 0x17, 0x08070),
    ];

    fn at(kind: Kind, offset: u32) -> Option<Register> {
        crate::array::address::decode(kind, offset)
    }

    #[test]
    fn a_selection_names_the_port_whose_slave_register_amd_enables() {
        for (kind, master, select, slave) in ROUTES {
            assert!(matches!(at(kind, master), Some(Register::Master(_))), "{kind:?} {master:#x}");
            assert_eq!(at(kind, slave), Some(Register::Slave(select as u8)), "{kind:?} {slave:#x}");
        }
    }

    #[test]
    fn masters_are_the_ports_that_the_routes_need() {
        let master = |kind, offset, port: u32| assert_eq!(at(kind, offset), Some(Register::Master(port as u8)), "{offset:#x}");
        for (index, offset) in [0x20014, 0x20018, 0x60014, 0x60018].into_iter().enumerate() {
            master(Kind::Mem, offset, abi::MEM_MASTER_SOUTH[index]);
        }
        for (index, offset) in [0x08020, 0x08024, 0x48020, 0x48024].into_iter().enumerate() {
            master(Kind::Shim, offset, abi::SHIM_MASTER_NORTH[index]);
        }
        for (channel, offset) in [0x08000, 0x48000].into_iter().enumerate() {
            master(Kind::Shim, offset, abi::SHIM_MASTER_DMA[channel]);
        }
        for (channel, offset) in [0x20000, 0x20004, 0x20008, 0x2000C, 0x60000, 0x60004, 0x60008, 0x6000C]
            .into_iter()
            .enumerate()
        {
            master(Kind::Mem, offset, abi::MEM_MASTER_DMA + channel as u32);
        }
        for (lane, offset) in [0x20020, 0x20024, 0x20028, 0x2002C, 0x60020, 0x60024, 0x60028, 0x6002C]
            .into_iter()
            .enumerate()
        {
            master(Kind::Mem, offset, abi::MEM_MASTER_NORTH + lane as u32);
        }
        for (lane, offset) in [0xB4018, 0xB401C, 0xB4024, 0xB4028].into_iter().enumerate() {
            master(Kind::Core, offset, abi::CORE_MASTER_SOUTH[lane]);
        }
    }

    #[test]
    fn slots_follow_the_slaves_order() {
        // The slots that save pages clear: MM2S0 to 4, South, North of the mem tile's second half; a core's South control.
        let slot = |kind, offset, port: u32, slot: u32| {
            assert_eq!(at(kind, offset), Some(Register::Slot((4 * port + slot) as u8)), "{offset:#x}");
        };
        slot(Kind::Mem, 0x60080, abi::MEM_SLAVE_DMA[5], 0);
        slot(Kind::Mem, 0x60080 + 0x4C, abi::MEM_SLAVE_DMA[9], 3);
        slot(Kind::Mem, 0x600F0, abi::MEM_SLAVE_SOUTH[2], 0);
        slot(Kind::Mem, 0x60130, abi::MEM_SLAVE_NORTH[2], 0);
        slot(Kind::Shim, 0x48110, abi::SHIM_SLAVE_NORTH + 2, 0);
        slot(Kind::Core, 0xB43B4, 27, 1);
    }

    #[test]
    fn what_save_pages_clear_besides_is_kept() {
        let mut kept = std::collections::HashSet::new();
        let blocks = [
            (0x180, 6),
            (0x1A0, 1),
            (0x1A8, 1),
            (0x1B0, 1),
            (0x1C0, 1),
            (0x1C4, 1),
            (0x1C8, 1),
            (0x1D0, 1),
        ];
        let slots = [(0x1D8, 1), (0x1E0, 4), (0x200, 4), (0x220, 4), (0x240, 4)];
        for (offset, count) in blocks.into_iter().chain(slots) {
            for word in 0..count {
                for half in [0, abi::HALF_STRIDE] {
                    let register = at(Kind::Mem, half + 0x20000 + offset + 4 * word);
                    let Some(Register::Kept(index)) = register else {
                        panic!("{offset:#x}: {register:?}")
                    };
                    assert!(usize::from(index) < KEPT && kept.insert(index), "{offset:#x}");
                }
            }
        }
        // Nothing lies between the masters and the slaves of a mem tile's half, nor after the last slot.
        assert_eq!(at(Kind::Mem, 0x2003C), None);
        assert_eq!(at(Kind::Mem, 0x20250), None);
        assert_eq!(at(Kind::Shim, 0x8240), None);
        assert_eq!(at(Kind::Core, 0xB43E0), None);
    }
}
