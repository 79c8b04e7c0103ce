//! Control code that nobody meant well with: random pages, mutated pages, memory that changes while it is read.

use std::cell::Cell;

use super::support::*;
use crate::abi::control_code::SIZES;
use crate::cert::{ExecBuf, Machine, Progress};
use crate::memory::{HostMemory, MemoryFault, MemoryFaultKind};

/// xorshift64*: small, fast, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}

/// Runs what `host` holds on all uCs of three columns for a bounded number of steps, which has to return.
fn survive(host: &dyn HostMemory) -> Progress {
    let mut machine = Machine::new(Fake::default(), 3);
    for uc in 0..6 {
        machine.set_preempt(uc);
        let args = ExecBuf {
            args: Host::BASE,
            args_length: 4096,
            dtrace: Host::BASE + 64,
            ..EXEC
        };
        machine.start(uc, args).expect("it exists");
    }
    let progress = machine.run(host, 20_000);
    let copy = machine.clone();
    assert_eq!(copy.now(), machine.now());
    if let Progress::Fault(fault) = &progress {
        assert!(fault.error <= 6 && !fault.message.is_empty() && fault.uc < 6, "{fault:?}");
    }
    progress
}

/// A page of well-formed jobs with random instructions and operands, as far as the generator likes it.
fn random_page(random: &mut Random, number: u16) -> Vec<u8> {
    let opcodes: Vec<u32> = (0..255)
        .filter(|&code| SIZES[code as usize] != 0 && ![0x00, 0x07, 0x17, 0x1f].contains(&code))
        .collect();
    let jobs: Vec<Vec<u32>> = (0..1 + random.below(12))
        .map(|id| {
            let mut words = Vec::new();
            for _ in 0..random.below(12) {
                let code = opcodes[random.below(opcodes.len() as u64) as usize];
                // Small operands make things meet: registers, barriers, jobs, pages, tokens.
                let bound = if random.below(3) == 0 { 1 << 16 } else { 8 };
                words.push(code | (random.below(bound) as u32) << 16);
                for _ in 1..SIZES[code as usize] / 4 {
                    words.push(match random.below(6) {
                        0 => random.next() as u32,
                        1 => TOKEN_AFTER,
                        2 => FLAG,
                        3 => LOCK | 0x200,
                        _ => random.below(8) as u32,
                    });
                }
            }
            job(
                [START, START, START, DEFERRED, CONDITIONAL][random.below(5) as usize],
                id as u32,
                &[&words],
            )
        })
        .collect();
    let data: Vec<u32> = (0..64).map(|_| random.below(8) as u32 | 4 << 16).collect();
    page(number, random.below(2) == 0, &jobs, &data)
}

#[test]
fn random_programs_end_or_can_be_stopped() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut faults, mut others) = (0, 0);
    for _ in 0..600 {
        let bytes: Vec<u8> = (0..8).flat_map(|number| random_page(&mut random, number)).collect();
        match survive(&Host::new(bytes)) {
            Progress::Fault(_) => faults += 1,
            _ => others += 1,
        }
    }
    assert!(
        faults > 100 && others > 0,
        "{faults} faults, {others} others: the generator has become dull"
    );
}

#[test]
fn mutated_programs_end_or_can_be_stopped() {
    let mut random = Random(7);
    let jobs = [
        job(
            START,
            0,
            &[
                &[0x0005_0001, 0x70],
                &[0x0005_0002],
                &[0x0040_0006, 0x0001_0006],
                &[0x0202_0011],
                &write(0, 1),
            ],
        ),
        job(
            START,
            1,
            &[
                &write(TOKEN_AFTER, 100),
                &[0x0202_0011],
                &[0x1a, 1, 1],
                &[0x0005_0018],
                &[0x19 | 1 << 16, 2 | 3 << 16],
            ],
        ),
        job(DEFERRED, 5, &[&[0x0070_000e, 1 | 2 << 16]]),
        job(CONDITIONAL, 6, &[&[0x0001_0012, 1]]),
    ];
    let plain: Vec<u8> = (0..4)
        .flat_map(|number| page(number, number == 0, &jobs, &[0x0004_0001, 8, 0x1000, 0, 5, 6, 7, 8]))
        .collect();
    for _ in 0..1500 {
        let mut bytes = plain.clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(4) as usize * 8192 + random.below(300) as usize;
            bytes[at] = if random.below(2) == 0 {
                random.next() as u8
            } else {
                bytes[at] ^ 1 << random.below(8)
            };
        }
        survive(&Host::new(bytes));
    }
}

