//! Tile programs: registers, loops, locks, arithmetic and what can go wrong.

use super::rig::*;
use crate::abi::array::{self as abi, mem_bd};
use crate::abi::tile_program::{fault, opcode as op, tile_fill};
use crate::abi::timing;
use crate::array::{Array, Part, What};

/// Assembles instructions: `(opcode, argument, operands)`.
fn program(instructions: &[(u32, u32, &[u32])]) -> Vec<u32> {
    let mut words = Vec::new();
    for (opcode, argument, operands) in instructions {
        words.push(opcode | (1 + operands.len() as u32) << 8 | argument << 16);
        words.extend_from_slice(operands);
    }
    words
}

fn load(array: &mut Array, row: u32, words: &[u32]) {
    array.block(at(0, row, abi::CORE_PROGRAM), words);
}

/// FILL writes `rows` words of `value` bytes: the least arithmetic there is.
fn fill(array: &mut Array, row: u32, word: u32, rows: u32, value: u32) {
    assert_eq!(tile_fill::SIZE, 16);
    array.block(at(0, row, abi::CORE_PROGRAM + word * 4), &[rows, 4, 4, value]);
}

fn enable(array: &mut Array, row: u32) {
    array.put(at(0, row, abi::CORE_CONTROL), abi::CORE_CONTROL_ENABLE);
}

fn status(array: &mut Array, row: u32) -> u32 {
    array.load(at(0, row, abi::CORE_STATUS))
}

const BASE_1: u32 = 1 << 24;

#[test]
fn loops_registers_and_arithmetic() {
    let mut array = Array::new(1);
    fill(&mut array, CORE, 1000, 1, 0x11);
    fill(&mut array, CORE, 1010, 1, 0x22);
    // r1 walks by 16 bytes, three times two words; then r1 and r2 are exchanged; an empty loop is skipped, nest and all.
    let words = program(&[
        (op::MOVE, 0, &[1, 0x100]),
        (op::MOVE, 0, &[2, 0x400]),
        (op::LOOP, 0, &[3]),
        (op::LOOP, 0, &[2]),
        (op::FILL, 1000, &[BASE_1]),
        (op::ADD, 0, &[1, 1, 4]),
        (op::END_LOOP, 0, &[]),
        (op::ADD, 0, &[1, 1, 8]),
        (op::END_LOOP, 0, &[]),
        (op::SWAP, 0, &[1, 2]),
        (op::LOOP, 0, &[0]),
        (op::LOOP, 0, &[5]),
        (op::FILL, 1000, &[0x800]),
        (op::END_LOOP, 0, &[]),
        (op::END_LOOP, 0, &[]),
        (op::MOVE, 0, &[0, 0x900]),
        (op::FILL, 1010, &[BASE_1 | 4]),
        (op::FILL, 1010, &[8]),
        (op::HALT, 0, &[]),
    ]);
    load(&mut array, CORE, &words);
    enable(&mut array, CORE);
    array.run(&Host::new(0)).unwrap();
    assert_eq!(status(&mut array, CORE), abi::CORE_STATUS_ENABLED | abi::CORE_STATUS_HALTED);
    assert_eq!(array.load(at(0, CORE, abi::CORE_PC)), words.len() as u32 - 1);
    let mut expected = vec![0; 0x1000 / 4];
    for word in [0x100, 0x104, 0x110, 0x114, 0x120, 0x124] {
        expected[word / 4] = 0x1111_1111;
    }
    // r0 stays zero whatever is moved to it.
    (expected[0x404 / 4], expected[2]) = (0x2222_2222, 0x2222_2222);
    assert_eq!(array.core_data(0, CORE, 0, 0x1000 / 4), expected);
    let report = array.report();
    let core = report.tiles[0].core.as_ref().unwrap();
    // 2 moves, 1 + 3 loops, 6 x (fill, add, end), 3 x (add, end), swap, skipped loop, move, 2 fills, halt.
    assert_eq!(core.instructions, 2 + 4 + 18 + 6 + 1 + 1 + 1 + 2 + 1);
    assert_eq!(core.busy, array.now());
}

