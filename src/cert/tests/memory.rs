//! uC-DMA, argument patching and trace buffers.

use super::support::*;
use crate::abi::control_code::DTRACE_MAGIC;
use crate::abi::host_queue::context_error;
use crate::cert::{ExecBuf, Machine, Progress};

/// A uC-DMA BD as aiebu-asm writes it: `flags` 1 next, 2 external, 4 local-relative.
fn bd(words: u32, flags: u32, local: u32, remote: u64) -> [u32; 4] {
    [words | flags << 16, local, remote as u32, (remote >> 32) as u32]
}

#[test]
fn chains_move_page_data_to_registers_in_order() {
    let jobs = [job(
        START,
        0,
        &[&[0x0005_0001, 0], &write(0, 1), &[0x0005_0002], &write(0, 2)],
    )];
    let at = data_offset(&jobs);
    let mut jobs = jobs;
    jobs[0][3] = at;
    let data = [bd(2, 5, 32, 0x1000), bd(1, 4, 24, 0x2000)].concat();
    let (machine, _, progress) = run(page(0, false, &jobs, &[&data[..], &[7, 8, 9]].concat()));
    assert_eq!(progress, Progress::Done);
    assert_eq!(
        machine.fabric().values(),
        [(0, 1), (0x1000, 7), (0x1004, 8), (0x2000, 9), (0, 2)]
    );
    assert_eq!(machine.statistics().next().map(|uc| uc.dma_bytes), Some(12));
}

#[test]
fn a_page_lasts_as_long_as_its_transfers() {
    let jobs = [job(START, 0, &[&[0x0000_0001, 0]])];
    let at = data_offset(&jobs);
    let mut jobs = jobs;
    jobs[0][3] = at;
    let first = page(0, true, &jobs, &[&bd(1, 4, 16, 0x1000)[..], &[7]].concat());
    let (machine, _, _) = run([first, page(1, false, &[job(START, 0, &[&write(0, 1)])], &[])].concat());
    assert_eq!(machine.fabric().values(), [(0x1000, 7), (0, 1)]);
}

#[test]
fn a_full_queue_holds_the_job_back() {
    let enqueue = [0x0000_0001, 0];
    let mut instructions: Vec<&[u32]> = vec![&enqueue; 40];
    let done = write(0, 1);
    instructions.push(&done);
    let mut jobs = [job(START, 0, &instructions)];
    let at = data_offset(&jobs);
    for index in 0..40 {
        jobs[0][3 + 2 * index] = at;
    }
    let (machine, _, progress) = run(page(0, false, &jobs, &[&bd(1, 4, 16, 0x1000)[..], &[7]].concat()));
    assert_eq!((progress, machine.fabric().writes.len()), (Progress::Done, 41));
    // With 16 places, the 40th can only be queued when 24 have ended.
    let before = machine.fabric().values().iter().position(|&write| write == (0, 1));
    assert!(before.is_some_and(|before| (24..=26).contains(&before)), "{before:?}");
}

#[test]
fn external_descriptors_write_host_memory() {
    let mut jobs = [job(START, 0, &[&[0x0000_0009]])];
    let at = data_offset(&jobs);
    jobs[0][2] |= at << 16;
    let words: Vec<u32> = (0..300).collect();
    let mut code = page(0, false, &jobs, &[&bd(300, 6, 16, Host::BASE + 8192)[..], &words].concat());
    code.resize(16384, 0);
    let (_, host, progress) = run(code.clone());
    assert_eq!(progress, Progress::Done);
    assert!((0..300).all(|index| host.u32(8192 + 4 * index) == index as u32));
    code.truncate(8192 + 1000);
    assert!(fault(code).message.contains("not mapped for the device"));
}

#[test]
fn descriptors_that_leave_the_page_are_refused() {
    let build = |pointer: u32, bd: [u32; 4]| {
        let mut jobs = [job(START, 0, &[&[0x0000_0009]])];
        let at = data_offset(&jobs);
        jobs[0][2] |= (if pointer == 0 { at } else { pointer }) << 16;
        fault(page(0, false, &jobs, &[&bd[..], &[7]].concat()))
    };
    for bad in [
        build(0, bd(2, 4, 16, 0)),
        build(0, bd(1, 4, 18, 0)),
        build(0, bd(1, 4, 0_u32.wrapping_sub(64), 0)),
        build(0, bd(0x7fff, 4, 16, 0)),
        build(0, bd(1, 5, 16, 0)),
        build(0, bd(1, 4, 16, 1 << 32)),
        build(0x1ffc, bd(1, 4, 16, 0)),
        build(0x31, bd(1, 4, 16, 0)),
        build(0, bd(1, 4, 16, u64::from(NOWHERE))),
    ] {
        assert_eq!(
            (bad.error, bad.opcode, bad.offset),
            (context_error::INVALID_OPCODE, 9, 8),
            "{bad:?}"
        );
        assert!(bad.message.contains("uC-DMA"), "{}", bad.message);
    }
}

