//! Bytes from host memory through the tiles and back.

use super::rig::*;
use crate::abi::array::{self as abi, core_bd, mem_bd, shim_bd};
use crate::abi::timing;
use crate::array::Array;
use crate::cert::fabric::Fabric;

/// Shim MM2S0 to mem S2MM0, and mem MM2S0 to shim S2MM0.
fn shim_and_mem(array: &mut Array) {
    array.connect(0, 0, abi::SHIM_SLAVE_DMA, abi::SHIM_MASTER_NORTH[0]);
    array.connect(0, 1, abi::MEM_SLAVE_SOUTH[0], abi::MEM_MASTER_DMA);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_SOUTH[0]);
    array.connect(0, 0, abi::SHIM_SLAVE_NORTH, abi::SHIM_MASTER_DMA[0]);
}

#[test]
fn host_to_mem_tile_and_back() {
    let host = Host::counting(64 * 1024);
    let mut array = Array::new(1);
    shim_and_mem(&mut array);
    array.shim_bd(0, 0, shim_words(0x1000, 1024, &[]));
    array.mem_bd(0, true, 0, 3, mem_words(0x40000, 1024, &[]));
    array.shim_start(0, false, 0, task(0, 0, false));
    array.mem_start(0, true, 0, task(3, 0, true));
    let first = array.run(&host).unwrap();
    assert_eq!(array.mem_bytes(0, 0x100000, 4096), host.bytes(0x1000..0x2000));
    // 4096 bytes at the host's 16 a cycle, one BD, one link, one host access.
    let cycles = timing::BD_CYCLES + timing::HOP_CYCLES + timing::HOST_LATENCY_CYCLES + 4096 / timing::HOST_BYTES_PER_CYCLE;
    assert_eq!(first, u64::from(cycles));

    array.mem_bd(0, false, 0, 1, mem_words(0x40000, 1024, &[]));
    array.shim_bd(0, 1, shim_words(0x8000 + u64::from(abi::SHIM_ADDRESS_OFFSET), 1024, &[]));
    array.mem_start(0, false, 0, task(1, 0, false));
    array.shim_start(0, true, 0, task(1, 0, true));
    array.run(&host).unwrap();
    assert_eq!(host.bytes(0x8000..0x9000), host.bytes(0x1000..0x2000));
    assert!(array.idle() && array.blocked().is_empty());
}

#[test]
fn double_buffering_by_locks_through_a_core_tile() {
    // Host -> mem tile (2 buffers) -> core data memory (2 buffers) -> mem tile -> host, 8 pieces of 256 words; each BD takes an
    // "empty" or "full" lock and gives the other.
    const PIECE: u32 = 256;
    const PIECES: u32 = 8;
    let host = Host::counting(64 * 1024);
    let mut array = Array::new(1);
    shim_and_mem(&mut array);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[1], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    array.connect(0, CORE, abi::CORE_SLAVE_DMA, abi::CORE_MASTER_SOUTH[1]);
    array.connect(0, 1, abi::MEM_SLAVE_NORTH[1], abi::MEM_MASTER_DMA + 1);

    let minus_one = -1i32 as u32;
    let guarded = |acquire: u32, release: u32, next: u32| {
        use mem_bd as bd;
        [
            (bd::ACQUIRE_ENABLE, 1),
            (bd::ACQUIRE_ID, abi::MEM_LOCK_WINDOW + acquire),
            (bd::ACQUIRE_VALUE, minus_one),
            (bd::RELEASE_ID, abi::MEM_LOCK_WINDOW + release),
            (bd::RELEASE_VALUE, 1),
            (bd::USE_NEXT_BD, 1),
            (bd::NEXT_BD, next),
        ]
    };
    let guarded_core = |acquire: u32, release: u32, next: u32| {
        use core_bd as bd;
        [
            (bd::ACQUIRE_ENABLE, 1),
            (bd::ACQUIRE_ID, acquire),
            (bd::ACQUIRE_VALUE, minus_one),
            (bd::RELEASE_ID, release),
            (bd::RELEASE_VALUE, 1),
            (bd::USE_NEXT_BD, 1),
            (bd::NEXT_BD, next),
        ]
    };
    // Locks 0/1 and 2/3: empty and full of the two mem tile buffers; core locks likewise.
    for (lock, value) in [(0, 2), (1, 0), (2, 2), (3, 0)] {
        array.lock(0, 1, lock, value);
    }
    for (lock, value) in [(0, 2), (1, 0)] {
        array.lock(0, CORE, lock, value);
    }
    for buffer in 0..2 {
        let next = 1 - buffer;
        array.mem_bd(0, true, 0, buffer, mem_words(buffer * PIECE, PIECE, &guarded(0, 1, next)));
        array.mem_bd(0, false, 1, buffer, mem_words(buffer * PIECE, PIECE, &guarded(1, 0, next)));
        array.core_bd(0, CORE, buffer, core_words(buffer * PIECE, PIECE, &guarded_core(0, 1, next)));
        array.core_bd(
            0,
            CORE,
            2 + buffer,
            core_words(buffer * PIECE, PIECE, &guarded_core(1, 0, 2 + next)),
        );
        array.mem_bd(
            0,
            true,
            1,
            buffer,
            mem_words((4 + buffer) * PIECE, PIECE, &guarded(2, 3, next)),
        );
        array.mem_bd(
            0,
            false,
            0,
            buffer,
            mem_words((4 + buffer) * PIECE, PIECE, &guarded(3, 2, next)),
        );
    }
    array.mem_start(0, true, 0, task(0, 0, false));
    array.mem_start(0, false, 1, task(0, 0, false));
    array.core_start(0, CORE, true, 0, task(0, 0, false));
    array.core_start(0, CORE, false, 0, task(2, 0, false));
    array.mem_start(0, true, 1, task(0, 0, false));
    array.mem_start(0, false, 0, task(0, 0, false));
    array.shim_bd(0, 0, shim_words(0, PIECE * PIECES, &[]));
    // The way back in two BDs, chained.
    let chained = [(shim_bd::USE_NEXT_BD, 1), (shim_bd::NEXT_BD, 2)];
    array.shim_bd(0, 1, shim_words(0x8000, PIECE * PIECES / 2, &chained));
    array.shim_bd(
        0,
        2,
        shim_words(0x8000 + u64::from(PIECE * PIECES / 2) * 4, PIECE * PIECES / 2, &[]),
    );
    array.shim_start(0, true, 0, task(1, 0, true));
    array.shim_start(0, false, 0, task(0, 0, true));
    array.run(&host).unwrap();
    let bytes = (PIECE * PIECES * 4) as usize;
    assert_eq!(host.bytes(0x8000..0x8000 + bytes), host.bytes(0..bytes));
    // Each chain has begun its next BD: the receivers hold an empty buffer, the senders wait for a full one.
    assert_eq!([0, 1, 2, 3].map(|lock| array.lock_value(0, 1, lock)), [1, 0, 1, 0]);
    let now = array.now();
    assert_eq!(array.take_tokens(0, abi::SHIM_ACTOR_S2MM[0] as u8, 1), Some(now));
    assert_eq!(array.take_tokens(0, abi::SHIM_ACTOR_S2MM[0] as u8, 1), None);
    let blocked = array.blocked();
    assert!(
        blocked.contains(&"tile (0, 1) MM2S0 BD 0 waits for lock 3 to be at least 1 (it is 0)".to_owned()),
        "{blocked:?}"
    );
}