/// A core takes pieces from its input buffers, works on them and gives the results to its output channel, double-buffered.
#[test]
fn a_core_works_under_locks_between_two_dmas() {
    const PIECES: u32 = 6;
    let host = Host::new(0);
    let mut array = Array::new(1);
    array.set_trace(true);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    array.connect(0, CORE, abi::CORE_SLAVE_DMA, abi::CORE_MASTER_SOUTH[0]);
    array.connect(0, 1, abi::MEM_SLAVE_NORTH[0], abi::MEM_MASTER_DMA);
    let words: Vec<u32> = (1..=16 * PIECES).collect();
    array.block(at(0, 1, 0), &words);
    array.mem_bd(0, false, 0, 0, mem_words(0, 16 * PIECES, &[]));
    array.mem_bd(0, true, 0, 0, mem_words(0x1000, 16 * PIECES, &[]));
    let bd = |word, acquire, release, next| {
        use crate::abi::array::core_bd as bd;
        let fields = [
            (bd::ACQUIRE_ENABLE, 1),
            (bd::ACQUIRE_ID, acquire),
            (bd::ACQUIRE_VALUE, -1i32 as u32),
            (bd::RELEASE_ID, release),
            (bd::RELEASE_VALUE, 1),
            (bd::USE_NEXT_BD, 1),
            (bd::NEXT_BD, next),
        ];
        core_words(word, 16, &fields)
    };
    for (index, word) in [0x100, 0x110].into_iter().enumerate() {
        let index = index as u32;
        array.core_bd(0, CORE, index, bd(word, 0, 1, 1 - index));
        array.core_bd(0, CORE, 2 + index, bd(word + 0x100, 3, 2, 3 - index));
    }
    array.lock(0, CORE, 0, 2);
    array.lock(0, CORE, 2, 2);
    // COPY of 16 words, reversed row order by 4: out[i] = in[i], and a FILL marks the first word of each piece.
    let copy = [4, 1, 1, 1, 16, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0];
    array.block(at(0, CORE, abi::CORE_PROGRAM + 500 * 4), &copy);
    fill(&mut array, CORE, 600, 1, 0xAB);
    let lock = |opcode, id, value: i32| (opcode, id, value as u32);
    let turn = |operand: u32| {
        let mut words = Vec::new();
        for (opcode, id, value) in [lock(op::ACQUIRE, 1, -1), lock(op::ACQUIRE, 2, -1)] {
            words.extend(program(&[(opcode, 0, &[id, value])]));
        }
        words.extend(program(&[
            (op::COPY, 500, &[0x400 + operand, 0x800 + operand]),
            (op::FILL, 600, &[0x800 + operand]),
        ]));
        for (opcode, id, value) in [lock(op::RELEASE, 0, 1), lock(op::RELEASE, 3, 1)] {
            words.extend(program(&[(opcode, 0, &[id, value])]));
        }
        words
    };
    let mut words = program(&[(op::LOOP, 0, &[PIECES / 2])]);
    words.extend([turn(0), turn(0x40)].concat());
    words.extend(program(&[(op::END_LOOP, 0, &[]), (op::EVENT, 0, &[77]), (op::HALT, 0, &[])]));
    load(&mut array, CORE, &words);
    array.core_start(0, CORE, true, 0, task(0, 0, false));
    array.core_start(0, CORE, false, 0, task(2, 0, false));
    array.mem_start(0, true, 0, task(0, 0, true));
    enable(&mut array, CORE);
    array.run(&host).unwrap();
    assert_eq!(
        array.blocked().last().unwrap(),
        "tile (0, 6) core pc 0x2 waits for lock 1 to be at least 1 (it is 0)"
    );
    assert_eq!(array.load(at(0, CORE, abi::CORE_PC)), 2);
    array.mem_start(0, false, 0, task(0, 0, false));
    array.run(&host).unwrap();
    let got: Vec<u32> = array
        .mem_bytes(0, 0x4000, 64 * PIECES as usize)
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
        .collect();
    let expected: Vec<u32> = (1..=16 * PIECES)
        .map(|word| if word % 16 == 1 { 0xABAB_ABAB } else { word })
        .collect();
    assert_eq!(got, expected);
    assert_eq!(status(&mut array, CORE) & abi::CORE_STATUS_HALTED, abi::CORE_STATUS_HALTED);
    let trace = array.take_trace();
    let copies = trace
        .iter()
        .filter(|event| matches!(event.what, What::Executed { opcode: 0x2B, .. }))
        .count();
    assert_eq!(copies, PIECES as usize);
    assert!(
        trace
            .iter()
            .any(|event| event.part == Part::Core && event.what == What::Mark(77))
    );
    assert!(array.take_trace().is_empty());
}

/// The fault of a program: code, program word, and the message.
fn fault_of(words: &[u32]) -> (u32, u32, String) {
    let mut array = Array::new(1);
    load(&mut array, CORE + 1, words);
    fill(&mut array, CORE + 1, 1000, 0x8000, 0);
    enable(&mut array, CORE + 1);
    let fault = array.run(&Host::new(0)).unwrap_err();
    assert_eq!(fault.tile, 7);
    assert_eq!(status(&mut array, CORE + 1) & abi::CORE_STATUS_FAULT, abi::CORE_STATUS_FAULT);
    let word = array.load(at(0, CORE + 1, abi::CORE_FAULT));
    assert!(fault.part.contains(&format!("{:#x}", word >> 16)), "{fault:?}");
    assert!(array.idle());
    (word & 0xFFFF, word >> 16, fault.reason)
}

