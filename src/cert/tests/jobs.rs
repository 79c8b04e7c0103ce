//! Instructions, scheduling and waiting.

use super::support::*;
use crate::abi::host_queue::context_error;
use crate::abi::timing::{POLL_CYCLES, POLL_TIMEOUT_CYCLES};
use crate::cert::{ExecBuf, Machine, Progress};

fn one(instructions: &[&[u32]]) -> Vec<u8> {
    page(0, false, &[job(START, 0, instructions)], &[])
}

#[test]
fn registers_and_writes() {
    // MOV r3, 0x1000; ADD r3, 0x234; MOV r9, 7; WRITE_32_D reg r3 <- reg r9; READ_32 r1, 0x1234; WRITE_32_D 0x2000 <- r1;
    // READ_32_D [r3] -> r10; WRITE_32_D [r3 + 4] <- immediate 9; MASK_WRITE_32.
    let (machine, _, progress) = run(one(&[
        &[0x0003_0010, 0x1000],
        &[0x0003_000f, 0x234],
        &[0x0009_0010, 7],
        &[0x0000_000b, 3, 9],
        &[0x0001_000c, 0x1234],
        &[0x0001_000b, 0x2000, 1],
        &[0x0a03_000d],
        &[0x0001_000b, 0x2004, 10],
        &[0x0003_000f, 4],
        &[0x0002_000b, 3, 9],
        &[0x03, 0x2000, 0xf0, 0xffff_ffff],
    ]));
    assert_eq!(progress, Progress::Done);
    let expected = [(0x1234, 7), (0x2000, 7), (0x2004, 7), (0x1238, 9), (0x2000, 0xf7)];
    assert_eq!(machine.fabric().values(), expected);
}

#[test]
fn private_registers_are_private_and_shared_ones_shared() {
    let jobs = [
        job(
            START,
            0,
            &[&[0x0000_0010, 5], &[0x0008_0010, 6], &[0x08], &[0x0001_000b, 0x100, 0]],
        ),
        job(START, 1, &[&[0x0001_000b, 0x104, 0], &[0x0001_000b, 0x108, 8]]),
    ];
    let (machine, _, _) = run(page(0, false, &jobs, &[]));
    assert_eq!(machine.fabric().values(), [(0x104, 0), (0x108, 6), (0x100, 5)]);
}