#[test]
fn arguments_patch_shim_descriptors_as_xrt_does() {
    // APPLY_OFFSET_57 table, 2 BDs, words 2 and 3 of the arguments; then both BDs to registers.
    let mut jobs = [job(START, 0, &[&[0x0000_000e, 2 | 2 << 16], &[0x0000_0009]])];
    let at = data_offset(&jobs);
    jobs[0][2] |= (at + 16) << 16;
    jobs[0][4] |= at << 16;
    let mut data = bd(18, 4, 16, 0x18000).to_vec();
    data.extend([0xfe00_0001, 0x8000_0010, 2, 3, 4, 5, 6, 7, 8]);
    data.extend([0, 0x10, 2, 3, 4, 5, 6, 7, 8]);
    let mut code = page(0, false, &jobs, &data);
    code.extend(0xaaaa_u64.to_le_bytes());
    code.extend(0x0012_3456_8000_0000_u64.to_le_bytes());
    let host = Host::new(code);
    let run = |length: u32| {
        let mut machine = Machine::new(Fake::default(), 1);
        machine
            .start(
                0,
                ExecBuf {
                    args: Host::BASE + 8192,
                    args_length: length,
                    ..EXEC
                },
            )
            .expect("it exists");
        let progress = finish(&mut machine, &host);
        (machine.fabric().registers.clone(), progress)
    };
    let (registers, _) = run(16);
    // 0x1_8000_0010 + 0x12_3456_8000_0000 + 0x8000_0000 (XRT's offset); the upper 7 bits of word 0 stay.
    assert_eq!(
        (registers[&0x18000], registers[&0x18004], registers[&0x18008]),
        (0xfe12_3458, 0x8000_0010, 2)
    );
    assert_eq!((registers[&0x18024], registers[&0x18028]), (0x0012_3457, 0x10));
    // Patched by the host already: nothing happens.
    let (registers, _) = run(0);
    assert_eq!((registers[&0x18000], registers[&0x18004]), (0xfe00_0001, 0x8000_0010));
    let (_, Progress::Fault(short)) = run(15) else {
        panic!("argument 1 needs 16 bytes")
    };
    assert!(short.message.contains("argument 1 lies beyond the 15 bytes"));
}

#[test]
fn own_code_is_an_argument_too() {
    let mut jobs = [job(START, 0, &[&[0x0000_000e, 1 | 0xffff << 16], &[0x0000_0009]])];
    let at = data_offset(&jobs);
    jobs[0][2] |= (at + 16) << 16;
    jobs[0][4] |= at << 16;
    let data = [&bd(9, 4, 16, 0x18000)[..], &[0, 0x20, 0, 0, 0, 0, 0, 0, 0]].concat();
    let host = Host::new(page(0, false, &jobs, &data));
    let mut machine = Machine::new(Fake::default(), 1);
    machine.start(0, ExecBuf { args_length: 8, ..EXEC }).expect("it exists");
    assert_eq!(finish(&mut machine, &host), Progress::Done);
    let registers = &machine.fabric().registers;
    assert_eq!(
        (registers[&0x18000], registers[&0x18004]),
        (1, 0x8000_0020),
        "Host::BASE + 0x20 + 0x8000_0000"
    );
}

#[test]
fn uc_descriptors_take_arguments() {
    let mut jobs = [job(START, 0, &[&[0x0000_0023, 1], &[0x0000_0009]])];
    let at = data_offset(&jobs);
    jobs[0][2] |= at << 16;
    jobs[0][4] |= at << 16;
    let mut code = page(0, false, &jobs, &[&bd(1, 6, 16, 8)[..], &[77]].concat());
    code.extend((Host::BASE + 8192).to_le_bytes());
    code.extend([0; 4]);
    let host = Host::new(code);
    let mut machine = Machine::new(Fake::default(), 1);
    machine
        .start(
            0,
            ExecBuf {
                args: Host::BASE + 8192,
                args_length: 8,
                ..EXEC
            },
        )
        .expect("it exists");
    assert_eq!((finish(&mut machine, &host), host.u32(8192 + 8)), (Progress::Done, 77));
}

