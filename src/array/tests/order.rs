//! Dimensions, padding and iteration against the naive order of words.

use super::super::copy;
use super::super::walk::{Shape, Walk};
use super::naive::{Xorshift, order, shape};
use super::rig::*;
use crate::abi::Bits;
use crate::abi::array::{self as abi, core_bd, mem_bd, shim_bd};
use crate::array::Array;

/// The words a walk visits when it is advanced by at most `step` words at a time, or by rows.
fn visited(mut walk: Walk, step: u32, by_rows: bool) -> Vec<Option<u64>> {
    let mut out = Vec::new();
    while walk.left > 0 {
        let block = walk.block();
        let (rows, planes) = if by_rows { (block.rows, block.planes) } else { (1, 1) };
        let run = if by_rows { block.run } else { block.run.min(step) };
        for (plane, row) in (0..planes).flat_map(|plane| (0..rows).map(move |row| (plane, row))) {
            let at = block.at + u64::from(plane) * u64::from(block.plane_stride) + u64::from(row) * u64::from(block.stride);
            out.extend((0..u64::from(run)).map(|word| (!block.zero).then_some(at + word)));
        }
        if planes > 1 {
            walk.advance_planes(planes);
        } else if rows > 1 {
            walk.advance_rows(rows);
        } else {
            walk.advance(run);
        }
    }
    out
}

#[test]
fn a_walk_visits_words_in_the_order_of_the_definition() {
    let mut random = Xorshift(0x1234_5678_9ABC_DEF1);
    for case in 0..4000 {
        let shape = shape(&mut random, case % 2 == 1);
        let length = 1 + random.below(300);
        let base = u64::from(random.below(100));
        let expected = order(base, length, &shape);
        let walk = Walk::new(base, length, &shape);
        let extent = expected.iter().flatten().max().map_or(0, |last| last + 1 - base);
        assert_eq!(walk.extent(), extent, "{shape:?} length {length}");
        assert_eq!(
            visited(walk, 1 + random.below(7), false),
            expected,
            "{shape:?} length {length}"
        );
        assert_eq!(visited(walk, 0, true), expected, "{shape:?} length {length} by rows");
    }
}

#[test]
fn copies_between_two_patterns_move_the_right_words() {
    let mut random = Xorshift(0xFEED_5678_9ABC_DEF1);
    for case in 0..4000 {
        let (from, to) = (shape(&mut random, case % 2 == 1), shape(&mut random, false));
        let length = 1 + random.below(300);
        let (read, written) = (order(0, length, &from), order(0, length, &to));
        let size = |order: &[Option<u64>]| order.iter().flatten().max().map_or(0, |last| *last as usize + 1);
        let source: Vec<u32> = (0..size(&read) as u32).map(|word| word + 1).collect();
        let source_bytes: Vec<u8> = source.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut target = vec![0u8; size(&written) * 4];
        // In two parts, as when a BD of the other end is shorter.
        let (mut a, mut b) = (Walk::new(0, length, &from), Walk::new(0, length, &to));
        let first = random.below(length + 1);
        let mut staging = vec![0; copy::STAGING_WORDS as usize * 4];
        copy::tile_to_tile(&source_bytes, &mut a, &mut target, &mut b, first, &mut staging);
        copy::tile_to_tile(&source_bytes, &mut a, &mut target, &mut b, length - first, &mut staging);
        assert_eq!((a.left, b.left), (0, 0));
        let mut expected = vec![0u32; size(&written)];
        for (from, to) in read.iter().zip(&written) {
            expected[to.unwrap() as usize] = from.map_or(0, |word| source[word as usize]);
        }
        let got: Vec<u32> = target
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        assert_eq!(got, expected, "{from:?} to {to:?}, {length} words");
    }
}

/// BD fields of a shape.
fn fields(shape: &Shape, wraps: [Option<Bits>; 3], steps: [Option<Bits>; 3]) -> Vec<(Bits, u32)> {
    let wraps = wraps
        .into_iter()
        .zip(shape.wraps)
        .filter_map(|(field, value)| Some((field?, value)));
    let steps = steps
        .into_iter()
        .zip(shape.steps)
        .filter_map(|(field, value)| Some((field?, value)));
    wraps.chain(steps).collect()
}

/// Words of `bytes` in the given order.
fn pick(bytes: &[u8], order: &[Option<u64>]) -> Vec<u32> {
    let word = |at: u64| u32::from_le_bytes(bytes[at as usize * 4..at as usize * 4 + 4].try_into().unwrap());
    order.iter().map(|at| at.map_or(0, word)).collect()
}

