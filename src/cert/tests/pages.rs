//! Pages: headers, order, nested code, preemption.

use super::support::*;
use crate::abi::host_queue::context_error;
use crate::cert::{ExecBuf, Machine, Progress};

fn simple(number: u16, more: bool, value: u32) -> Vec<u8> {
    page(number, more, &[job(START, 0, &[&write(0, value)])], &[])
}

#[test]
fn pages_run_one_after_another() {
    let (machine, _, progress) = run([simple(0, true, 1), simple(1, true, 2), simple(2, false, 3)].concat());
    assert_eq!(
        (progress, machine.fabric().values()),
        (Progress::Done, vec![(0, 1), (0, 2), (0, 3)])
    );
    assert_eq!(machine.statistics().next().map(|uc| uc.pages), Some(3));
}

#[test]
fn bad_pages_are_refused_with_the_reason() {
    let edit = |at: usize, value: u8| {
        let mut bytes = simple(0, false, 1);
        bytes[at] = value;
        fault(bytes)
    };
    let cases = [
        (edit(0, 0), "0xff00, not 0xffff"),
        (edit(2, 9), "calls itself page 9"),
        (edit(8, 18), "length 18"),
        (edit(9, 0x40), "length 16432"),
        (edit(8, 0), "length 0"),
        (edit(8, 40), "ends without EOF"),
        (edit(20, 4), "size 4"),
        (edit(20, 0xfc), "size 252"),
        (fault(simple(0, true, 1)), "page 1: 16 bytes"),
        (fault(vec![0; 8]), "not mapped"),
    ];
    for (fault, message) in cases {
        assert!(fault.message.contains(message), "{fault:?}");
        assert_eq!(fault.error, context_error::INVALID_PAGE);
    }
    let mut high = Machine::new(Fake::default(), 1);
    high.start(
        0,
        ExecBuf {
            code: u64::MAX - 4096,
            ..EXEC
        },
    )
    .expect("it exists");
    let Progress::Fault(beyond) = finish(&mut high, &Host::new(vec![])) else {
        panic!("no page there")
    };
    assert!(beyond.message.contains("beyond 64-bit"));
}

#[test]
fn code_outside_a_job_is_an_invalid_opcode() {
    let mut bytes = simple(0, false, 1);
    bytes[16 + 24] = 0x16;
    let nop = fault(bytes);
    assert_eq!((nop.error, nop.opcode, nop.offset), (context_error::INVALID_OPCODE, 0x16, 24));
    // A job whose last instruction is not END_JOB runs into its end.
    let mut bytes = simple(0, false, 1);
    bytes[16 + 20] = 0x05;
    assert!(fault(bytes).message.contains("takes 12 bytes; its job ends after 4"));
}

const PDI: u32 = 0x11;

fn load_pdi(id: u32, page: u32) -> Vec<u32> {
    job(START, 0, &[&[0x1a, id, page], &write(0, 0x100 + id)])
}

#[test]
fn a_pdi_runs_once_until_another_is_loaded() {
    let order = [load_pdi(PDI, 5), load_pdi(PDI, 5), load_pdi(0x12, 6), load_pdi(PDI, 5)];
    let mut bytes = Vec::new();
    for (number, load) in order.into_iter().enumerate() {
        bytes.extend(page(number as u16, number < 3, &[load], &[]));
    }
    bytes.extend(page(4, false, &[], &[]));
    bytes.extend(simple(5, false, 5));
    bytes.extend(simple(6, true, 6));
    bytes.extend(simple(7, false, 7));
    let (mut machine, host, _) = run(bytes);
    let values = |machine: &Machine<Fake>| machine.fabric().values().iter().map(|write| write.1).collect::<Vec<_>>();
    assert_eq!(values(&machine), [5, 0x111, 0x111, 6, 7, 0x112, 5, 0x111]);
    // It is still loaded when the next packet comes.
    machine.start(0, EXEC).expect("it exists");
    finish(&mut machine, &host);
    assert_eq!(values(&machine)[8..10], [0x111, 0x111]);
}

/// What a program writes: `jobs` on page 0, and on page 1 code that sleeps and then writes 9.
fn order(jobs: &[Vec<u32>]) -> Vec<u32> {
    let nested = page(1, false, &[job(START, 0, &[&[0x1d, 10], &write(0, 9)])], &[]);
    let (machine, _, progress) = run([page(0, false, jobs, &[]), nested].concat());
    assert_eq!(progress, Progress::Done);
    machine.fabric().values().iter().map(|write| write.1).collect()
}

