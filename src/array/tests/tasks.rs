//! Start queues, tokens, repeats, resets and status.

use super::rig::*;
use crate::abi::array::{self as abi, channel_status, mem_bd};
use crate::abi::timing;
use crate::array::Array;
use crate::cert::fabric::Fabric;

/// Mem MM2S0 to the first core's S2MM0.
fn joined() -> Array {
    let mut array = Array::new(1);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    let words: Vec<u32> = (1..=1000).collect();
    array.block(at(0, 1, 0), &words);
    array
}

fn status(array: &mut Array) -> [u32; 1] {
    [array.load(at(0, CORE, abi::CORE_CHANNEL_STATUS))]
}

#[test]
fn tokens_come_when_asked_for_and_at_the_tasks_end() {
    let host = Host::new(64);
    let mut array = joined();
    array.mem_bd(0, false, 0, 0, mem_words(0, 64, &[]));
    array.core_bd(0, CORE, 0, core_words(0, 32, &[]));
    array.mem_start(0, false, 0, task(0, 1, true));
    array.core_start(0, CORE, true, 0, task(0, 1, true));
    array.core_start(0, CORE, true, 0, task(0, 0, false));
    array.core_start(0, CORE, true, 0, task(0, 0, true));
    array.run(&host).unwrap();
    // 256 bytes at 64 a cycle in two transfers of 128; the second has no set-up of the sender but one of the receiver.
    let first = u64::from(timing::BD_CYCLES + timing::HOP_CYCLES + 2) + u64::from(timing::BD_CYCLES + 2);
    assert_eq!(array.take_tokens(6, 0, 3), None, "only two are there");
    assert_eq!(array.take_tokens(6, 0, 2), Some(2 * first));
    assert_eq!(array.take_tokens(1, 0x10, 1), Some(2 * first));
    assert_eq!(array.take_tokens(1, 0x11, 1), None);
    assert_eq!(array.take_tokens(1, 0x7F, 1), None, "no such actor");
    assert_eq!(array.take_tokens(33, 0, 1), None, "no such column");
    assert_eq!(array.take_tokens(2, 0, 1), None, "no such row");
}

#[test]
fn the_start_queue_holds_sixteen_tasks_besides_the_running_one() {
    let host = Host::new(64);
    let mut array = joined();
    array.core_bd(0, CORE, 5, core_words(0, 8, &[]));
    for _ in 0..=abi::START_QUEUE_DEPTH {
        array.core_start(0, CORE, true, 0, task(5, 0, true));
    }
    array.run(&host).unwrap();
    let word = status(&mut array);
    assert_eq!(channel_status::QUEUE_SIZE.get(&word), 16);
    assert_eq!(channel_status::CURRENT_BD.get(&word), 5);
    assert_eq!(channel_status::STATUS.get(&word), 2);
    assert_eq!(channel_status::QUEUE_OVERFLOW.get(&word), 0);
    array.core_start(0, CORE, true, 0, task(5, 0, true));
    let fault = array.run(&host).unwrap_err();
    assert_eq!((fault.tile, fault.part.as_str()), (6, "S2MM0"));
    assert!(fault.reason.contains("16"), "{}", fault.reason);
    assert_eq!(channel_status::QUEUE_OVERFLOW.get(&status(&mut array)), 1);
    array.put(at(0, CORE, abi::CORE_CHANNEL_CONTROL), 2);
    array.put(at(0, CORE, abi::CORE_CHANNEL_CONTROL), 0);
    assert_eq!(status(&mut array), [0]);
}