#[test]
fn faults_stop_the_core_and_say_where() {
    let nop = (op::EVENT, 0, &[0u32] as &[u32]);
    let enter = (op::LOOP, 0, &[9u32] as &[u32]);
    let far = [[0x5555u32; 1].as_slice(), &[]].concat();
    let cases: Vec<(Vec<u32>, u32, u32)> = vec![
        (program(&[nop, (0x7F, 0, &[])]), fault::UNKNOWN_OPCODE, 2),
        (program(&[nop, (op::MOVE, 0, &[1])]), fault::BAD_LENGTH, 2),
        (vec![op::FILL], fault::BAD_LENGTH, 0),
        (program(&[(op::FILL, 0x1FFE, &[0])]), fault::PROGRAM_BOUNDS, 0),
        (program(&[(op::LOOP, 0, &[0]), nop]), fault::BAD_LENGTH, 0),
        (program(&[(op::FILL, 1000, &[0x10])]), fault::DATA_BOUNDS, 0),
        (program(&[(op::MOVE, 0, &[16, 0])]), fault::BAD_DESCRIPTOR, 0),
        (program(&[(op::ADD, 0, &[1, far[0], 0])]), fault::BAD_DESCRIPTOR, 0),
        (program(&[enter, enter, enter, enter, enter]), fault::LOOP_NESTING, 8),
        (program(&[(op::END_LOOP, 0, &[])]), fault::LOOP_NESTING, 0),
        (program(&[nop, (op::ACQUIRE, 0, &[16, 0])]), fault::BAD_LOCK, 2),
        (program(&[nop, (op::RELEASE, 0, &[3, 64])]), fault::BAD_LOCK, 2),
        (
            program(&[(op::RELEASE, 0, &[3, 63]), (op::RELEASE, 0, &[3, 1])]),
            fault::LOCK_OVERFLOW,
            3,
        ),
    ];
    for (words, code, at) in cases {
        let (got, word, reason) = fault_of(&words);
        assert_eq!((got, word), (code, at), "{words:x?}: {reason}");
    }
}

#[test]
fn a_program_that_never_waits_is_stopped() {
    // Four nested loops of 2^32 - 1 turns: 8 cycles an instruction, so the budget is used up after 15 million of them.
    let enter = (op::LOOP, 0, &[u32::MAX] as &[u32]);
    let (code, _, reason) = fault_of(&program(&[
        enter,
        enter,
        enter,
        enter,
        (op::END_LOOP, 0, &[]),
        (op::END_LOOP, 0, &[]),
    ]));
    assert_eq!(code, fault::BUDGET);
    assert!(reason.contains(&timing::CORE_BUDGET_CYCLES.to_string()), "{reason}");
}

#[test]
fn control_starts_stops_and_rewinds() {
    let host = Host::new(0);
    let mut array = Array::new(1);
    fill(&mut array, CORE, 1000, 1, 0x11);
    load(
        &mut array,
        CORE,
        &program(&[
            (op::FILL, 1000, &[BASE_1]),
            (op::ADD, 0, &[1, 1, 4]),
            (op::ACQUIRE, 0, &[5, -1i32 as u32]),
            (op::FILL, 1000, &[BASE_1]),
            (op::HALT, 0, &[]),
        ]),
    );
    assert_eq!(status(&mut array, CORE), 0);
    enable(&mut array, CORE);
    array.run(&host).unwrap();
    assert_eq!(status(&mut array, CORE), abi::CORE_STATUS_ENABLED);
    array.put(at(0, CORE, abi::CORE_CONTROL), abi::CORE_CONTROL_RESET);
    assert_eq!(
        (status(&mut array, CORE), array.load(at(0, CORE, abi::CORE_PC))),
        (abi::CORE_STATUS_RESET, 0)
    );
    array.lock(0, CORE, 5, 3);
    array.run(&host).unwrap();
    assert_eq!(array.lock_value(0, CORE, 5), 3, "a core in reset waits for nothing");
    for turn in 1..=2 {
        enable(&mut array, CORE);
        array.run(&host).unwrap();
        assert_eq!(array.lock_value(0, CORE, 5), 3 - turn);
        assert_eq!(
            array.core_data(0, CORE, 0, 3),
            [0x1111_1111, 0x1111_1111, 0],
            "registers start at zero each time"
        );
    }
}

