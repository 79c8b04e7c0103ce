//! Micro-benchmark: `cargo test --release array::tests::bench -- --ignored --nocapture`.

use std::time::Instant;

use super::rig::*;
use crate::abi::Bits;
use crate::abi::array::{self as abi, core_bd, mem_bd};
use crate::array::Array;

/// Repeats of a task's BD, the most a start queue word can ask for.
const REPEAT: u32 = 4095;

fn report(name: &str, array: &Array, start: Instant, bytes: u64) {
    let seconds = start.elapsed().as_secs_f64();
    let events = array.report().events;
    println!(
        "{name:44} {:8.1} ns/event {:8.2} GB/s",
        seconds * 1e9 / events as f64,
        bytes as f64 / seconds / 1e9
    );
}

/// Mem MM2S0 to the first core's S2MM0, `length` words a BD, both ends repeated.
fn mem_to_core(name: &str, length: u32, from: &[(Bits, u32)], to: &[(Bits, u32)]) {
    let host = Host::new(0);
    let mut array = Array::new(1);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    array.mem_bd(0, false, 0, 0, mem_words(0, length, from));
    array.core_bd(0, CORE, 0, core_words(0, length, to));
    for _ in 0..4 {
        array.mem_start(0, false, 0, task(0, REPEAT, false));
        array.core_start(0, CORE, true, 0, task(0, REPEAT, false));
    }
    let start = Instant::now();
    array.run(&host).unwrap();
    report(name, &array, start, 4 * u64::from(REPEAT + 1) * u64::from(length) * 4);
}

#[test]
#[ignore = "a benchmark: run it by name, with --nocapture"]
fn transfers() {
    mem_to_core("16 words", 16, &[], &[]);
    mem_to_core("4 KB", 1024, &[], &[]);
    mem_to_core("64 KB", 16384, &[], &[]);
    let runs = |words: u32| [(mem_bd::D0_WRAP, words), (mem_bd::D1_STEP, 3 * words)];
    let runs_in = |words: u32| [(core_bd::D0_WRAP, words), (core_bd::D1_STEP, 2 * words)];
    mem_to_core("4 KB, runs of 4 bytes out", 1024, &runs(1), &[]);
    mem_to_core("4 KB, runs of 16 bytes out", 1024, &runs(4), &[]);
    mem_to_core("4 KB, runs of 16 bytes in", 1024, &[], &runs_in(4));
    mem_to_core("4 KB, runs of 16 bytes out and in", 1024, &runs(4), &runs_in(4));
    mem_to_core("4 KB, runs of 64 bytes out, 16 bytes in", 1024, &runs(16), &runs_in(4));
    mem_to_core("4 KB, runs of 80 bytes out, 64 bytes in", 1280, &runs(20), &runs_in(16));
    mem_to_core("16 KB, runs of 256 bytes out", 4096, &runs(64), &[]);
    let small_planes = [
        (mem_bd::D0_WRAP, 4),
        (mem_bd::D1_STEP, 16),
        (mem_bd::D1_WRAP, 3),
        (mem_bd::D2_STEP, 100),
    ];
    mem_to_core("4 KB, planes of 3 runs of 16 bytes", 1024, &small_planes, &[]);
    let padded = [
        (mem_bd::D0_WRAP, 60),
        (mem_bd::D1_STEP, 60),
        (mem_bd::D0_PAD_BEFORE, 2),
        (mem_bd::D0_PAD_AFTER, 2),
    ];
    mem_to_core("4 KB, rows of 240 bytes padded to 256", 1024, &padded, &[]);
}

#[test]
#[ignore = "a benchmark: run it by name, with --nocapture"]
fn host_transfers() {
    for (name, length) in [
        ("host to mem, 4 KB", 1024),
        ("host to mem, 64 KB", 16384),
        ("host to mem, 1 MB", 262_144),
    ] {
        let host = Host::counting(2 << 20);
        let mut array = Array::new(1);
        array.connect(0, 0, abi::SHIM_SLAVE_DMA, abi::SHIM_MASTER_NORTH[0]);
        array.connect(0, 1, abi::MEM_SLAVE_SOUTH[0], abi::MEM_MASTER_DMA);
        array.shim_bd(0, 0, shim_words(0, length, &[]));
        array.mem_bd(0, true, 0, 0, mem_words(0, length, &[]));
        let repeat = (1 << 26) / length;
        array.shim_start(0, false, 0, task(0, repeat.min(REPEAT), false));
        array.mem_start(0, true, 0, task(0, repeat.min(REPEAT), false));
        let start = Instant::now();
        array.run(&host).unwrap();
        report(name, &array, start, u64::from(repeat.min(REPEAT) + 1) * u64::from(length) * 4);
    }
}
