//! Measurements: what an access and a change of maps cost.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

/// `cargo test --release -- --ignored --nocapture copy_speed`
#[test]
#[ignore = "a measurement"]
fn copy_speed() {
    let bytes = 64 << 20;
    let file = memfd(bytes);
    let space = space(&file, 0, bytes);
    let reader = space.reader();
    let mut out = vec![0; 1 << 20];
    let mut measure = |length: usize, span: u64| {
        let (mut moved, mut address) = (0usize, 0);
        let start = Instant::now();
        while moved < 1 << 29 && start.elapsed() < Duration::from_secs(2) {
            let access = reader.enter();
            for _ in 0..256 {
                access.read(address, &mut out[..length]).unwrap();
                access.write(address, &out[..length]).unwrap();
                address = (address + length as u64) % (span - length as u64);
                moved += 2 * length;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{length:>8} bytes over {:>6} KiB: {:>7.2} GB/s, {:.1} ns an access",
            span >> 10,
            moved as f64 / seconds / 1e9,
            seconds * 1e9 * length as f64 / moved as f64
        );
    };
    for span in [1 << 16, 1 << 20, bytes] {
        for length in [4, 16, 64, 256, 1024, 4096, 16384, 65536] {
            if (length as u64) < span {
                measure(length, span);
            }
        }
    }
}

/// `cargo test --release -- --ignored --nocapture map_speed`
#[test]
#[ignore = "a measurement"]
fn map_speed() {
    // Few pages of memory behind many addresses: what is measured is the table, not the memory. No two maps are neighbours.
    let file = memfd(64 * PAGE);
    file.write_at(&[1; 64 * PAGE as usize], 0).unwrap();
    let map = |space: &AddressSpace, index: u64| {
        let offset = index % 64 * PAGE;
        let prot = PROT_READ | PROT_WRITE;
        space.map(index * 2 * PAGE, file.as_raw_fd(), offset, PAGE, prot).unwrap();
    };
    for maps in [100, 1_000, 10_000, 30_000, 65_000] {
        let space = Arc::new(AddressSpace::default());
        (0..maps).for_each(|index| map(&space, index));
        let reader = space.reader();
        let mut out = [0; 8];
        let mut random = 1u64;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % limit
        };
        (0..maps).for_each(|index| reader.enter().read(index * 2 * PAGE, &mut out).unwrap());
        // Medians: others use this processor too.
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2].as_secs_f64()
        };
        let timed = |work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            start.elapsed()
        };
        let mut lookup = || (0..500).for_each(|_| reader.enter().read(below(maps) * 2 * PAGE, &mut out).unwrap());
        let lookups = median((0..2_000).map(|_| timed(&mut lookup)).collect()) / 500.0;
        let (mut unmaps, mut remaps) = (Vec::new(), Vec::new());
        for _ in 0..2_000 {
            let index = below(maps);
            unmaps.push(timed(&mut || assert_eq!(space.unmap(index * 2 * PAGE, PAGE).unwrap(), PAGE)));
            remaps.push(timed(&mut || map(&space, index)));
        }
        println!(
            "{maps:>6} maps: lookup at random {:>5.0} ns, unmap {:>8.2} us, map {:>8.2} us",
            lookups * 1e9,
            median(unmaps) * 1e6,
            median(remaps) * 1e6
        );
    }
}
