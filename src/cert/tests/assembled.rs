//! What Debian's aiebu-asm made of `examples/control_code/*.asm`, on a real array. `tests/system` assembles it again and compares.

use super::support::Host;
use crate::array::Array;
use crate::cert::fabric::Fabric;
use crate::cert::{ExecBuf, Machine, Progress};

/// The pages of a recorded program, at their places.
pub fn pages(recorded: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("recorded pages are hexadecimal") as u8;
    let page = |line: &str| {
        let mut bytes: Vec<u8> = line
            .as_bytes()
            .chunks(2)
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect();
        bytes.resize(8192, 0);
        bytes
    };
    recorded.lines().flat_map(page).collect()
}

/// Runs `programs` (uC, recorded pages) together on three columns, with `arguments` as they lie in memory after the code.
pub fn run(programs: &[(usize, &str)], arguments: &[u8]) -> (Machine<Array>, Host, Progress) {
    let mut memory = vec![0; 0x10000];
    memory[..arguments.len()].copy_from_slice(arguments);
    let mut machine = Machine::new(Array::new(3), 3);
    for &(uc, recorded) in programs {
        let code = Host::BASE + memory.len() as u64;
        memory.extend(pages(recorded));
        let exec = ExecBuf {
            code,
            args: Host::BASE,
            args_length: if arguments.is_empty() { 0 } else { 64 },
            dtrace: 0,
        };
        machine.start(uc, exec).expect("three columns have six uCs");
    }
    let host = Host::new(memory);
    let progress = machine.run(&host, 10_000_000);
    (machine, host, progress)
}

/// The first words of column 0's mem tile.
fn mem_words(machine: &mut Machine<Array>, count: usize) -> Vec<u32> {
    let at = machine.now();
    let mut words = vec![0; count];
    machine
        .fabric_mut()
        .read_block(at, 0x100000, &mut words)
        .expect("mem tile memory can be read");
    words
}

#[test]
fn jobs() {
    let (mut machine, _, progress) = run(&[(0, include_str!("recorded/jobs.hex"))], &[]);
    assert_eq!(progress, Progress::Done);
    assert_eq!(mem_words(&mut machine, 8), [0xF1, 0x22, 0x122, 0x33, 0x44, 0x44, 0x55, 0x66]);
    // SLEEP 5 is 6000 cycles at 1200 MHz, and a page costs 512.
    assert!((6000..9000).contains(&machine.now()), "{}", machine.now());
}

#[test]
fn copy() {
    let data: Vec<u8> = (0..4096_u32).map(|index| (index * 7 + index / 251) as u8).collect();
    let mut arguments: Vec<u8> = [Host::BASE + 0x1000, Host::BASE + 0x4000]
        .iter()
        .flat_map(|at| at.to_le_bytes())
        .collect();
    arguments.resize(0x1000, 0);
    arguments.extend(&data);
    let (_, host, progress) = run(&[(0, include_str!("recorded/copy.hex"))], &arguments);
    assert_eq!(progress, Progress::Done);
    assert!(host.0.borrow()[0x4000..0x5000] == data);
    assert!(host.0.borrow()[0x5000..0x10000].iter().all(|&byte| byte == 0));
}

#[test]
fn copy_fails_without_any_of_its_links() {
    // Each edit breaks one line of the program: a route, a BD, a lock, a start, an argument.
    let whole = pages(include_str!("recorded/copy.hex"));
    let edits: [(&str, &[u8], &[u8]); 6] = [
        (
            "the route from shim to mem tile",
            &[0x00, 0x00, 0x12, 0x00, 0x0e, 0, 0, 0x80],
            &[0x00, 0x00, 0x12, 0x00, 0x0f, 0, 0, 0x80],
        ),
        (
            "the lock that the first BD releases",
            &[0x82, 0x0b, 0, 0],
            &[0x84, 0x0b, 0, 0],
        ),
        (
            "the start of the mem tile's output",
            &[0x64, 0x9e, 0x10, 0x00],
            &[0x74, 0x9e, 0x10, 0x00],
        ),
        (
            "the start of the shim's input",
            &[0x54, 0x85, 0x01, 0x00],
            &[0x5c, 0x85, 0x01, 0x00],
        ),
        ("the input argument", &[0x0e, 0x00], &[0x16, 0x00]),
        (
            "the token",
            &[0x44, 0x85, 0x01, 0x00, 0x01, 0, 0, 0x80],
            &[0x44, 0x85, 0x01, 0x00, 0x01, 0, 0, 0x00],
        ),
    ];
    for (name, old, new) in edits {
        let at = whole
            .windows(old.len())
            .position(|window| window == old)
            .expect("the program has this line");
        let mut broken = whole.clone();
        let length = if name == "the input argument" { 2 } else { new.len() };
        broken[at..at + length].copy_from_slice(&new[..length]);
        if name == "the input argument" {
            // NOPs in the instruction's place.
            broken[at..at + 8].copy_from_slice(&[0x16, 0, 0, 0, 0x16, 0, 0, 0]);
        }
        let mut memory = vec![0; 0x10000];
        memory[0..8].copy_from_slice(&(Host::BASE + 0x1000).to_le_bytes());
        memory[8..16].copy_from_slice(&(Host::BASE + 0x4000).to_le_bytes());
        memory[0x1000..0x2000].fill(0x5a);
        memory.extend(broken);
        let host = Host::new(memory);
        let mut machine = Machine::new(Array::new(3), 3);
        machine
            .start(
                0,
                ExecBuf {
                    code: Host::BASE + 0x10000,
                    args: Host::BASE,
                    args_length: 16,
                    dtrace: 0,
                },
            )
            .expect("it exists");
        let progress = machine.run(&host, 10_000_000);
        assert!(matches!(progress, Progress::Fault(_)), "without {name}: {progress:?}");
        if name != "the token" {
            assert!(
                host.0.borrow()[0x4000..0x5000].iter().all(|&byte| byte == 0),
                "without {name} nothing may arrive"
            );
        }
    }
}