#[test]
fn noise_is_refused() {
    let mut random = Random(3);
    for _ in 0..300 {
        let mut bytes: Vec<u8> = (0..8192).map(|_| random.next() as u8).collect();
        bytes[..4].copy_from_slice(&[0xff, 0xff, 0, 0]);
        bytes[8..10].copy_from_slice(&(20 + 4 * random.below(2043) as u16).to_le_bytes());
        bytes[16..18].copy_from_slice(&[0, 0]);
        survive(&Host::new(bytes));
    }
}

/// Memory of which every read gives something else, and never the whole truth.
struct Shifting {
    pages: Vec<Vec<u8>>,
    turn: Cell<usize>,
    random: Cell<u64>,
}

impl HostMemory for Shifting {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        let mut random = Random(self.random.get());
        let bytes = &self.pages[random.below(self.pages.len() as u64) as usize];
        self.random.set(random.0);
        if random.below(50) == 0 {
            return Err(MemoryFault {
                address,
                length: out.len() as u64,
                kind: MemoryFaultKind::Poisoned,
            });
        }
        let start = (address.wrapping_sub(Host::BASE) % bytes.len() as u64) as usize;
        for (index, byte) in out.iter_mut().enumerate() {
            *byte = bytes[(start + index) % bytes.len()];
        }
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryFault> {
        Err(MemoryFault {
            address,
            length: data.len() as u64,
            kind: MemoryFaultKind::Permission,
        })
    }
}

#[test]
fn memory_that_changes_while_it_is_read_does_no_harm() {
    let mut random = Random(11);
    for round in 0..400 {
        let pages = (0..4)
            .map(|_| (0..4).flat_map(|number| random_page(&mut random, number)).collect())
            .collect();
        survive(&Shifting {
            pages,
            turn: Cell::new(0),
            random: Cell::new(round + 1),
        });
    }
}

#[test]
fn each_byte_of_a_page_is_read_once() {
    struct Counting(Host, std::cell::RefCell<Vec<u8>>);
    impl HostMemory for Counting {
        fn read(&self, address: u64, out: &mut [u8]) -> Result<(), MemoryFault> {
            let start = (address - Host::BASE) as usize;
            self.1.borrow_mut()[start..start + out.len()]
                .iter_mut()
                .for_each(|count| *count += 1);
            self.0.read(address, out)
        }
        fn write(&self, address: u64, data: &[u8]) -> Result<(), MemoryFault> {
            self.0.write(address, data)
        }
    }
    let bytes = page(
        0,
        false,
        &[job(START, 0, &[&write(0, 1), &[0x08], &write(0, 2)])],
        &[1, 2, 3, 4],
    );
    let used = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let host = Counting(Host::new(bytes), std::cell::RefCell::new(vec![0; 8192]));
    let mut machine = Machine::new(Fake::default(), 1);
    machine.start(0, EXEC).expect("it exists");
    assert_eq!(finish(&mut machine, &host), Progress::Done);
    let counts = host.1.borrow();
    assert!(counts[..used].iter().all(|&count| count == 1) && counts[used..].iter().all(|&count| count == 0));
}

#[test]
fn endless_page_chains_are_cut_off() {
    // A page that says of itself that it is page 0 and that another follows, wherever it is read: the second is refused.
    let bytes = page(0, true, &[], &[]);
    let twice = fault([bytes.clone(), bytes].concat());
    assert!(twice.message.contains("calls itself page 0"));
}