#[test]
fn yield_takes_turns_and_others_do_not() {
    let jobs = [
        job(START, 0, &[&write(0, 1), &[0x16], &write(0, 2), &[0x08], &write(0, 5)]),
        job(START, 1, &[&write(0, 3), &write(0, 4), &[0x08], &write(0, 6)]),
    ];
    let (machine, _, _) = run(page(0, false, &jobs, &[]));
    assert_eq!(
        machine.fabric().values().iter().map(|write| write.1).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
}

#[test]
fn deferred_jobs_run_when_launched_and_only_once() {
    let jobs = [
        job(DEFERRED, 0x102, &[&write(0, 2)]),
        job(DEFERRED, 9, &[&write(0, 3)]),
        job(START, 1, &[&[0x0102_0018], &write(0, 1)]),
    ];
    let (machine, _, progress) = run(page(0, false, &jobs, &[]));
    assert_eq!((machine.fabric().values(), progress), (vec![(0, 1), (0, 2)], Progress::Done));
    let twice = fault(page(
        0,
        false,
        &[job(DEFERRED, 5, &[]), job(START, 1, &[&[0x0005_0018], &[0x0005_0018]])],
        &[],
    ));
    assert_eq!(
        (twice.error, twice.opcode, twice.offset),
        (context_error::INVALID_OPCODE, 0x18, 12 + 8 + 4)
    );
}

#[test]
fn tokens_block_one_job_until_they_arrive() {
    // WAIT_TCTS tile 0x40, actor 6, 2 tokens.
    let jobs = [
        job(START, 0, &[&[0x0040_0006, 0x0002_0006], &write(0, 1)]),
        job(
            START,
            1,
            &[&write(TOKEN_AFTER, 1000), &write(TOKEN_AFTER, 5000), &write(0, 2)],
        ),
    ];
    let (machine, _, progress) = run(page(0, false, &jobs, &[]));
    assert_eq!(progress, Progress::Done);
    let writes = &machine.fabric().writes;
    assert_eq!(machine.fabric().values()[2..], [(0, 2), (0, 1)]);
    assert_eq!(
        writes[3].0,
        writes[1].0 + 5000,
        "the job goes on when the second token is there"
    );
    let both = [
        job(START, 0, &[&[0x0040_0006, 0x0001_0006]]),
        job(START, 1, &[&[0x0040_0006, 0x0001_0006]]),
    ];
    assert!(fault(page(0, false, &both, &[])).message.contains("same actor"));
}

#[test]
fn polls_read_at_their_period_and_cost_no_host_time() {
    let jobs = [job(
        START,
        0,
        &[&write(FLAG_AFTER, 10_000_000), &[0x14, FLAG, 1, 1], &write(0, 1)],
    )];
    let (machine, _, progress) = run(page(0, false, &jobs, &[]));
    assert_eq!(progress, Progress::Done);
    let fabric = machine.fabric();
    assert_eq!(fabric.reads, 2, "once before and once after the flag rises");
    let waited = fabric.writes[1].0 - fabric.writes[0].0;
    assert!(
        (10_000_000..10_000_000 + 2 * u64::from(POLL_CYCLES)).contains(&waited),
        "{waited}"
    );
    // A wait that came true leaves no deadline behind.
    assert!(machine.now() < 10_010_000, "{}", machine.now());
}

#[test]
fn a_poll_sees_what_another_job_writes() {
    let jobs = [
        job(START, 0, &[&[0x13, 0x500, 3], &write(0, 2)]),
        job(START, 1, &[&write(0, 1), &write(0x500, 3)]),
    ];
    let (machine, _, progress) = run(page(0, false, &jobs, &[]));
    assert_eq!(
        (progress, machine.fabric().values()),
        (Progress::Done, vec![(0, 1), (0x500, 3), (0, 2)])
    );
}

#[test]
fn waits_that_never_end_time_out_at_once() {
    for wait in [
        &[0x13, FLAG, 1][..],
        &[0x0040_0006, 0x0001_0006],
        &[0x0203_0011],
        &[0x0001_0012, 3],
        &[0x21, 0, LOCK | 0x200],
    ] {
        let fault = fault(one(&[wait]));
        assert_eq!(
            (fault.error, fault.uc, fault.page, fault.offset),
            (context_error::TIMEOUT, 0, 0, 8),
            "{fault:?}"
        );
        assert_eq!(u32::from(fault.opcode), wait[0] & 0xff);
        assert!(
            fault.message.contains("uC 0 page 0 job 0") && fault.message.contains("nothing of note"),
            "{}",
            fault.message
        );
    }
    let (machine, _, _) = run(one(&[&[0x13, FLAG, 1]]));
    assert!(machine.now() >= u64::from(POLL_TIMEOUT_CYCLES));
}

#[test]
fn sleep_passes_simulated_time() {
    let (machine, _, _) = run(one(&[&write(0, 1), &[0x1d, 1_000_000], &write(0, 2)]));
    let writes = &machine.fabric().writes;
    // One second at 1200 MHz.
    assert!((1_200_000_000..1_200_000_100).contains(&(writes[1].0 - writes[0].0)));
}

#[test]
fn local_barriers_open_by_count() {
    let jobs: Vec<_> = (0..3)
        .map(|id| job(START, id, &[&write(0, id), &[0x0302_0011], &write(0, 10 + id)]))
        .collect();
    let (machine, _, _) = run(page(0, false, &jobs, &[]));
    let order: Vec<u32> = machine.fabric().values().iter().map(|write| write.1).collect();
    assert_eq!(order[..3], [0, 1, 2]);
    assert_eq!(order[3..].iter().filter(|&&value| value >= 10).count(), 3);
    let uneven = [job(START, 0, &[&[0x0302_0011]]), job(START, 1, &[&[0x0202_0011]])];
    assert!(
        fault(page(0, false, &uneven, &[]))
            .message
            .contains("for 2 jobs here and for 3")
    );
}

#[test]
fn remote_barriers_hold_micro_controllers_together() {
    let code = |value: u32| {
        page(
            0,
            false,
            &[job(START, 0, &[&[0x1d, value], &[0x0003_0012, 5], &write(0, value)])],
            &[],
        )
    };
    let host = Host::new([code(100), code(1), code(7)].concat());
    let mut machine = Machine::new(Fake::default(), 2);
    for (uc, code) in [(0, 0), (2, 8192), (1, 16384)] {
        machine
            .start(
                uc,
                ExecBuf {
                    code: Host::BASE + code,
                    ..EXEC
                },
            )
            .expect("it exists");
    }
    // uC 1 waits at the same barrier without being in the mask that uCs 0 and 2 agree on: its own mask gains itself.
    let Progress::Fault(fault) = finish(&mut machine, &host) else {
        panic!("the masks differ")
    };
    assert!(fault.message.contains("participants must agree"), "{}", fault.message);

    let mut machine = Machine::new(Fake::default(), 2);
    machine.start(0, EXEC).expect("it exists");
    machine
        .start(
            2,
            ExecBuf {
                code: Host::BASE + 8192,
                ..EXEC
            },
        )
        .expect("it exists");
    assert_eq!(finish(&mut machine, &host), Progress::Done);
    let writes = &machine.fabric().writes;
    assert_eq!(writes.len(), 2);
    assert!(writes[0].0 >= 100 * 1200 && writes[1].0 - writes[0].0 < 100, "{writes:?}");
    assert!(fault_of_mask(0x80).contains("names uCs"));
}

fn fault_of_mask(mask: u32) -> String {
    fault(one(&[&[0x0001_0012, mask]])).message
}

#[test]
fn release_and_acquire_of_locks() {
    let jobs = [
        job(START, 0, &[&[0x21, 0, LOCK | 0x200], &write(0, 2)]),
        job(START, 1, &[&write(0, 1), &[0x21, LOCK, 0]]),
    ];
    let (machine, _, progress) = run(page(0, false, &jobs, &[]));
    assert_eq!((progress, machine.fabric().lock), (Progress::Done, 0));
    assert_eq!(machine.fabric().values(), [(0, 1), (0, 2)]);
}

#[test]
fn faults_name_their_place() {
    let unknown = fault(one(&[&write(0, 1), &[0x55]]));
    assert_eq!(
        (unknown.error, unknown.offset, unknown.opcode),
        (context_error::INVALID_OPCODE, 20, 0x55)
    );
    assert!(unknown.message.contains("0x55"));
    assert!(
        fault(one(&[&write(NOWHERE, 1)]))
            .message
            .contains("0xf0000000: no such register")
    );
    assert!(fault(one(&[&[0x0018_0010, 1]])).message.contains("register 24"));
    assert!(fault(one(&[&[0x1011_0011]])).message.contains("local barrier 17"));
    assert!(fault(one(&[&[0x0000_0012, 1]])).message.contains("remote barrier 0"));
    let mut machine = Machine::new(Fake::default(), 1);
    let refused = machine.start(2, EXEC).expect_err("one column has two uCs");
    assert_eq!(refused.error, context_error::INVALID_PACKET);
}

#[test]
fn a_budget_only_slices_the_work() {
    let jobs = [
        job(
            START,
            0,
            &[&[0x0040_0006, 0x0002_0006], &write(0, 1), &[0x13, FLAG, 1], &write(0, 9)],
        ),
        job(
            START,
            1,
            &[
                &write(TOKEN_AFTER, 1000),
                &write(FLAG_AFTER, 7000),
                &write(TOKEN_AFTER, 5000),
                &[0x08],
                &write(0, 2),
            ],
        ),
    ];
    let bytes = page(0, false, &jobs, &[]);
    let (whole, _, _) = run(bytes.clone());
    let host = Host::new(bytes);
    let mut sliced = Machine::new(Fake::default(), 1);
    sliced.start(0, EXEC).expect("uC 0 exists");
    let mut calls = 0;
    while sliced.run(&host, 1) == Progress::More {
        calls += 1;
        assert!(calls < 1000);
    }
    assert_eq!(sliced.fabric().writes, whole.fabric().writes);
    assert_eq!(sliced.now(), whole.now());
}
