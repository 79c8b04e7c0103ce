//! Streams: multicast, packets, switches that lead nowhere or in circles.

use super::rig::*;
use crate::abi::array::{self as abi, channel_status, core_bd, mem_bd, switch_master, switch_slave, switch_slot};
use crate::abi::timing;
use crate::array::Array;
use crate::cert::fabric::Fabric;

/// Makes a slave port of column 0 packet-switched, with one slot: packets with this id go to `msel` of `arbiter`.
fn slot(array: &mut Array, row: u32, slave: u32, index: u32, id: u32, msel: u32, arbiter: u32) {
    let packet = words::<1>(&[(switch_slave::ENABLE, 1), (switch_slave::PACKET, 1)])[0];
    array.put(at(0, row, self::slave(row, slave)), packet);
    let value = words::<1>(&[
        (switch_slot::ENABLE, 1),
        (switch_slot::ID, id),
        (switch_slot::MASK, 31),
        (switch_slot::MSEL, msel),
        (switch_slot::ARBITER, arbiter),
    ])[0];
    array.put(at(0, row, super::rig::slot(row, slave, index)), value);
}

/// Makes a master port take packets of these msels of an arbiter.
fn packet_master(array: &mut Array, column: u32, row: u32, master: u32, msels: u32, arbiter: u32, drop_header: bool) {
    let value = words::<1>(&[
        (switch_master::ENABLE, 1),
        (switch_master::PACKET, 1),
        (switch_master::DROP_HEADER, u32::from(drop_header)),
        (switch_master::SELECT, msels << 3 | arbiter),
    ])[0];
    array.put(at(column, row, self::master(row, master)), value);
}

fn counting(from: u32, count: u32) -> Vec<u32> {
    (from..from + count).collect()
}

#[test]
fn multicast_to_all_cores_of_a_column() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.block(at(0, 1, 0), &counting(1, 64));
    array.mem_bd(0, false, 0, 0, mem_words(0, 64, &[]));
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    for row in CORE..CORE + 4 {
        array.connect(0, row, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
        if row < CORE + 3 {
            array.connect(0, row, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_NORTH);
        }
        array.core_bd(0, row, 0, core_words(16, 64, &[]));
    }
    array.mem_start(0, false, 0, task(0, 0, false));
    for row in CORE..CORE + 3 {
        array.core_start(0, row, true, 0, task(0, 0, false));
    }
    array.run(&host).unwrap();
    // One destination has no BD: nobody gets anything.
    assert_eq!(array.core_data(0, CORE, 16, 2), [0, 0]);
    let reason = "tile (0, 1) MM2S0 BD 0 waits for tile (0, 9) S2MM0, which has no task";
    assert!(array.blocked().contains(&reason.to_owned()), "{:?}", array.blocked());
    let started = array.now();
    array.core_start(0, CORE + 3, true, 0, task(0, 0, false));
    let ended = array.run(&host).unwrap();
    for row in CORE..CORE + 4 {
        assert_eq!(array.core_data(0, row, 16, 64), counting(1, 64));
    }
    // Four links up to the last core, 256 bytes at 64 a cycle.
    let cycles = timing::BD_CYCLES + 4 * timing::HOP_CYCLES + 256 / timing::STREAM_BYTES_PER_CYCLE;
    assert_eq!(ended - started, u64::from(cycles));
}

#[test]
fn multicast_with_receivers_of_different_lengths() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.block(at(0, 1, 0), &counting(1, 60));
    array.mem_bd(0, false, 0, 0, mem_words(0, 60, &[]));
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA + 1);
    array.core_bd(
        0,
        CORE,
        0,
        core_words(0, 20, &[(core_bd::ITERATION_STEP, 20), (core_bd::ITERATION_WRAP, 63)]),
    );
    array.core_bd(
        0,
        CORE,
        1,
        core_words(1000, 15, &[(core_bd::ITERATION_STEP, 15), (core_bd::ITERATION_WRAP, 63)]),
    );
    array.core_start(0, CORE, true, 0, task(0, 2, true));
    array.core_start(0, CORE, true, 1, task(1, 3, true));
    array.mem_start(0, false, 0, task(0, 0, true));
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 0, 60), counting(1, 60));
    assert_eq!(array.core_data(0, CORE, 1000, 60), counting(1, 60));
    for (tile, actor) in [(6, 0), (6, 1), (1, 0x10)] {
        assert!(array.take_tokens(tile, actor, 1).is_some());
    }
}

