//! The engine against memory that means harm, and against itself.

mod process;

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::terms::Served;
use super::*;
use crate::abi::control_code::{self, opcode};
use crate::abi::host_queue::{completion_state, header_padded, packet, packet_opcode};
use crate::client::{HostQueue, Submission};
use crate::interrupts::Interrupts;
use crate::memory::{PROT_READ, PROT_WRITE};
use crate::queue::Layout;

const ADDRESS: u64 = 0x7_0000_0000;
const CODE: u64 = 0x8000;
const BYTES: u64 = 0x20000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Of random queues.
const ROUNDS: usize = 10_000;

/// Numbers that look random and are the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A value that is more often than not near some limit.
    fn edge(&mut self) -> u64 {
        let near = [
            0,
            1,
            32,
            33,
            64,
            0xFFFF,
            0xFFFF_FFFF,
            1 << 32,
            1 << 57,
            u64::MAX,
            ADDRESS,
            ADDRESS + CODE,
            ADDRESS + BYTES,
        ];
        let base = near[self.below(near.len() as u64) as usize];
        match self.below(4) {
            0 => self.next(),
            1 => base.wrapping_sub(self.below(70)),
            _ => base.wrapping_add(self.below(3)),
        }
    }
}

fn memfd(bytes: u64) -> File {
    // SAFETY: a C string literal and a flag; the result is checked, and owned by nobody else.
    let file = unsafe {
        let fd = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    };
    file.set_len(bytes).unwrap();
    file
}

/// A function with one context: its memory, and the client's half.
struct Tenant {
    memory: File,
    doorbell: File,
    space: Arc<AddressSpace>,
    queue: HostQueue,
    id: u64,
}

impl Tenant {
    fn new(engine: &Engine, priority: i32) -> Self {
        let (memory, doorbell) = (memfd(BYTES), memfd(4096));
        let space = Arc::new(AddressSpace::default());
        space
            .map(ADDRESS, memory.as_raw_fd(), 0, BYTES, PROT_READ | PROT_WRITE)
            .unwrap();
        let placement = placement(priority);
        let id = engine.create_context(&space, placement, (doorbell.as_raw_fd(), 0)).unwrap();
        let queue = HostQueue::new(
            (memory.as_raw_fd(), 0),
            ADDRESS,
            CODE,
            (doorbell.as_raw_fd(), 0),
            Layout::Padded,
            32,
            Some(engine.kick_fd()),
        )
        .unwrap();
        let tenant = Self {
            memory,
            doorbell,
            space,
            queue,
            id,
        };
        tenant.code(0, &page(&[&[]]));
        tenant
    }

    fn code(&self, slot: u64, bytes: &[u8]) -> u64 {
        let at = CODE + slot * u64::from(control_code::PAGE_SIZE);
        self.memory.write_at(bytes, at).unwrap();
        ADDRESS + at
    }

    fn submit(&self, code: u64) -> u64 {
        self.queue
            .submit(&Submission {
                code: &[(0, code)],
                ..Submission::default()
            })
            .unwrap()
    }

    fn run(&self) -> u32 {
        self.queue.spin(self.submit(ADDRESS + CODE), PATIENCE).unwrap()
    }
}

fn placement(priority: i32) -> Placement {
    let interrupts = Arc::new(Interrupts::new(1).unwrap());
    Placement {
        queue_address: ADDRESS,
        column: 0,
        columns: 3,
        interrupts,
        vector: 0,
        priority,
        owner: 1,
        mirror: true,
    }
}

/// A page of jobs, each a list of instructions.
fn page(jobs: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, job) in jobs.iter().enumerate() {
        let size = 8 + job.len() + 4;
        body.extend([
            opcode::START_JOB as u8,
            0,
            number as u8,
            0,
            size as u8,
            (size >> 8) as u8,
            0,
            0,
        ]);
        body.extend_from_slice(job);
        body.extend([opcode::END_JOB as u8, 0, 0, 0]);
    }
    body.extend([opcode::EOF as u8, 0, 0, 0]);
    let mut page = vec![0xFF, 0xFF, 0, 0, 0, 0, 0, 0];
    page.extend(((body.len() + 16) as u16).to_le_bytes());
    page.resize(16, 0);
    page.extend(body);
    page.resize(control_code::PAGE_SIZE as usize, control_code::FILLER as u8);
    page
}

/// A job that polls host memory for a value that never comes: half a second of host time and a simulated one.
fn endless() -> Vec<u8> {
    let mut job = vec![opcode::UC_DMA_MASK_POLL_EXT as u8, 0, 0, 0];
    for word in [ADDRESS as u32, (ADDRESS >> 32) as u32, u32::MAX, 0xDEAD_BEEF] {
        job.extend(word.to_le_bytes());
    }
    page(&[&job])
}