#[test]
fn a_core_and_a_dma_take_turns_in_simulated_time() {
    // The core works 100 fills of 32 KB before it releases; the DMA's data is the state after them.
    let host = Host::new(0);
    let mut array = Array::new(1);
    array.connect(0, CORE, abi::CORE_SLAVE_DMA, abi::CORE_MASTER_SOUTH[0]);
    array.connect(0, 1, abi::MEM_SLAVE_NORTH[0], abi::MEM_MASTER_DMA);
    fill(&mut array, CORE, 1000, 0x2000, 7);
    load(
        &mut array,
        CORE,
        &program(&[
            (op::LOOP, 0, &[100]),
            (op::FILL, 1000, &[0]),
            (op::END_LOOP, 0, &[]),
            (op::RELEASE, 0, &[1, 1]),
            (op::HALT, 0, &[]),
        ]),
    );
    let waits = {
        use crate::abi::array::core_bd as bd;
        [
            (bd::ACQUIRE_ENABLE, 1),
            (bd::ACQUIRE_ID, 1),
            (bd::ACQUIRE_VALUE, -1i32 as u32),
        ]
    };
    array.core_bd(0, CORE, 0, core_words(0, 64, &waits));
    array.mem_bd(
        0,
        true,
        0,
        0,
        mem_words(
            0,
            64,
            &[(mem_bd::RELEASE_ID, abi::MEM_LOCK_WINDOW + 7), (mem_bd::RELEASE_VALUE, 1)],
        ),
    );
    array.core_start(0, CORE, false, 0, task(0, 0, true));
    array.mem_start(0, true, 0, task(0, 0, false));
    enable(&mut array, CORE);
    array.run(&host).unwrap();
    let report = array.report();
    let core = report.tiles.iter().find_map(|tile| tile.core.as_ref()).unwrap();
    let transfer = timing::LOCK_CYCLES + timing::BD_CYCLES + timing::HOP_CYCLES + 256 / timing::STREAM_BYTES_PER_CYCLE;
    // The release takes effect when it issues; issue and lock cycles come after.
    let issue = u64::from(timing::INSTRUCTION_CYCLES + timing::LOCK_CYCLES);
    assert_eq!(array.now(), core.busy - issue + u64::from(transfer));
    assert_eq!((array.lock_value(0, CORE, 1), array.lock_value(0, 1, 7)), (0, 1));
    assert_eq!(array.mem_bytes(0, 0, 256), vec![7; 256]);
}

#[test]
fn counters_take_the_cycles_between_two_events() {
    use crate::abi::array::{core_event, counter_control};
    let mut array = Array::new(1);
    let (control, counter) = (at(0, CORE, abi::CORE_COUNTER_CONTROL), at(0, CORE, abi::CORE_COUNTER));
    fill(&mut array, CORE, 1000, 0x40, 0x11);
    let words = program(&[
        (op::MOVE, 0, &[1, 0]),
        (op::EVENT, 0, &[0]),
        (op::FILL, 1000, &[0]),
        (op::EVENT, 0, &[1]),
        (op::EVENT, 0, &[2]),
        (op::EVENT, 0, &[2]),
        (op::EVENT, 0, &[6]),
        (op::HALT, 0, &[]),
    ]);
    load(&mut array, CORE, &words);
    let mut events = [0; 2];
    counter_control::START.set(&mut events, core_event::INSTRUCTION_0);
    counter_control::STOP.set(&mut events, core_event::INSTRUCTION_0 + 1);
    counter_control::SECOND_START.set(&mut events, core_event::ACTIVE);
    counter_control::SECOND_STOP.set(&mut events, core_event::ACTIVE);
    counter_control::START.set(&mut events[1..], core_event::INSTRUCTION_0 + 2);
    counter_control::STOP.set(&mut events[1..], core_event::INSTRUCTION_0 + 2);
    array.put(control, events[0]);
    array.put(control + 4, events[1]);
    array.put(counter + 8, 100);
    enable(&mut array, CORE);
    array.run(&Host::new(0)).unwrap();
    let busy = array.report().tiles[0].core.as_ref().unwrap().busy as u32;
    // All but the HALT, which takes no time; the FILL and the event before it; two events of a cycle each.
    let step = timing::INSTRUCTION_CYCLES;
    let fill = busy - 6 * step;
    let read = |array: &mut Array| [0, 4, 8].map(|offset| array.load(counter + offset));
    assert_eq!(read(&mut array), [step + fill, busy, 102]);
    assert_eq!(array.load(control), events[0]);
    // Another run adds to them.
    array.put(at(0, CORE, abi::CORE_CONTROL), 0);
    enable(&mut array, CORE);
    array.run(&Host::new(0)).unwrap();
    assert_eq!(read(&mut array)[2], 104);
    // New events stop the counters and leave their values; the last counter is the twelfth.
    array.put(control, 0);
    assert_eq!(read(&mut array)[0], 2 * (step + fill));
    array.put(counter + 4 * (abi::CORE_COUNTERS - 1), 7);
    assert_eq!(array.load(counter + 4 * (abi::CORE_COUNTERS - 1)), 7);
}