#[test]
fn a_trace_buffer_takes_what_fits() {
    let save: [&[u32]; 4] = [&write(0x300, 0xabc), &[0x1c, 0x11], &[0x1e, 0x300, 0x22], &[0x0033_0015]];
    let code = page(0, false, &[job(START, 0, &save)], &[]);
    let run = |magic: u32, capacity: u32| {
        let mut bytes = code.clone();
        bytes.extend([magic, capacity, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
        bytes.resize(8192 + 16 * 4, 0);
        let host = Host::new(bytes);
        let mut machine = Machine::new(Fake::default(), 1);
        machine
            .start(
                0,
                ExecBuf {
                    dtrace: Host::BASE + 8192,
                    ..EXEC
                },
            )
            .expect("it exists");
        assert_eq!(finish(&mut machine, &host), Progress::Done);
        (0..16).map(|word| host.u32(8192 + 4 * word)).collect::<Vec<_>>()
    };
    let words = run(DTRACE_MAGIC, 3);
    assert_eq!(
        (words[2], &words[4..6], &words[8..12]),
        (3, &[0, 0x11][..], &[1, 0x22, 0xabc, 0][..])
    );
    assert_eq!((words[12], words[13]), (2, 0x33));
    assert!(words[6] > 0 && words[14] > words[6], "timestamps rise");
    let words = run(DTRACE_MAGIC, 1);
    assert_eq!((words[2], words[8]), (1, 0));
    assert!(
        run(0, 3)[2..].iter().all(|&word| word == 0),
        "without the magic number the buffer is not ours to write"
    );
}

#[test]
fn host_memory_can_be_polled() {
    let poll = [0x22, 0x2000, (Host::BASE >> 32) as u32, 0xff, 0x42];
    let mut code = page(0, false, &[job(START, 0, &[&poll, &write(0, 1)])], &[]);
    code.resize(8192 + 4, 0x42);
    let host = Host::new(code);
    let mut machine = Machine::new(Fake::default(), 1);
    machine.start(0, EXEC).expect("it exists");
    assert_eq!(finish(&mut machine, &host), Progress::Done);
    host.0.borrow_mut()[8192] = 0x43;
    machine.start(0, EXEC).expect("it exists");
    assert_eq!(
        machine.run(&host, 1000),
        Progress::More,
        "it goes on reading until someone changes it"
    );
    host.0.borrow_mut()[8192] = 0x42;
    assert_eq!(finish(&mut machine, &host), Progress::Done);
    assert_eq!(machine.fabric().writes.len(), 2);
}

#[test]
fn saved_registers_go_to_the_debug_buffer_anew_with_each_packet() {
    let save: [&[u32]; 4] = [
        &write(0x300, 0xabc),
        &[0x1e, 0x300, 0x11],
        &[0x1e, 0x304, 0x22],
        &[0x1e, 0x300, 0x33],
    ];
    let mut bytes = page(0, false, &[job(START, 0, &save)], &[]);
    bytes.resize(8192 + 32, 0);
    let host = Host::new(bytes);
    let mut machine = Machine::new(Fake::default(), 1);
    let mut run = |buffers: &[(u64, u32)]| {
        host.0.borrow_mut()[8192..].fill(0);
        machine.set_debug(buffers);
        for _ in 0..2 {
            machine.start(0, EXEC).expect("it exists");
            assert_eq!(finish(&mut machine, &host), Progress::Done);
        }
        (0..8).map(|word| host.u32(8192 + 4 * word)).collect::<Vec<_>>()
    };
    let (buffer, nowhere) = (Host::BASE + 8192, Host::BASE - 4096);
    assert_eq!(run(&[(buffer, 32)]), [0x11, 0xabc, 0x22, 0, 0x33, 0xabc, 0, 0]);
    assert_eq!(run(&[(buffer, 23)]), [0x11, 0xabc, 0x22, 0, 0, 0, 0, 0], "whole pairs only");
    for buffers in [
        &[][..],
        &[(0, 0)],
        &[(nowhere, 32)],
        &[(u64::MAX - 3, 32)],
        &[(0, 0), (buffer, 32)],
    ] {
        assert_eq!(run(buffers), [0; 8]);
    }
}