/// Packets that take ten seconds together, so that a test whose thread is not run for a while finds them under way; the last one.
fn submit_long(tenant: &Tenant) -> u64 {
    let code = tenant.code(1, &endless());
    (0..20).map(|_| tenant.submit(code)).last().expect("one of twenty")
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_panic_becomes_the_error_of_its_context() {
    let space = Arc::new(AddressSpace::default());
    let mut context = Context::new(&space, placement(0), Waits::alone());
    let served = worker::guarded(&mut context, |_| panic!("as if"));
    assert_eq!(served, Served::Idle);
    assert_eq!(context.state(), State::Error);
    assert!(context.outcome().2.contains("as if"));
}

#[test]
fn a_long_packet_neither_holds_up_others_nor_its_own_end() {
    let engine = Engine::new(3, Pace::Fast, None).unwrap();
    let (slow, quick) = (Tenant::new(&engine, 0), Tenant::new(&engine, 0));
    let last = submit_long(&slow);
    until("the start of the long packet", || {
        engine.with(slow.id, |context| context.state()).unwrap() == State::Running
    });
    assert_eq!(quick.run(), completion_state::COMPLETED);
    assert_eq!(slow.queue.completion(last).unwrap(), 0, "it held the other up");
    engine.destroy_context(slow.id).unwrap();
    assert_eq!(slow.queue.completion(last).unwrap(), 0, "it was waited for");
    for _ in 0..20 {
        assert_eq!(quick.run(), completion_state::COMPLETED);
    }
}

#[test]
fn memory_is_unmapped_under_a_running_packet() {
    let engine = Engine::new(3, Pace::Fast, None).unwrap();
    let (victim, witness) = (Tenant::new(&engine, 0), Tenant::new(&engine, 0));
    let last = submit_long(&victim);
    until("the start of the long packet", || {
        engine.with(victim.id, |context| context.state()).unwrap() == State::Running
    });
    assert_eq!(victim.space.unmap(ADDRESS, BYTES).unwrap(), BYTES);
    assert_eq!(victim.queue.completion(last).unwrap(), 0, "it was waited for");
    until("the error", || {
        engine.with(victim.id, |context| context.state()).unwrap() == State::Error
    });
    assert_eq!(witness.run(), completion_state::COMPLETED);
}

#[test]
fn a_poll_that_never_comes_true_times_out() {
    let engine = Engine::new(3, Pace::Fast, None).unwrap();
    let tenant = Tenant::new(&engine, 0);
    let word = tenant
        .queue
        .spin(tenant.submit(tenant.code(1, &endless())), PATIENCE)
        .unwrap();
    assert_eq!(word, 6 << 4 | completion_state::TIMEOUT);
    let (cost, message) = engine
        .with(tenant.id, |context| (context.cost().1, context.outcome().2.to_owned()))
        .unwrap();
    // The limit is one simulated second.
    assert!((1e12..1.01e12).contains(&(cost.picoseconds as f64)), "{cost:?}");
    assert!(!message.is_empty());
    assert_eq!(tenant.run(), completion_state::COMPLETED);
}

#[test]
fn a_higher_band_goes_first() {
    let engine = Engine::new(3, Pace::Fast, None).unwrap();
    let (low, high) = (Tenant::new(&engine, 0), Tenant::new(&engine, 5));
    let slow = low.code(1, &endless());
    let waiting: Vec<_> = (0..5).map(|_| low.submit(slow)).collect();
    until("the start of the long packet", || {
        engine.with(low.id, |context| context.state()).unwrap() == State::Running
    });
    let code = high.code(1, &endless());
    let sequences: Vec<_> = (0..4).map(|_| high.submit(code)).collect();
    for sequence in sequences {
        assert_eq!(high.queue.spin(sequence, PATIENCE).unwrap() & 15, completion_state::TIMEOUT);
    }
    // The high band ran alone. Taking turns, the low one, which had begun earlier, would have ended its third packet; it may end
    // some while this thread does not run.
    assert_eq!(low.queue.completion(waiting[2]).unwrap(), 0);
    assert_eq!(low.queue.spin(waiting[0], PATIENCE).unwrap() & 15, completion_state::TIMEOUT);
}

#[test]
fn real_pace_keeps_packets_until_their_time() {
    let engine = Engine::new(3, Pace::Real, None).unwrap();
    let tenant = Tenant::new(&engine, 0);
    let mut sleep = vec![opcode::SLEEP as u8, 0, 0, 0];
    sleep.extend(20_000u32.to_le_bytes());
    let code = tenant.code(1, &page(&[&sleep]));
    let start = Instant::now();
    assert_eq!(
        tenant.queue.spin(tenant.submit(code), PATIENCE).unwrap(),
        completion_state::COMPLETED
    );
    assert!(start.elapsed() >= Duration::from_millis(20));
    // As fast as the host can, it is over long before.
    let fast = Engine::new(3, Pace::Fast, None).unwrap();
    let tenant = Tenant::new(&fast, 0);
    let code = tenant.code(1, &page(&[&sleep]));
    assert_eq!(
        tenant.queue.spin(tenant.submit(code), PATIENCE).unwrap(),
        completion_state::COMPLETED
    );
    let last = fast.with(tenant.id, |context| context.cost().1).unwrap();
    assert!(last.picoseconds >= 20_000_000_000);
    assert_eq!(last.picoseconds, last.cycles * 1_000_000 / 1200);
}

#[test]
fn random_queues_harm_nobody() {
    let engine = Engine::new(3, Pace::Fast, None).unwrap();
    let (victim, witness) = (Tenant::new(&engine, 0), Tenant::new(&engine, 0));
    let mut random = Random(0x5EED);
    for round in 0..ROUNDS {
        for _ in 0..random.below(12) {
            let (at, bytes) = match random.below(6) {
                0 => (random.below(header_padded::SIZE as u64 / 8) * 8, random.edge()),
                1 => (header_padded::WRITE_INDEX as u64, random.below(40)),
                2 => (header_padded::DATA_ADDRESS as u64, ADDRESS + 128),
                3 => (8, 1 | 32 << 32),
                4 => (
                    128 + random.below(32) * packet::SIZE as u64 + random.below(8) * 8,
                    random.edge(),
                ),
                _ => (CODE + random.below(0x2000), random.next()),
            };
            victim.memory.write_at(&bytes.to_le_bytes(), at).unwrap();
        }
        if random.below(3) == 0 {
            // A packet that is nearly right, and its code again.
            let mut bytes = [0; packet::SIZE];
            bytes[packet::OPCODE] = packet_opcode::EXEC_BUF as u8;
            bytes[packet::COUNT] = 24;
            bytes[packet::DATA + 4..][..8].copy_from_slice(&(ADDRESS + CODE).to_le_bytes());
            bytes[packet::COMPLETION_SIGNAL..][..8].copy_from_slice(&random.edge().to_le_bytes());
            bytes[random.below(64) as usize] ^= random.next() as u8;
            victim.memory.write_at(&bytes, 128 + random.below(32) * 64).unwrap();
            victim.memory.write_at(&page(&[&[]]), CODE).unwrap();
        }
        victim.doorbell.write_at(&[0; 4], 0).unwrap();
        engine.kick();
        if round % 8 == 0 {
            assert_eq!(witness.run(), completion_state::COMPLETED);
        }
    }
    let message = engine.with(victim.id, |context| context.outcome().2.to_owned()).unwrap();
    assert!(!message.contains("internal error"), "{message}");
    assert_eq!(engine.with(witness.id, |context| context.outcome().1).unwrap(), 0);
    engine.destroy_context(victim.id).unwrap();
    assert_eq!(witness.run(), completion_state::COMPLETED);
}

#[test]
fn a_closed_engine_serves_nobody() {
    let engine = Engine::new(3, Pace::Fast, None).unwrap();
    let tenant = Tenant::new(&engine, 0);
    assert_eq!(tenant.run(), completion_state::COMPLETED);
    engine.close();
    assert_eq!(
        tenant
            .queue
            .spin(tenant.submit(ADDRESS + CODE), Duration::from_millis(5))
            .unwrap(),
        0
    );
    assert_eq!(engine.with(tenant.id, |_| ()).unwrap_err().errno, libc::ENOENT);
}

/// `cargo test --release -- --ignored --nocapture serve_cost`
#[test]
#[ignore = "a measurement"]
fn serve_cost() {
    let engine = Engine::new(3, Pace::Fast, None).unwrap();
    let tenant = Tenant::new(&engine, 0);
    engine.close();
    let mut context = Context::new(&tenant.space, placement(0), Waits::alone());
    let clock = Clock {
        hclk_mhz: 1200,
        pace: Pace::Fast,
    };
    let (mut submit, mut serve) = (Duration::ZERO, Duration::ZERO);
    const COUNT: u32 = 200_000;
    for _ in 0..COUNT {
        let start = Instant::now();
        let sequence = tenant.submit(ADDRESS + CODE);
        let middle = Instant::now();
        while context.serve(clock, false) == Served::More {}
        serve += middle.elapsed();
        submit += middle - start;
        assert_eq!(tenant.queue.completion(sequence).unwrap(), completion_state::COMPLETED);
    }
    println!(
        "submit {} ns, serve {} ns",
        submit.as_nanos() / u128::from(COUNT),
        serve.as_nanos() / u128::from(COUNT)
    );
}
