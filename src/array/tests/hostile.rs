//! Hostile control code: random register writes never panic, never run without end, and repeat exactly.

use super::naive::Xorshift;
use super::rig::*;
use crate::abi::array::{self as abi, core_bd, mem_bd, shim_bd};
use crate::array::Array;
use crate::cert::fabric::{Cycles, Fabric};

const COLUMNS: u32 = 2;

/// Sets a channel up to look plausible: a valid BD with random dimensions, often linked, often locked.
fn plausible_bd(array: &mut Array, random: &mut Xorshift) {
    let column = random.below(COLUMNS);
    let mut field = |limit: u32, chance: u32| if random.once_in(chance) { random.below(limit) } else { 0 };
    let (wraps, steps) = (
        [field(6, 2), field(6, 2), field(4, 2)],
        [field(40, 2), field(90, 2), field(200, 2)],
    );
    let (acquire, release) = (field(2, 4), field(2, 2));
    let limit = if field(10, 1) == 0 { 70 } else { 16 };
    let (lock_a, lock_b) = (field(limit, 2), field(limit, 2));
    let (value_a, value_b) = (field(128, 3), field(128, 3));
    let (use_next, next) = (field(2, 3), field(16, 2));
    let (packet, id, order) = (field(2, 6), field(4, 1), field(16, 3));
    let length = 1 + field(400, 1);
    // Few BDs and channels, so that what is started has mostly been written.
    let few = if field(10, 1) == 0 { 8 } else { 2 };
    let (word, bd, channel, kind) = (field(3000, 1), field(2 * few, 1), field(few, 1), field(3, 1));
    let s2mm = field(2, 1) == 0;
    let pad = field(200, 4);
    match kind {
        0 => {
            use shim_bd as b;
            let more = [
                (b::D0_WRAP, wraps[0]),
                (b::D1_WRAP, wraps[1]),
                (b::D2_WRAP, wraps[2]),
                (b::D1_STEP, steps[0]),
                (b::D2_STEP, steps[1]),
                (b::D3_STEP, steps[2]),
                (b::ACQUIRE_ENABLE, acquire),
                (b::ACQUIRE_ID, lock_a),
                (b::ACQUIRE_VALUE, value_a),
                (b::RELEASE_ID, lock_b),
                (b::RELEASE_VALUE, value_b * release),
                (b::USE_NEXT_BD, use_next),
                (b::NEXT_BD, next),
                (b::ENABLE_PACKET, packet),
                (b::PACKET_ID, id),
                (b::OUT_OF_ORDER_ID, order),
            ];
            array.shim_bd(
                column,
                bd + 16 * (channel % 2),
                shim_words(u64::from(word) * 4, length, &more),
            );
        }
        1 => {
            use mem_bd as b;
            let more = [
                (b::D0_WRAP, wraps[0]),
                (b::D1_WRAP, wraps[1]),
                (b::D2_WRAP, wraps[2]),
                (b::D1_STEP, steps[0]),
                (b::D2_STEP, steps[1]),
                (b::D3_STEP, steps[2]),
                (b::ACQUIRE_ENABLE, acquire),
                (b::ACQUIRE_ID, abi::MEM_LOCK_WINDOW + lock_a),
                (b::ACQUIRE_VALUE, value_a),
                (b::RELEASE_ID, abi::MEM_LOCK_WINDOW + lock_b),
                (b::RELEASE_VALUE, value_b * release),
                (b::USE_NEXT_BD, use_next),
                (b::NEXT_BD, next),
                (b::ENABLE_PACKET, packet),
                (b::PACKET_ID, id),
                (b::OUT_OF_ORDER_ID, order),
                (b::D0_PAD_BEFORE, pad),
                (b::D1_PAD_AFTER, pad / 2),
                (b::D2_PAD_BEFORE, pad / 9),
                (b::ITERATION_WRAP, wraps[1]),
                (b::ITERATION_STEP, steps[2]),
                (b::TLAST_SUPPRESS, order / 12),
            ];
            array.mem_bd(
                column,
                s2mm,
                channel.min(if s2mm { 7 } else { 9 }),
                bd,
                mem_words(word, length, &more),
            );
        }
        _ => {
            use core_bd as b;
            let more = [
                (b::D0_WRAP, wraps[0]),
                (b::D1_WRAP, wraps[1]),
                (b::D1_STEP, steps[0]),
                (b::D2_STEP, steps[1]),
                (b::ACQUIRE_ENABLE, acquire),
                (b::ACQUIRE_ID, lock_a),
                (b::ACQUIRE_VALUE, value_a),
                (b::RELEASE_ID, lock_b),
                (b::RELEASE_VALUE, value_b * release),
                (b::USE_NEXT_BD, use_next),
                (b::NEXT_BD, next),
                (b::ENABLE_PACKET, packet),
                (b::PACKET_ID, id),
                (b::OUT_OF_ORDER_ID, order),
                (b::ITERATION_WRAP, wraps[1]),
                (b::ITERATION_STEP, steps[1]),
                (b::TLAST_SUPPRESS, order / 12),
            ];
            array.core_bd(column, CORE + channel % 4, bd, core_words(word, length, &more));
        }
    }
}