/// Runs shim MM2S0 -> mem S2MM0 (linear, at word 0), then mem MM2S1 -> core S2MM0, then core MM2S0 -> mem S2MM2 -> shim S2MM1:
/// every kind of BD with a random shape, every one repeated with an iteration offset.
#[test]
fn every_kind_of_bd_with_dimensions_padding_and_iteration() {
    let mut random = Xorshift(0xABCD_0123_4567_89AB);
    for case in 0..60 {
        let host = Host::counting(256 * 1024);
        let mut array = Array::new(1);
        array.connect(0, 0, abi::SHIM_SLAVE_DMA + 2, abi::SHIM_MASTER_NORTH[1]);
        array.connect(0, 1, abi::MEM_SLAVE_SOUTH[1], abi::MEM_MASTER_DMA);
        let runs = 3;
        let length = 60 + random.below(60);
        let iteration = 1 + random.below(500);

        // Shim, channel 2 (the second half's BDs), with all dimensions.
        let shim = shape(&mut random, false);
        let mut more = fields(
            &shim,
            [Some(shim_bd::D0_WRAP), Some(shim_bd::D1_WRAP), Some(shim_bd::D2_WRAP)],
            [Some(shim_bd::D1_STEP), Some(shim_bd::D2_STEP), Some(shim_bd::D3_STEP)],
        );
        more.extend([(shim_bd::ITERATION_STEP, iteration), (shim_bd::ITERATION_WRAP, 1)]);
        array.shim_bd(0, 16 + 5, shim_words(0x400, length, &more));
        array.mem_bd(0, true, 0, 0, mem_words(0, length * runs, &[]));
        array.shim_start(0, false, 2, task(5, runs - 1, false));
        array.mem_start(0, true, 0, task(0, 0, false));
        array.run(&host).unwrap();
        // The iteration counter goes 0, 1, and wraps to 0.
        let host_bytes = host.bytes(0..256 * 1024);
        let expected: Vec<u32> = [0, 1, 0]
            .iter()
            .flat_map(|turn| pick(&host_bytes, &order(0x100 + turn * u64::from(iteration), length, &shim)))
            .collect();
        let got = array.mem_bytes(0, 0, (length * runs * 4) as usize);
        assert_eq!(
            pick(
                &got,
                &order(
                    0,
                    length * runs,
                    &Shape {
                        steps: [1; 3],
                        ..Shape::default()
                    }
                )
            ),
            expected,
            "case {case} {shim:?}"
        );
        assert_eq!(shim_bd::ITERATION_CURRENT.get(&array.shim_words_at(0, 21)), 1);

        // Mem tile out, padded, into a core with two dimensions.
        array.connect(0, 1, abi::MEM_SLAVE_DMA[6], abi::MEM_MASTER_NORTH + 3);
        array.connect(0, CORE, abi::CORE_SLAVE_SOUTH + 3, abi::CORE_MASTER_DMA + 1);
        let mem = shape(&mut random, true);
        let mut more = fields(
            &mem,
            [Some(mem_bd::D0_WRAP), Some(mem_bd::D1_WRAP), Some(mem_bd::D2_WRAP)],
            [Some(mem_bd::D1_STEP), Some(mem_bd::D2_STEP), Some(mem_bd::D3_STEP)],
        );
        more.extend([(mem_bd::D0_PAD_BEFORE, mem.before[0]), (mem_bd::D0_PAD_AFTER, mem.after[0])]);
        more.extend([(mem_bd::D1_PAD_BEFORE, mem.before[1]), (mem_bd::D1_PAD_AFTER, mem.after[1])]);
        more.extend([(mem_bd::D2_PAD_BEFORE, mem.before[2]), (mem_bd::D2_PAD_AFTER, mem.after[2])]);
        more.extend([
            (mem_bd::ITERATION_STEP, 10),
            (mem_bd::ITERATION_WRAP, 4),
            (mem_bd::ITERATION_CURRENT, 3),
        ]);
        array.mem_bd(0, false, 6, 9, mem_words(2, length, &more));
        let mut core = shape(&mut random, false);
        core.wraps[2] = 0;
        let more = fields(
            &core,
            [Some(core_bd::D0_WRAP), Some(core_bd::D1_WRAP), None],
            [Some(core_bd::D1_STEP), Some(core_bd::D2_STEP), None],
        );
        array.core_bd(0, CORE, 4, core_words(0x100, length, &more));
        array.mem_start(0, false, 6, task(9, 0, false));
        array.core_start(0, CORE, true, 1, task(4, 0, false));
        array.run(&host).unwrap();
        let mem_bytes = array.mem_bytes(0, 0, 512 * 1024);
        let stream = pick(&mem_bytes, &order(2 + 3 * 10, length, &mem));
        let mut expected = vec![0; 32768];
        for (value, to) in stream.iter().zip(order(0x100, length, &core)) {
            expected[to.unwrap() as usize] = *value;
        }
        assert_eq!(
            array.core_data(0, CORE, 0, 32768),
            expected,
            "case {case} {mem:?} to {core:?}"
        );

        // Core out, mem tile in with a shape of its own, in two BDs of which the first is shorter.
        array.connect(0, CORE, abi::CORE_SLAVE_DMA, abi::CORE_MASTER_SOUTH[3]);
        array.connect(0, 1, abi::MEM_SLAVE_NORTH[3], abi::MEM_MASTER_DMA + 5);
        array.core_bd(0, CORE, 7, core_words(0x100, length, &more));
        let (mut first, second) = (shape(&mut random, false), shape(&mut random, false));
        first.wraps[0] = first.wraps[0].max(1);
        let shaped = |shape: &Shape| {
            fields(
                shape,
                [Some(mem_bd::D0_WRAP), Some(mem_bd::D1_WRAP), Some(mem_bd::D2_WRAP)],
                [Some(mem_bd::D1_STEP), Some(mem_bd::D2_STEP), Some(mem_bd::D3_STEP)],
            )
        };
        let cut = 1 + random.below(length - 1);
        let mut chained = shaped(&first);
        chained.extend([(mem_bd::USE_NEXT_BD, 1), (mem_bd::NEXT_BD, 12)]);
        array.mem_bd(0, true, 5, 2, mem_words(0x40000, cut, &chained));
        array.mem_bd(0, true, 5, 12, mem_words(0x60000, length - cut, &shaped(&second)));
        array.mem_start(0, true, 5, task(2, 0, false));
        array.core_start(0, CORE, false, 0, task(7, 0, false));
        array.run(&host).unwrap();
        let core_words = array.core_data(0, CORE, 0, 32768);
        let stream: Vec<u32> = order(0x100, length, &core)
            .iter()
            .map(|at| core_words[at.unwrap() as usize])
            .collect();
        let mut expected = vec![0u32; 0x30000];
        let places = order(0, cut, &first).into_iter().chain(order(0x20000, length - cut, &second));
        for (value, to) in stream.iter().zip(places) {
            expected[to.unwrap() as usize] = *value;
        }
        let got = array.mem_bytes(0, 0x100000, 0x30000 * 4);
        let got: Vec<u32> = got
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        assert!(
            got == expected,
            "case {case} {first:?} then {second:?}, cut at {cut} of {length}"
        );
    }
}