/// A long BD takes several events but no more simulated time, and one event never moves more than a quarter of a megabyte.
#[test]
fn long_transfers_are_cut_into_events() {
    const WORDS: u32 = 700 * 1024;
    let host = Host::counting(WORDS as usize * 4);
    let mut array = Array::new(1);
    shim_and_mem(&mut array);
    array.shim_bd(0, 0, shim_words(0, WORDS, &[]));
    array.mem_bd(0, true, 0, 0, mem_words(0, WORDS, &[]));
    array.shim_start(0, false, 0, task(0, 0, false));
    array.mem_start(0, true, 0, task(0, 0, true));
    let mut moved = 0;
    while let Some(time) = array.next_event() {
        array.step(&host).unwrap();
        let now: u64 = array
            .report()
            .tiles
            .iter()
            .flat_map(|tile| &tile.channels)
            .map(|channel| channel.bytes)
            .sum();
        assert!(now - moved <= 2 * 256 * 1024, "at {time}");
        moved = now;
    }
    let cycles = timing::BD_CYCLES + timing::HOP_CYCLES + timing::HOST_LATENCY_CYCLES + WORDS * 4 / timing::HOST_BYTES_PER_CYCLE;
    assert_eq!(array.now(), u64::from(cycles));
    assert!(array.mem_bytes(0, 0, WORDS as usize * 4) == host.bytes(0..WORDS as usize * 4));
}

/// From host memory to host memory through one shim tile's switch, with rows on both sides.
#[test]
fn host_to_host() {
    let host = Host::counting(256 * 1024);
    let mut array = Array::new(1);
    array.connect(0, 0, abi::SHIM_SLAVE_DMA + 1, abi::SHIM_MASTER_DMA[1]);
    let rows = [(shim_bd::D0_WRAP, 10), (shim_bd::D1_STEP, 20)];
    array.shim_bd(0, 3, shim_words(0, 6000, &rows));
    array.shim_bd(0, 16, shim_words(0x20000, 6000, &[]));
    array.shim_start(0, false, 1, task(3, 0, false));
    array.shim_start(0, true, 1, task(0, 0, true));
    array.run(&host).unwrap();
    let expected: Vec<u8> = (0..600).flat_map(|row| host.bytes(row * 80..row * 80 + 40)).collect();
    let got = host.bytes(0x20000..0x20000 + 24000);
    let wrong = got.iter().zip(&expected).position(|(got, expected)| got != expected);
    assert_eq!(wrong, None);
    let now = array.now();
    assert_eq!(array.take_tokens(0, 2, 1), Some(now));
}