/// Two packets of one sender, ids 1 and 2, to two cores; the first core's header is dropped.
#[test]
fn packets_find_their_way_by_id() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.block(at(0, 1, 0), &counting(1, 64));
    let packet = |id: u32, next: u32| {
        use mem_bd as bd;
        [
            (bd::ENABLE_PACKET, 1),
            (bd::PACKET_ID, id),
            (bd::USE_NEXT_BD, next),
            (bd::NEXT_BD, next),
        ]
    };
    array.mem_bd(0, false, 2, 0, mem_words(0, 32, &packet(1, 1)));
    array.mem_bd(0, false, 2, 1, mem_words(32, 32, &packet(2, 0)));
    slot(&mut array, 1, abi::MEM_SLAVE_DMA[2], 0, 1, 0, 3);
    slot(&mut array, 1, abi::MEM_SLAVE_DMA[2], 1, 2, 1, 3);
    packet_master(&mut array, 0, 1, abi::MEM_MASTER_NORTH, 0b11, 3, false);
    slot(&mut array, CORE, abi::CORE_SLAVE_SOUTH, 0, 1, 0, 0);
    slot(&mut array, CORE, abi::CORE_SLAVE_SOUTH, 3, 2, 2, 1);
    packet_master(&mut array, 0, CORE, abi::CORE_MASTER_DMA, 0b1, 0, true);
    packet_master(&mut array, 0, CORE, abi::CORE_MASTER_NORTH, 0b100, 1, false);
    array.connect(0, CORE + 1, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    array.core_bd(0, CORE, 0, core_words(0, 32, &[]));
    array.core_bd(0, CORE + 1, 0, core_words(0, 33, &[]));
    array.core_start(0, CORE, true, 0, task(0, 0, true));
    array.core_start(0, CORE + 1, true, 0, task(0, 0, true));
    array.mem_start(0, false, 2, task(0, 0, false));
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 0, 33), [counting(1, 32), vec![0]].concat());
    // The header: packet id 2, from row 1; one more bit makes an odd number of ones: 0x10002 has two, so bit 31 is set.
    assert_eq!(array.core_data(0, CORE + 1, 0, 1), [0x8001_0002]);
    assert_eq!(array.core_data(0, CORE + 1, 1, 32), counting(33, 32));
    assert!(array.take_tokens(6, 0, 1).is_some() && array.take_tokens(7, 0, 1).is_some());
}

/// Two senders share one receiver: packets arrive whole, in the order their senders were ready.
#[test]
fn packets_of_two_senders_do_not_mix() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.block(at(0, 1, 0), &counting(1, 96));
    let packet = |id: u32| [(mem_bd::ENABLE_PACKET, 1), (mem_bd::PACKET_ID, id)];
    array.mem_bd(0, false, 0, 0, mem_words(0, 48, &packet(5)));
    array.mem_bd(0, false, 1, 0, mem_words(48, 48, &packet(6)));
    slot(&mut array, 1, abi::MEM_SLAVE_DMA[0], 0, 5, 0, 0);
    slot(&mut array, 1, abi::MEM_SLAVE_DMA[1], 0, 6, 0, 0);
    packet_master(&mut array, 0, 1, abi::MEM_MASTER_NORTH, 1, 0, true);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    // Receives 32 words at a time, so that each packet spans two BDs.
    array.core_bd(
        0,
        CORE,
        0,
        core_words(0, 32, &[(core_bd::ITERATION_STEP, 32), (core_bd::ITERATION_WRAP, 7)]),
    );
    array.mem_start(0, false, 1, task(0, 0, false));
    array.mem_start(0, false, 0, task(0, 0, false));
    array.core_start(0, CORE, true, 0, task(0, 2, true));
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 0, 96), [counting(49, 48), counting(1, 48)].concat());
    assert!(array.take_tokens(6, 0, 1).is_some());
}

