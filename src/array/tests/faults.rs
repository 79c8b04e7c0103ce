//! What goes wrong is named: registers, buffer descriptors, host memory, locks.

use super::rig::*;
use crate::abi::array::{self as abi, channel_status, core_bd, mem_bd, shim_bd};
use crate::array::Array;
use crate::cert::fabric::{ArrayFault, Fabric};

#[test]
fn register_faults_name_the_address() {
    let mut array = Array::new(3);
    for (address, reason) in [
        (at(0, CORE, 2), "multiple of 4"),
        (at(3, 0, abi::SHIM_BD), "column"),
        (at(127, 0, abi::SHIM_BD), "column"),
        (at(0, 2, 0), "row"),
        (at(0, 10, 0), "row"),
        (at(0, 0, 0), "no register"),
        (at(0, 1, 0xFFFFC), "no register"),
        (at(0, 1, abi::HALF_STRIDE), "no register"),
        (at(0, CORE, abi::CORE_DATA_SIZE), "no register"),
        (at(0, CORE, abi::CORE_LOCK_VALUE + 4), "no register"),
    ] {
        let fault = array.read(0, address).unwrap_err();
        assert_eq!(fault.address, address);
        assert!(fault.reason.contains(reason), "{address:#x}: {}", fault.reason);
        assert_eq!(array.write(0, address, 1).unwrap_err(), fault);
        assert_eq!(array.write_block(0, address, &[1]).unwrap_err(), fault);
    }
    for (address, value, reason) in [
        (at(0, CORE, abi::CORE_STATUS), 1, "only be read"),
        (at(0, CORE, abi::CORE_PC), 1, "only be read"),
        (at(0, CORE, abi::CORE_FAULT), 1, "only be read"),
        (at(0, CORE, abi::CORE_LOCK_REQUEST), 0, "by reading"),
        (at(0, CORE, abi::CORE_LOCK_VALUE), 64, "-64..63"),
        (at(0, CORE, abi::CORE_LOCK_VALUE), -65i32 as u32, "-64..63"),
    ] {
        let fault = array.write(0, address, value).unwrap_err();
        assert!(fault.address == address && fault.reason.contains(reason), "{fault:?}");
    }
    // A block that runs off the end of memory stops there, with what came before written.
    let end = at(0, CORE, abi::CORE_PROGRAM + abi::CORE_PROGRAM_SIZE - 4);
    assert_eq!(array.write_block(0, end, &[7, 8]).unwrap_err().address, end + 4);
    assert_eq!(array.read(0, end), Ok(7));
}

#[test]
fn what_is_written_reads_back() {
    let mut array = Array::new(2);
    let mut addresses = vec![
        at(0, 0, abi::SHIM_BD + 15 * abi::SHIM_BD_STRIDE + 32),
        at(1, 0, abi::HALF_STRIDE + abi::SHIM_BD),
        at(
            1,
            1,
            abi::MEM_BD_MM2S + 4 * abi::MEM_CHANNEL_BD_STRIDE + 15 * abi::MEM_BD_STRIDE + 40,
        ),
        at(1, 1, abi::HALF_STRIDE + abi::MEM_BD_S2MM),
        at(1, 1, abi::MEM_DATA_SIZE - 4),
        at(0, CORE + 3, abi::CORE_BD + 0x14),
        at(0, CORE + 3, abi::CORE_PROGRAM),
        at(0, CORE + 3, abi::CORE_DATA_SIZE - 4),
    ];
    for row in [0, 1, CORE] {
        // The 32-bit switch's ports have the last registers: 28 or more, 29 among the slaves of shim and core.
        let (masters, slaves) = ([29, 29, 31], [29, 31, 29]);
        let kind = row.min(2) as usize;
        let last = [
            master(row, masters[kind]),
            slave(row, slaves[kind]),
            slot(row, slaves[kind], 3),
        ];
        addresses.extend([master(row, 0), slave(row, 0), slot(row, 0, 0)].map(|offset| at(0, row, offset)));
        addresses.extend(last.map(|offset| at(0, row, offset)));
    }
    for (value, address) in addresses.iter().enumerate() {
        array.put(*address, 0x8000_0000 + value as u32);
    }
    for (value, address) in addresses.iter().enumerate() {
        assert_eq!(array.load(*address), 0x8000_0000 + value as u32, "{address:#x}");
    }
    array.lock(0, 0, 15, -64);
    assert_eq!(array.lock_value(0, 0, 15), -64);
    // All BDs of a channel in one block, as control code loads them.
    let words: Vec<u32> = (0..16 * 12).collect();
    array.block(at(1, 1, abi::MEM_BD_S2MM + abi::MEM_CHANNEL_BD_STRIDE), &words);
    let mut back = vec![0; 16 * 12];
    array
        .read_block(0, at(1, 1, abi::MEM_BD_S2MM + abi::MEM_CHANNEL_BD_STRIDE), &mut back)
        .unwrap();
    assert_eq!(back, words);
}

/// The fault that mem MM2S5 (second half) gives when it starts BD 3 with these words.
fn mem_fault(words: [u32; 11]) -> ArrayFault {
    let mut array = Array::new(2);
    array.mem_bd(1, false, 5, 3, words);
    array.mem_start(1, false, 5, task(3, 0, false));
    let fault = array.run(&Host::new(0)).unwrap_err();
    let word = [array.load(at(1, 1, abi::HALF_STRIDE + abi::MEM_MM2S_STATUS))];
    assert_eq!(channel_status::ERROR_BD_INVALID.get(&word), 1);
    assert_eq!(channel_status::RUNNING.get(&word), 0);
    fault
}