#[test]
fn a_job_that_loads_code_starts_after_those_before_it_and_holds_those_after_it() {
    let slow = job(START, 1, &[&[0x1d, 10], &write(0, 1)]);
    let quick = job(START, 2, &[&write(0, 2)]);
    assert_eq!(order(&[slow, load_pdi(PDI, 1), quick.clone()]), [1, 9, 0x111, 2]);
    // A deferred job that is launched meanwhile waits like the others.
    let launch = job(START, 3, &[&[0x0005_0018], &write(0, 3)]);
    let deferred = job(DEFERRED, 5, &[&write(0, 5)]);
    assert_eq!(
        order(&[launch, load_pdi(PDI, 1), deferred, quick.clone()]),
        [3, 9, 0x111, 5, 2]
    );
    // Code that a job loads half-way holds no other job up.
    let half_way = job(START, 0, &[&[0x16], &[0x1a, PDI, 1], &write(0, 0x111)]);
    assert_eq!(order(&[half_way, quick]), [2, 9, 0x111]);
}

#[test]
fn cores_are_loaded_like_pdis_and_forgotten_with_them() {
    let cores = |number: u16| page(number, true, &[job(START, 0, &[&[0x04, 7, 5], &write(0, 1)])], &[]);
    let bytes = [
        page(0, true, &[load_pdi(PDI, 6)], &[]),
        cores(1),
        cores(2),
        page(3, true, &[load_pdi(0x12, 6)], &[]),
        page(4, false, &[job(START, 0, &[&[0x20, 7], &[0x04, 7, 5], &write(0, 2)])], &[]),
        simple(5, false, 5),
        simple(6, false, 6),
    ];
    let (machine, _, progress) = run(bytes.concat());
    assert_eq!(progress, Progress::Done);
    let values: Vec<u32> = machine.fabric().values().iter().map(|write| write.1).collect();
    // LOAD_CORES_CP says that the cores hold 7 already, so the last LOAD_CORES has nothing to do.
    assert_eq!(values, [6, 0x111, 5, 1, 1, 6, 0x112, 2]);
    let without = fault(page(0, false, &[job(START, 0, &[&[0x20, 7]])], &[]));
    assert_eq!((without.error, without.opcode), (context_error::NO_PDI, 0x20));
    assert_eq!(
        fault(page(0, false, &[job(START, 0, &[&[0x1b]])], &[])).error,
        context_error::NO_PDI
    );
}

#[test]
fn nested_code_that_can_not_be_had_is_a_load_failure() {
    let missing = fault(page(0, false, &[load_pdi(PDI, 3)], &[]));
    assert_eq!((missing.error, missing.page), (context_error::PDI_LOAD, 3));
    // Page 1 loads the last PDI, which is itself.
    let bytes = [
        page(0, false, &[load_pdi(PDI, 1)], &[]),
        page(1, false, &[job(START, 0, &[&[0x1b]])], &[]),
    ]
    .concat();
    let deep = fault(bytes);
    assert_eq!((deep.error, deep.opcode), (context_error::PDI_LOAD, 0x1b));
    assert!(deep.message.contains("4 deep"));
}

fn preemptible() -> Vec<u8> {
    let jobs = [
        job(START, 1, &[&[0x0005_0019, 1 | 2 << 16], &write(0, 1)]),
        job(CONDITIONAL, 9, &[&write(0, 9)]),
        job(START, 2, &[&write(0, 2)]),
    ];
    [
        page(0, false, &jobs, &[]),
        simple(1, false, 0x5a),
        simple(2, true, 0xe5),
        simple(3, false, 0xe6),
    ]
    .concat()
}

#[test]
fn preemption_saves_restores_and_runs_the_conditional_job_once() {
    let host = Host::new(preemptible());
    let mut machine = Machine::new(Fake::default(), 1);
    let mut values = |preempt: bool| {
        if preempt {
            machine.set_preempt(0);
        }
        machine.start(0, EXEC).expect("it exists");
        let before = machine.fabric().writes.len();
        assert_eq!(finish(&mut machine, &host), Progress::Done);
        machine.fabric().values()[before..]
            .iter()
            .map(|write| write.1)
            .collect::<Vec<_>>()
    };
    assert_eq!(values(false), [1, 2]);
    assert_eq!(values(true), [0x5a, 0xe5, 0xe6, 1, 9, 2]);
    assert_eq!(values(false), [1, 2]);
}