#[test]
fn out_of_order_packets_choose_their_bd() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.block(at(0, 1, 0), &counting(1, 30));
    for (bd, target) in [(0, 9), (1, 4), (2, 15)] {
        use mem_bd as fields;
        let more = [
            (fields::ENABLE_PACKET, 1),
            (fields::PACKET_ID, 7),
            (fields::OUT_OF_ORDER_ID, target),
            (fields::USE_NEXT_BD, u32::from(bd < 2)),
            (fields::NEXT_BD, bd + 1),
        ];
        array.mem_bd(0, false, 0, bd, mem_words(bd * 10, 10, &more));
        // The BD of target 4 waits for a lock first.
        let more: &[_] = if target == 4 {
            &[
                (core_bd::ACQUIRE_ENABLE, 1),
                (core_bd::ACQUIRE_ID, 2),
                (core_bd::ACQUIRE_VALUE, 1),
            ]
        } else {
            &[]
        };
        array.core_bd(0, CORE, target, core_words(target * 100, 10, more));
    }
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    let control = words::<1>(&[(abi::channel_control::OUT_OF_ORDER, 1)])[0];
    array.put(at(0, CORE, abi::CORE_CHANNEL_CONTROL), control);
    array.core_start(0, CORE, true, 0, task(0, 2, true));
    array.mem_start(0, false, 0, task(0, 0, false));
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 900, 10), counting(1, 10));
    assert_eq!(array.core_data(0, CORE, 400, 10), vec![0; 10]);
    assert_eq!(array.take_tokens(6, 0, 1), None);
    array.lock(0, CORE, 2, 1);
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 400, 10), counting(11, 10));
    assert_eq!(array.core_data(0, CORE, 1500, 10), counting(21, 10));
    assert!(array.take_tokens(6, 0, 1).is_some());
}

#[test]
fn out_of_order_channels_refuse_what_names_no_bd() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.mem_bd(0, false, 0, 0, mem_words(0, 10, &[]));
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    let control = words::<1>(&[(abi::channel_control::OUT_OF_ORDER, 1)])[0];
    array.put(at(0, CORE, abi::CORE_CHANNEL_CONTROL), control);
    array.core_start(0, CORE, true, 0, task(0, 0, false));
    array.mem_start(0, false, 0, task(0, 0, false));
    let fault = array.run(&host).unwrap_err();
    assert_eq!((fault.tile, fault.part.as_str()), (6, "S2MM0"));
    assert!(fault.reason.contains("without a packet header"), "{}", fault.reason);

    let named = [(mem_bd::ENABLE_PACKET, 1), (mem_bd::OUT_OF_ORDER_ID, 16)];
    array.mem_bd(0, false, 0, 0, mem_words(0, 10, &named));
    for (row, address) in [(1, abi::MEM_MM2S_CONTROL), (CORE, abi::CORE_CHANNEL_CONTROL)] {
        array.put(at(0, row, address), 2);
    }
    array.put(at(0, 1, abi::MEM_MM2S_CONTROL), 0);
    array.put(at(0, CORE, abi::CORE_CHANNEL_CONTROL), control);
    array.core_start(0, CORE, true, 0, task(0, 0, false));
    array.mem_start(0, false, 0, task(0, 0, false));
    let fault = array.run(&host).unwrap_err();
    assert!(fault.reason.contains("names BD 16"), "{}", fault.reason);
}