#[test]
fn bd_faults_name_tile_channel_and_bd() {
    let limit = abi::MEM_TILE_SIZE / 4;
    let lock = [(mem_bd::ACQUIRE_ENABLE, 1), (mem_bd::ACQUIRE_ID, 448 + 64)];
    let released = [(mem_bd::RELEASE_VALUE, 1), (mem_bd::RELEASE_ID, 447)];
    let stepped = [(mem_bd::D0_WRAP, 1), (mem_bd::D1_STEP, (1 << 22) - 1)];
    let iterated = [(mem_bd::ITERATION_CURRENT, 255), (mem_bd::ITERATION_STEP, (1 << 22) - 1)];
    for (words, reason) in [
        ([0; 11], "address lies below"),
        (mem_words(0, 0, &[]), "length is 0"),
        (mem_words(limit - 7, 8, &[]), "last is word 786432"),
        (mem_words(0, 2, &stepped), "has 786432 words"),
        (mem_words(0, 1, &iterated), "has 786432 words"),
        (mem_words(0, 1, &lock), "acquire lock 512: the tile has locks 448 to 511"),
        (mem_words(0, 1, &released), "release lock 447: the tile"),
    ] {
        let fault = mem_fault(words);
        assert_eq!((fault.tile, fault.part.as_str()), (1 << 5 | 1, "MM2S5 BD 3"));
        assert!(fault.reason.contains(reason), "{}", fault.reason);
    }
}

#[test]
fn the_last_word_of_memory_can_be_used() {
    let host = Host::new(0);
    let mut array = Array::new(1);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    array.mem_bd(0, false, 0, 0, mem_words(abi::MEM_TILE_SIZE / 4 - 8, 8, &[]));
    array.core_bd(0, CORE, 0, core_words(abi::CORE_DATA_SIZE / 4 - 8, 8, &[]));
    array.mem_start(0, false, 0, task(0, 0, false));
    array.core_start(0, CORE, true, 0, task(0, 0, false));
    array.run(&host).unwrap();
    array.core_bd(0, CORE, 1, core_words(abi::CORE_DATA_SIZE / 4 - 8, 9, &[]));
    array.core_start(0, CORE, true, 0, task(1, 0, false));
    let fault = array.run(&host).unwrap_err();
    assert_eq!((fault.tile, fault.part.as_str()), (6, "S2MM0 BD 1"));
    assert!(fault.reason.contains("has 32768 words"), "{}", fault.reason);
}

#[test]
fn host_memory_that_is_not_mapped_is_a_fault_with_its_address() {
    let host = Host::new(4096);
    let mut array = Array::new(1);
    array.connect(0, 0, abi::SHIM_SLAVE_DMA, abi::SHIM_MASTER_NORTH[0]);
    array.connect(0, 1, abi::MEM_SLAVE_SOUTH[0], abi::MEM_MASTER_DMA);
    array.shim_bd(0, 2, shim_words(0x1_8000_0F00, 65, &[]));
    array.mem_bd(0, true, 0, 0, mem_words(0, 65, &[]));
    array.shim_start(0, false, 0, task(2, 0, false));
    array.mem_start(0, true, 0, task(0, 0, false));
    let fault = array.run(&host).unwrap_err();
    assert_eq!((fault.tile, fault.part.as_str()), (0, "MM2S0 BD 2"));
    assert!(
        fault
            .reason
            .contains("260 bytes of host memory at 0x100000f00 (BD address 0x180000f00)"),
        "{}",
        fault.reason
    );
    assert!(array.mem_bytes(0, 0, 260).iter().all(|&byte| byte == 0));

    array.shim_bd(0, 3, shim_words(0x802, 1, &[]));
    array.put(at(0, 0, abi::SHIM_MM2S_CONTROL), 2);
    array.put(at(0, 0, abi::SHIM_MM2S_CONTROL), 0);
    array.shim_start(0, false, 0, task(3, 0, false));
    assert!(array.run(&host).unwrap_err().reason.contains("multiple of 4"));
    let far = [
        (shim_bd::D0_WRAP, 1),
        (shim_bd::D1_WRAP, 4095),
        (shim_bd::D1_STEP, (1 << 22) - 1),
    ];
    array.shim_bd(0, 4, shim_words((1 << 57) - 4, u32::MAX, &far));
    array.put(at(0, 0, abi::SHIM_MM2S_CONTROL), 2);
    array.put(at(0, 0, abi::SHIM_MM2S_CONTROL), 0);
    array.shim_start(0, false, 0, task(4, 0, false));
    assert!(array.run(&host).unwrap_err().reason.contains("not mapped"));
}

#[test]
fn a_release_beyond_63_is_a_fault() {
    let host = Host::new(0);
    let mut array = Array::new(1);
    array.connect(0, 1, abi::MEM_SLAVE_DMA[0], abi::MEM_MASTER_NORTH);
    array.connect(0, CORE, abi::CORE_SLAVE_SOUTH, abi::CORE_MASTER_DMA);
    array.mem_bd(0, false, 0, 0, mem_words(0, 8, &[]));
    array.core_bd(
        0,
        CORE,
        9,
        core_words(0, 8, &[(core_bd::RELEASE_ID, 4), (core_bd::RELEASE_VALUE, 30)]),
    );
    array.mem_start(0, false, 0, task(0, 2, false));
    array.core_start(0, CORE, true, 0, task(9, 2, false));
    let fault = array.run(&host).unwrap_err();
    assert_eq!((fault.tile, fault.part.as_str()), (6, "S2MM0 BD 9"));
    assert!(
        fault.reason.contains("lock 4 by 30") && fault.reason.contains("-64..63"),
        "{}",
        fault.reason
    );
    assert_eq!(array.lock_value(0, CORE, 4), 60);
}