/// What is written when page 0 is preempted in job 3: 0x5a and later 0x5b by the save page, 0xe5 by the restore page, and by jobs
/// 1 to 4 their numbers. Job 1 has a token on its way, job 2 sleeps; the save page takes long enough for both to become runnable.
fn preempted(preempt: &[&[u32]], requested: bool) -> Vec<u32> {
    let jobs = [
        job(
            START,
            1,
            &[&write(TOKEN_AFTER, 100), &[0x0040_0006, 0x0001_0006], &write(0, 1)],
        ),
        job(START, 2, &[&[0x1d, 1], &write(0, 2)]),
        job(START, 3, preempt),
        job(START, 4, &[&write(0, 4)]),
    ];
    let save = page(
        1,
        false,
        &[job(START, 0, &[&write(0, 0x5a), &[0x1d, 50], &write(0, 0x5b)])],
        &[],
    );
    let host = Host::new([page(0, false, &jobs, &[]), save, simple(2, false, 0xe5)].concat());
    let mut machine = Machine::new(Fake::default(), 1);
    if requested {
        machine.set_preempt(0);
    }
    machine.start(0, EXEC).expect("it exists");
    assert_eq!(finish(&mut machine, &host), Progress::Done);
    machine.fabric().values().iter().skip(1).map(|write| write.1).collect()
}

const PREEMPT: [u32; 2] = [0x0005_0019, 1 | 2 << 16];

#[test]
fn a_job_that_preempts_saves_after_those_before_it() {
    assert_eq!(preempted(&[&PREEMPT, &write(0, 3)], true), [1, 2, 0x5a, 0x5b, 0xe5, 3, 4]);
    // If nobody asked it does not wait.
    assert_eq!(preempted(&[&PREEMPT, &write(0, 3)], false)[0], 3);
}

#[test]
fn no_other_job_runs_between_save_and_restore() {
    assert_eq!(
        preempted(&[&[0x16], &PREEMPT, &write(0, 3)], true),
        // Job 4 runs while job 3 looks whether other micro-controllers come to the point.
        [4, 0x5a, 0x5b, 0xe5, 3, 1, 2]
    );
}

#[test]
fn micro_controllers_meet_at_preemption_points() {
    let code = |own: u32, before: &[&[u32]]| {
        let point = job(START, 1, &[&[0x0005_0019, 2 | 3 << 16], &write(0, own + 1)]);
        let save = job(START, 0, &[&[0x1d, own], &write(0, own + 0xa)]);
        [
            page(0, true, &[job(START, 0, before)], &[]),
            page(1, false, &[point], &[]),
            page(2, false, &[save], &[]),
            simple(3, false, own + 0xe),
        ]
        .concat()
    };
    // The one sleeps before its point, and longer than the other in its save page.
    let host = Host::new([code(0x10, &[]), code(0x20, &[&[0x1d, 20], &write(0, 0x20)])].concat());
    let values = |requested: bool| {
        let mut machine = Machine::new(Fake::default(), 2);
        for (index, uc) in [0, 2].into_iter().enumerate() {
            let code = Host::BASE + index as u64 * 4 * 8192;
            machine.start(uc, ExecBuf { code, ..EXEC }).expect("it exists");
        }
        // That one is asked is enough.
        if requested {
            machine.set_preempt(2);
        }
        assert_eq!(finish(&mut machine, &host), Progress::Done);
        let mut values: Vec<u32> = machine.fabric().values().iter().map(|write| write.1).collect();
        values[1..].chunks_mut(2).for_each(<[u32]>::sort_unstable);
        (values, machine.fabric().handed_over.clone())
    };
    assert_eq!(values(false), (vec![0x20, 0x11, 0x21], vec![]));
    assert_eq!(values(true), (vec![0x20, 0x1a, 0x2a, 0x1e, 0x2e, 0x11, 0x21], vec![3]));
}