#[test]
fn nested() {
    let (mut machine, _, progress) = run(&[(0, include_str!("recorded/nested.hex"))], &[]);
    assert_eq!(progress, Progress::Done);
    assert_eq!(mem_words(&mut machine, 4), [1, 2, 3, 0]);
}

#[test]
fn barrier() {
    let programs = [
        (0, include_str!("recorded/barrier.hex")),
        (2, include_str!("recorded/barrier.2.hex")),
    ];
    let (mut machine, _, progress) = run(&programs, &[]);
    assert_eq!((progress, mem_words(&mut machine, 4)), (Progress::Done, vec![5, 6, 6, 5]));
    let (_, _, alone) = run(&programs[1..], &[]);
    let Progress::Fault(fault) = alone else {
        panic!("nobody else comes")
    };
    assert!(fault.message.contains("REMOTE_BARRIER"), "{}", fault.message);
}
/// A small generator of int8 values.
fn int8(seed: u32, count: usize) -> Vec<i8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as i8
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn matmul() {
    let (a, b) = (int8(1, 16 * 64), int8(2, 64 * 32));
    let at = [0x1000, 0x2000, 0x4000].map(|offset| Host::BASE + offset);
    let mut memory: Vec<u8> = at.iter().flat_map(|address| address.to_le_bytes()).collect();
    memory.resize(0x1000, 0);
    memory.extend(a.iter().map(|&value| value as u8));
    memory.resize(0x2000, 0);
    memory.extend(b.iter().map(|&value| value as u8));
    let (machine, host, progress) = run(&[(0, include_str!("recorded/matmul.hex"))], &memory);
    assert_eq!(progress, Progress::Done, "{}", machine.fabric().blocked().join("; "));
    for row in 0..16 {
        for column in 0..32 {
            let sum: i32 = (0..64)
                .map(|k| i32::from(a[row * 64 + k]) * i32::from(b[k * 32 + column]))
                .sum();
            assert_eq!(host.u32(0x4000 + 4 * (row * 32 + column)) as i32, sum, "C[{row}][{column}]");
        }
    }
}

#[test]
fn matmul_with_flipped_bits_ends_with_an_answer_or_a_named_fault() {
    let whole = pages(include_str!("recorded/matmul.hex"));
    let used = usize::from(u16::from_le_bytes([whole[8], whole[9]]));
    let mut state = 0x1234_5678_u32;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % bound
    };
    let mut faults = 0;
    for _ in 0..400 {
        let mut memory = vec![0; 0x10000];
        for (index, offset) in [0x1000, 0x2000, 0x4000_u64].into_iter().enumerate() {
            memory[8 * index..8 * index + 8].copy_from_slice(&(Host::BASE + offset).to_le_bytes());
        }
        let mut broken = whole.clone();
        for _ in 0..1 + below(4) {
            broken[below(used)] ^= 1 << below(8);
        }
        memory.extend(broken);
        let host = Host::new(memory);
        let mut machine = Machine::new(Array::new(3), 3);
        let exec = ExecBuf {
            code: Host::BASE + 0x10000,
            args: Host::BASE,
            args_length: 24,
            dtrace: 0,
        };
        machine.start(0, exec).expect("it exists");
        if let Progress::Fault(fault) = machine.run(&host, 100_000) {
            assert!(fault.error <= 6 && !fault.message.is_empty(), "{fault:?}");
            faults += 1;
        }
    }
    assert!((50..400).contains(&faults), "{faults} of 400 failed");
}