#[test]
fn shim_writes_with_dimensions() {
    let mut random = Xorshift(0x7777_0123_4567_89AB);
    for case in 0..200 {
        let host = Host::new(512 * 1024);
        let mut array = Array::new(1);
        array.connect(0, 1, abi::MEM_SLAVE_DMA[9], abi::MEM_MASTER_SOUTH[2]);
        array.connect(0, 0, abi::SHIM_SLAVE_NORTH + 2, abi::SHIM_MASTER_DMA[1]);
        let values: Vec<u32> = (0..0x800).map(|word| word + 1).collect();
        array.block(at(0, 1, 0), &values);
        let (from, to) = (shape(&mut random, case % 2 == 0), shape(&mut random, false));
        // Long runs go to the host directly, short ones are gathered first: cover both.
        let (from, length) = if case % 3 == 0 {
            (
                Shape {
                    wraps: [0; 3],
                    steps: [1; 3],
                    ..Shape::default()
                },
                1000,
            )
        } else {
            (from, 1 + random.below(200))
        };
        let mut more = fields(
            &from,
            [Some(mem_bd::D0_WRAP), Some(mem_bd::D1_WRAP), Some(mem_bd::D2_WRAP)],
            [Some(mem_bd::D1_STEP), Some(mem_bd::D2_STEP), Some(mem_bd::D3_STEP)],
        );
        more.extend([(mem_bd::D0_PAD_BEFORE, from.before[0]), (mem_bd::D0_PAD_AFTER, from.after[0])]);
        more.extend([(mem_bd::D1_PAD_BEFORE, from.before[1]), (mem_bd::D1_PAD_AFTER, from.after[1])]);
        more.extend([(mem_bd::D2_PAD_BEFORE, from.before[2]), (mem_bd::D2_PAD_AFTER, from.after[2])]);
        array.mem_bd(0, false, 9, 1, mem_words(0, length, &more));
        let more = fields(
            &to,
            [Some(shim_bd::D0_WRAP), Some(shim_bd::D1_WRAP), Some(shim_bd::D2_WRAP)],
            [Some(shim_bd::D1_STEP), Some(shim_bd::D2_STEP), Some(shim_bd::D3_STEP)],
        );
        array.shim_bd(0, 16, shim_words(0x40, length, &more));
        array.mem_start(0, false, 9, task(1, 0, false));
        array.shim_start(0, true, 1, task(0, 0, false));
        array.run(&host).unwrap();
        let stream = pick(&array.mem_bytes(0, 0, 0x300000), &order(0, length, &from));
        let mut expected = vec![0; 128 * 1024];
        for (value, to) in stream.iter().zip(order(0x10, length, &to)) {
            expected[to.unwrap() as usize] = *value;
        }
        let linear = Shape {
            steps: [1; 3],
            ..Shape::default()
        };
        assert!(
            pick(&host.bytes(0..512 * 1024), &order(0, 128 * 1024, &linear)) == expected,
            "case {case} {from:?} to {to:?}"
        );
    }
}