#[test]
fn what_the_cores_held_is_loaded_again_with_the_last_pdi() {
    let cores = |id: u32, page: u32| job(START, 0, &[&[0x04, id, page]]);
    let last = job(START, 1, &[&[0x1b], &write(0, 1)]);
    let code = |order: [Vec<u32>; 3]| {
        let mut bytes = Vec::new();
        for (number, job) in order.into_iter().enumerate() {
            bytes.extend(page(number as u16, number < 2, &[job], &[]));
        }
        // A PDI that loads core programs of its own, and others.
        bytes.extend(page(3, false, &[job(START, 0, &[&write(0, 3)]), cores(4, 4)], &[]));
        [bytes, simple(4, false, 4), simple(5, false, 5)].concat()
    };
    let values = |bytes: Vec<u8>| {
        let (machine, _, progress) = run(bytes);
        assert_eq!(progress, Progress::Done);
        machine.fabric().values().iter().map(|write| write.1).collect::<Vec<_>>()
    };
    assert_eq!(
        values(code([load_pdi(PDI, 3), cores(5, 5), last.clone()])),
        [3, 4, 0x111, 5, 3, 4, 5, 1]
    );
    // The same programs as the PDI's are there already; those that came by control packets can't be had again.
    assert_eq!(
        values(code([load_pdi(PDI, 3), cores(4, 4), last.clone()])),
        [3, 4, 0x111, 3, 4, 1]
    );
    let packets = job(START, 0, &[&[0x20, 9]]);
    assert_eq!(values(code([load_pdi(PDI, 3), packets, last])), [3, 4, 0x111, 3, 4, 1]);
}

#[test]
fn conditional_jobs_of_several_micro_controllers_end_together() {
    let host = Host::new(preemptible());
    let mut machine = Machine::new(Fake::default(), 2);
    for uc in [0, 2, 3] {
        machine.start(uc, EXEC).expect("it exists");
        machine.set_preempt(uc);
    }
    // uC 3 is asked but finds no PREEMPT in its code; that must not hold the others up.
    machine.abort();
    let plain = [preemptible(), simple(0, false, 1)].concat();
    let host_with_plain = Host::new(plain);
    for uc in [0, 2, 3] {
        let code = Host::BASE + if uc == 3 { 4 * 8192 } else { 0 };
        machine.start(uc, ExecBuf { code, ..EXEC }).expect("it exists");
        machine.set_preempt(uc);
    }
    assert_eq!(finish(&mut machine, &host_with_plain), Progress::Done);
    assert_eq!(machine.fabric().values().iter().filter(|write| write.1 == 9).count(), 2);
    drop(host);
}

#[test]
fn packets_queue_up_and_a_copy_of_the_machine_goes_its_own_way() {
    let host = Host::new([simple(0, false, 1), simple(0, false, 2)].concat());
    let mut machine = Machine::new(Fake::default(), 1);
    machine.start(0, EXEC).expect("it exists");
    machine
        .start(
            0,
            ExecBuf {
                code: Host::BASE + 8192,
                ..EXEC
            },
        )
        .expect("it exists");
    let mut copy = machine.clone();
    assert_eq!(finish(&mut machine, &host), Progress::Done);
    copy.abort();
    assert_eq!(finish(&mut copy, &host), Progress::Done);
    assert_eq!(
        (machine.fabric().values(), copy.fabric().values()),
        (vec![(0, 1), (0, 2)], vec![])
    );
    for _ in 0..32 {
        machine.start(0, EXEC).expect("there is room");
    }
    assert!(machine.start(0, EXEC).is_err());
}

#[test]
fn the_trace_tells_every_instruction() {
    let host = Host::new([simple(0, true, 1), simple(1, false, 2)].concat());
    let mut machine = Machine::new(Fake::default(), 1);
    machine.set_trace(true);
    machine.start(0, EXEC).expect("it exists");
    finish(&mut machine, &host);
    let (entries, lost) = machine.take_trace();
    let text: Vec<_> = entries.iter().map(|entry| (entry.page, entry.offset, entry.text())).collect();
    let expected = [
        (0, 8, "WRITE_32 0x0 0x1"),
        (0, 20, "END_JOB"),
        (1, 8, "WRITE_32 0x0 0x2"),
        (1, 20, "END_JOB"),
    ];
    assert_eq!(lost, 0);
    assert_eq!(text, expected.map(|(page, offset, text)| (page, offset, String::from(text))));
    assert!(entries.windows(2).all(|pair| pair[0].time < pair[1].time));
}