#[test]
fn a_stream_without_a_way_waits_until_it_has_one() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.block(at(0, 1, 0), &counting(1, 8));
    array.mem_bd(0, false, 0, 0, mem_words(0, 8, &[]));
    array.core_bd(0, CORE, 0, core_words(0, 8, &[]));
    array.mem_start(0, false, 0, task(0, 0, true));
    array.core_start(0, CORE, true, 0, task(0, 0, false));
    array.run(&host).unwrap();
    let status = |array: &mut Array| [array.load(at(0, 1, abi::MEM_MM2S_STATUS))];
    assert_eq!(channel_status::STALLED_STREAM.get(&status(&mut array)), 1);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH + 4);
    array.run(&host).unwrap();
    assert_eq!(channel_status::RUNNING.get(&status(&mut array)), 1);
    let reason = "at tile (0, 6) no master port of the stream switch takes slave port 9";
    assert!(
        array.blocked().iter().any(|sentence| sentence.contains(reason)),
        "{:?}",
        array.blocked()
    );
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH + 4, abi::CORE_MASTER_DMA);
    array.run(&host).unwrap();
    assert_eq!(array.core_data(0, CORE, 0, 8), counting(1, 8));
    assert_eq!(status(&mut array), [0]);
}

#[test]
fn columns_are_joined_east_and_west() {
    let host = Host::counting(4096);
    let mut array = Array::new(2);
    // Host, shim of column 0, east to shim of column 1, up to a core there, west to a core of column 0.
    array.connect(0, 0, abi::SHIM_SLAVE_DMA, abi::SHIM_MASTER_EAST + 1);
    array.connect(1, 0, abi::SHIM_SLAVE_WEST + 1, abi::SHIM_MASTER_NORTH[3]);
    array.connect(1, 1, abi::MEM_SLAVE_SOUTH[3], abi::MEM_MASTER_NORTH);
    array.connect(1, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_WEST + 1);
    array.connect(0, CORE, abi::CORE_SLAVE_EAST + 1, abi::CORE_MASTER_DMA + 1);
    array.shim_bd(0, 0, shim_words(0, 64, &[]));
    array.core_bd(0, CORE, 0, core_words(0, 64, &[]));
    array.shim_start(0, false, 0, task(0, 0, false));
    array.core_start(0, CORE, true, 1, task(0, 0, false));
    array.run(&host).unwrap();
    let bytes: Vec<u8> = array
        .core_data(0, CORE, 0, 64)
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    assert_eq!(bytes, host.bytes(0..256));
}

/// Only packets can go in circles: a circuit's every port has one source.
#[test]
fn a_loop_of_switches_is_a_fault() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.mem_bd(
        0,
        false,
        0,
        3,
        mem_words(0, 8, &[(mem_bd::ENABLE_PACKET, 1), (mem_bd::PACKET_ID, 4)]),
    );
    slot(&mut array, 1, abi::MEM_SLAVE_DMA[0], 0, 4, 0, 0);
    packet_master(&mut array, 0, 1, abi::MEM_MASTER_NORTH, 1, 0, false);
    slot(&mut array, CORE, abi::CORE_SLAVE_SOUTH, 0, 4, 0, 0);
    packet_master(&mut array, 0, CORE, abi::CORE_MASTER_SOUTH[0], 1, 0, false);
    slot(&mut array, 1, abi::MEM_SLAVE_NORTH[0], 0, 4, 0, 0);
    array.mem_start(0, false, 0, task(3, 0, false));
    let fault = array.run(&host).unwrap_err();
    assert!(
        fault.reason.contains("MM2S0 BD 3") && fault.reason.contains("loop"),
        "{fault:?}"
    );
}

#[test]
fn a_packet_switched_port_needs_a_header() {
    let host = Host::new(64);
    let mut array = Array::new(1);
    array.mem_bd(0, false, 0, 3, mem_words(0, 8, &[]));
    slot(&mut array, 1, abi::MEM_SLAVE_DMA[0], 0, 0, 0, 0);
    packet_master(&mut array, 0, 1, abi::MEM_MASTER_NORTH, 1, 0, false);
    array.mem_start(0, false, 0, task(3, 0, false));
    let fault = array.run(&host).unwrap_err();
    assert!(fault.reason.contains("without a packet header"), "{fault:?}");
}