#[test]
fn a_reset_channel_forgets_its_tasks_and_lets_the_other_end_go_on() {
    let host = Host::new(64);
    let mut array = joined();
    array.mem_bd(0, false, 0, 0, mem_words(0, 64, &[]));
    array.core_bd(0, CORE, 0, core_words(0, 64, &[]));
    array.core_bd(0, CORE, 1, core_words(100, 64, &[]));
    array.mem_start(0, false, 0, task(0, 0, true));
    array.core_start(0, CORE, true, 0, task(0, 0, true));
    // Words are on their way when the receiver is reset.
    while array.next_event() == Some(0) {
        array.step(&host).unwrap();
    }
    array.put(at(0, CORE, abi::CORE_CHANNEL_CONTROL), 2);
    array.core_start(0, CORE, true, 0, task(0, 0, true));
    array.put(at(0, CORE, abi::CORE_CHANNEL_CONTROL), 0);
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 0, 64), vec![0; 64]);
    assert_eq!(status(&mut array), [0], "tasks started during reset are dropped");
    array.core_start(0, CORE, true, 0, task(1, 0, true));
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 100, 64), (1..=64).collect::<Vec<u32>>());
    assert!(array.take_tokens(6, 0, 1).is_some() && array.take_tokens(1, 0x10, 1).is_some());

    // The sender, waiting for a lock.
    let waits = [
        (mem_bd::ACQUIRE_ENABLE, 1),
        (mem_bd::ACQUIRE_ID, abi::MEM_LOCK_WINDOW + 40),
        (mem_bd::ACQUIRE_VALUE, -3i32 as u32),
    ];
    array.mem_bd(0, false, 0, 0, mem_words(0, 64, &waits));
    array.mem_start(0, false, 0, task(0, 0, true));
    array.core_start(0, CORE, true, 0, task(0, 0, true));
    array.run(&host).unwrap();
    assert_eq!(
        channel_status::STALLED_LOCK_ACQUIRE.get(&[array.load(at(0, 1, abi::MEM_MM2S_STATUS))]),
        1
    );
    array.put(at(0, 1, abi::MEM_MM2S_CONTROL), 2);
    array.put(at(0, 1, abi::HALF_STRIDE + abi::MEM_LOCK_VALUE + 8 * abi::LOCK_STRIDE), 5);
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 0, 64), vec![0; 64]);
    assert_eq!(
        array.load(at(0, 1, abi::HALF_STRIDE + abi::MEM_LOCK_VALUE + 8 * abi::LOCK_STRIDE)),
        5,
        "nobody took it"
    );
}

#[test]
fn a_lock_is_had_when_both_the_value_and_the_channel_are_there() {
    let host = Host::new(64);
    let mut array = joined();
    let waits = [
        (mem_bd::ACQUIRE_ENABLE, 1),
        (mem_bd::ACQUIRE_ID, abi::MEM_LOCK_WINDOW + 3),
        (mem_bd::ACQUIRE_VALUE, -2i32 as u32),
    ];
    array.mem_bd(0, false, 0, 0, mem_words(0, 16, &waits));
    array.core_bd(0, CORE, 0, core_words(0, 16, &[]));
    array.mem_start(0, false, 0, task(0, 0, true));
    array.core_start(0, CORE, true, 0, task(0, 0, true));
    array.run(&host).unwrap();
    let lock = at(0, 1, abi::MEM_LOCK_VALUE + 3 * abi::LOCK_STRIDE);
    array.write(1000, lock, 1).unwrap();
    assert!(array.idle());
    // One more, by a lock request: release 1 on lock 3.
    let request = abi::MEM_LOCK_REQUEST + 3 * abi::LOCK_REQUEST_STRIDE;
    assert_eq!(array.read(2000, at(0, 1, request + (1 << 2))), Ok(1));
    let cycles = timing::LOCK_CYCLES + timing::BD_CYCLES + timing::HOP_CYCLES + 1;
    assert_eq!(array.run(&host), Ok(2000 + u64::from(cycles)));
    assert_eq!(array.load(lock), 0);
    // Acquire requests answer at once.
    let acquire = |value: i32| at(0, 1, request + abi::LOCK_REQUEST_ACQUIRE + ((value as u32 & 0x7F) << 2));
    assert_eq!(array.load(acquire(-1)), 0);
    assert_eq!(array.load(acquire(0)), 1);
    array.put(lock, 7);
    assert_eq!(array.load(acquire(-4)), 1);
    assert_eq!(array.load(lock), 3);
    assert_eq!(array.load(at(0, 1, request + (63 << 2))), 0, "the release would overflow");
    assert_eq!(array.load(lock), 3);
}