/// An address that is some register more often than not.
fn address(random: &mut Xorshift) -> u32 {
    let column = random.below(COLUMNS + 1);
    let row = [0, 1, CORE, CORE + 1, CORE + 2, CORE + 3, 3][random.below(7) as usize];
    let (masters, slaves, slots) = switch(row);
    let near = |base: u32, size: u32, random: &mut Xorshift| base + random.below(size) * 4;
    let offset = match random.below(14) {
        0..=3 => near(masters, 32, random),
        4..=5 => near(slaves, 32, random),
        6 => near(slots, 128, random),
        7 => near(
            if row < CORE {
                abi::SHIM_LOCK_VALUE
            } else {
                abi::CORE_LOCK_VALUE
            },
            128,
            random,
        ),
        8 => near(
            if row < CORE {
                abi::MEM_LOCK_REQUEST
            } else {
                abi::CORE_LOCK_REQUEST
            },
            0x1000,
            random,
        ),
        9 => near(abi::CORE_CONTROL, 4, random),
        10 => near(abi::CORE_PROGRAM, 64, random),
        11 => near(
            [abi::MEM_S2MM_CONTROL, abi::CORE_CHANNEL_CONTROL, abi::SHIM_S2MM_CONTROL][random.below(3) as usize],
            48,
            random,
        ),
        12 => random.below(1 << 20),
        _ => random.below(1 << 20) & !3,
    };
    let half = if random.once_in(4) { abi::HALF_STRIDE } else { 0 };
    at(column, row, (offset + half) & 0xFFFFF)
}

fn start(array: &mut Array, random: &mut Xorshift) {
    let column = random.below(COLUMNS);
    let few = if random.once_in(10) { 8 } else { 2 };
    let task = task(random.below(2 * few), random.below(3), random.once_in(2));
    let s2mm = random.once_in(2);
    match random.below(3) {
        0 => array.shim_start(column, s2mm, random.below(2), task),
        1 => array.mem_start(column, s2mm, random.below(few), task),
        _ => {
            let channel = if s2mm { random.below(2) } else { 0 };
            array.core_start(column, CORE + random.below(4), s2mm, channel, task);
        }
    }
}

/// A connection that exists more often than random bits would make one.
fn connect(array: &mut Array, random: &mut Xorshift) {
    let column = random.below(COLUMNS);
    let lane = random.below(4) as usize;
    let dma = random.below(2);
    match random.below(8) {
        0 => array.connect(column, 0, abi::SHIM_SLAVE_DMA + dma, abi::SHIM_MASTER_NORTH[lane]),
        1 => array.connect(column, 1, abi::MEM_SLAVE_SOUTH[lane], abi::MEM_MASTER_DMA + dma),
        2 => array.connect(column, 1, abi::MEM_SLAVE_DMA[lane], abi::MEM_MASTER_NORTH + dma),
        3 => array.connect(column, CORE, abi::CORE_SLAVE_SOUTH + dma, abi::CORE_MASTER_DMA + dma),
        4 => array.connect(column, CORE, abi::CORE_SLAVE_DMA, abi::CORE_MASTER_SOUTH[lane]),
        5 => array.connect(column, 1, abi::MEM_SLAVE_NORTH[lane], abi::MEM_MASTER_DMA + dma),
        6 => array.connect(column, 1, abi::MEM_SLAVE_DMA[lane], abi::MEM_MASTER_SOUTH[dma as usize]),
        _ => array.connect(column, 0, abi::SHIM_SLAVE_NORTH + dma, abi::SHIM_MASTER_DMA[dma as usize]),
    }
}

/// Resets all channels of one kind of tile, so that faults do not end everything early.
fn reset(array: &mut Array, random: &mut Xorshift) {
    let column = random.below(COLUMNS);
    let half = random.below(2) * abi::HALF_STRIDE;
    let (row, first, count) = match random.below(4) {
        0 => (0, half + abi::SHIM_S2MM_CONTROL, 1),
        1 => (0, half + abi::SHIM_MM2S_CONTROL, 2),
        2 => (1, half + abi::MEM_S2MM_CONTROL, 4),
        _ => (CORE + random.below(4), abi::CORE_CHANNEL_CONTROL, 3),
    };
    for channel in 0..count {
        array.put(at(column, row, first + 8 * channel), 2);
        array.put(at(column, row, first + 8 * channel), 0);
    }
    for channel in 0..abi::MEM_MM2S_PER_HALF {
        array.put(at(column, 1, half + abi::MEM_MM2S_CONTROL + 8 * channel), 2);
        array.put(at(column, 1, half + abi::MEM_MM2S_CONTROL + 8 * channel), 0);
    }
}

