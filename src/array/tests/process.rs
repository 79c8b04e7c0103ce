//! DMA from and to memory of a process that loses pages meanwhile: a fault of that channel, and nobody else's.

use super::rig::*;
use crate::abi::array::{self as abi, shim_bd};
use crate::array::Array;
use crate::cert::fabric::{ArrayFault, Cycles};
use crate::memory::{PAGE_SIZE, Torn, Waits};

const WORDS: u32 = 2 * PAGE_SIZE as u32 / 4;

/// Two pages from host memory to a mem tile (shim MM2S0), or back (shim S2MM0); in one run, or in rows of 16 bytes, so many words apart.
fn copy(torn: &Torn, back: bool, rows: Option<u32>) -> Result<Cycles, ArrayFault> {
    let mut array = Array::new(1);
    array.connect(0, 0, abi::SHIM_SLAVE_DMA, abi::SHIM_MASTER_NORTH[0]);
    array.connect(0, 1, abi::MEM_SLAVE_SOUTH[0], abi::MEM_MASTER_DMA);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_SOUTH[0]);
    array.connect(0, 0, abi::SHIM_SLAVE_NORTH, abi::SHIM_MASTER_DMA[0]);
    let (length, more) = match rows {
        None => (WORDS, vec![]),
        Some(step) => (WORDS / step * 4, vec![(shim_bd::D0_WRAP, 4), (shim_bd::D1_STEP, step - 1)]),
    };
    array.shim_bd(0, 5, shim_words(0, length, &more));
    array.mem_bd(0, !back, 0, 0, mem_words(0, length, &[]));
    array.shim_start(0, back, 0, task(5, 0, false));
    array.mem_start(0, !back, 0, task(0, 0, false));
    let reader = torn.space.patient_reader(Waits::alone());
    array.run(&reader.enter())
}

#[test]
fn pages_that_are_lost_stop_the_channel_that_reaches_them() {
    let (torn, whole) = (Torn::new(2), Torn::new(2));
    for rows in [None, Some(8)] {
        for back in [false, true] {
            torn.keep(2);
            let cycles = copy(&torn, back, rows).expect("both pages are there");
            torn.keep(1);
            let fault = copy(&torn, back, rows).unwrap_err();
            let part = if back { "S2MM0 BD 5" } else { "MM2S0 BD 5" };
            assert_eq!((fault.tile, fault.part.as_str()), (0, part));
            assert!(fault.reason.contains("host memory at 0x"), "{}", fault.reason);
            // Another owner's copy, the same work, takes no notice.
            assert_eq!(copy(&whole, back, rows), Ok(cycles));
        }
    }
}