/// Runs a random history; gives a summary of what could be seen.
fn history(seed: u64, steps: u32) -> (Vec<String>, Cycles, crate::array::Report, Vec<u8>) {
    let mut random = Xorshift(seed);
    let host = Host::counting(64 * 1024);
    let mut array = Array::new(COLUMNS);
    let mut seen = Vec::new();
    for _ in 0..60 {
        connect(&mut array, &mut random);
    }
    for _ in 0..steps {
        let now = array.now();
        match random.below(20) {
            0..=4 => plausible_bd(&mut array, &mut random),
            5..=10 => start(&mut array, &mut random),
            11 => connect(&mut array, &mut random),
            12..=13 => reset(&mut array, &mut random),
            14..=15 => {
                let value = if random.once_in(2) {
                    random.next() as u32
                } else {
                    random.below(64)
                };
                let address = address(&mut random);
                if let Err(fault) = array.write(now, address, value) {
                    seen.push(format!("{fault:?}"));
                }
            }
            16 => seen.push(format!("{:?}", array.read(now, address(&mut random)))),
            17 => {
                let words: Vec<u32> = (0..random.below(40)).map(|_| random.next() as u32).collect();
                seen.push(format!("{:?}", array.write_block(now, address(&mut random), &words)));
            }
            18 => {
                let tile = random.below(80) as u16;
                seen.push(format!(
                    "{:?}",
                    array.take_tokens(tile, random.below(32) as u8, random.below(3))
                ));
            }
            _ => seen.extend(array.blocked()),
        }
        for _ in 0..random.below(30) {
            if let Err(fault) = array.step(&host) {
                seen.push(format!("{fault:?}"));
            }
        }
    }
    let memory = host.bytes(0..64 * 1024);
    (seen, array.now(), array.report(), memory)
}

#[test]
fn random_histories_neither_panic_nor_hang_and_repeat_exactly() {
    let mut moved = 0;
    for seed in 1..=60 {
        let first = history(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15), 1500);
        moved += first
            .2
            .tiles
            .iter()
            .flat_map(|tile| &tile.channels)
            .map(|channel| channel.bytes)
            .sum::<u64>();
        if seed % 10 == 0 {
            assert!(history(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15), 1500) == first);
        }
    }
    // The histories do real work, or they would prove nothing.
    assert!(moved > 1_000_000, "{moved}");
}

#[test]
fn random_programs_neither_panic_nor_hang() {
    let host = Host::new(0);
    let mut random = Xorshift(0xDEAD_BEEF_1234_5678);
    let mut array = Array::new(1);
    for _ in 0..3000 {
        let mut words = Vec::new();
        while words.len() < 40 {
            let opcode = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x20, 0x2B, 0x2C, 0x2D][random.below(12) as usize];
            let length = [3, 4, 3, 2, 1, 3, 3, 2, 5, 3, 2, 3][[1, 2, 3, 4, 5, 6, 7, 8, 0x20, 0x2B, 0x2C, 0x2D]
                .iter()
                .position(|&code| code == opcode)
                .unwrap()];
            words.push(opcode | length << 8 | random.below(64) << 16);
            for _ in 1..length {
                words.push(if random.once_in(20) {
                    random.next() as u32
                } else {
                    random.below(20)
                });
            }
        }
        array.block(at(0, CORE, abi::CORE_PROGRAM), &words);
        array.put(at(0, CORE, abi::CORE_CONTROL), abi::CORE_CONTROL_RESET);
        array.put(at(0, CORE, abi::CORE_CONTROL), abi::CORE_CONTROL_ENABLE);
        for _ in 0..50 {
            if array.step(&host).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_snapshot_goes_on_as_the_original_does() {
    let host = Host::counting(64 * 1024);
    let mut array = Array::new(1);
    array.connect(0, 0, abi::SHIM_SLAVE_DMA, abi::SHIM_MASTER_NORTH[0]);
    array.connect(0, 1, abi::MEM_SLAVE_SOUTH[0], abi::MEM_MASTER_DMA);
    array.shim_bd(0, 0, shim_words(0, 1000, &[]));
    let more = [(mem_bd::ITERATION_STEP, 100), (mem_bd::ITERATION_WRAP, 9)];
    array.mem_bd(0, true, 0, 0, mem_words(0, 100, &more));
    array.shim_start(0, false, 0, task(0, 0, true));
    array.mem_start(0, true, 0, task(0, 9, true));
    for _ in 0..7 {
        array.step(&host).unwrap();
    }
    let mut copy = array.clone();
    let (original, copied) = (array.run(&host).unwrap(), copy.run(&host).unwrap());
    assert_eq!(original, copied);
    assert_eq!(array.report(), copy.report());
    assert_eq!(copy.mem_bytes(0, 0, 4000), host.bytes(0..4000));
    assert_eq!(array.mem_bytes(0, 0, 4000), host.bytes(0..4000));

    // Another context leaves nothing; the clock and the books go on.
    let report = array.report();
    array.hand_over();
    assert_eq!((array.report(), array.now()), (report, original));
    copy.scrub();
    assert_eq!(copy.report(), crate::array::Report::default());
    for emptied in [&mut array, &mut copy] {
        assert!(emptied.mem_bytes(0, 0, 0x300000).iter().all(|&byte| byte == 0));
        assert_eq!(emptied.take_tokens(0, 6, 1), None);
        assert_eq!(emptied.shim_words_at(0, 0), [0; 9]);
        assert_eq!(emptied.load(at(0, 0, master(0, abi::SHIM_MASTER_NORTH[0]))), 0);
    }
}
