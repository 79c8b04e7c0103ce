//! Rows of bytes, as DMA with strides moves them.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::*;

#[test]
fn rows_within_a_region_across_regions_and_past_the_last() {
    let (first, second) = (memfd(PAGE), memfd(PAGE));
    let counting: Vec<u8> = (0..2 * PAGE).map(|index| (index * 31 / 7) as u8).collect();
    first.write_at(&counting[..PAGE as usize], 0).unwrap();
    second.write_at(&counting[PAGE as usize..], 0).unwrap();
    let space = space(&first, PAGE, PAGE);
    space.map(2 * PAGE, second.as_raw_fd(), 0, PAGE, PROT_READ).unwrap();
    let reader = space.reader();
    let access = reader.enter();
    for (start, stride, row, rows) in [
        (8, 40, 16, 50),
        (PAGE - 100, 24, 20, 30),
        (4, PAGE - 8, 12, 3),
        (0, 0, 4, 5),
        (100, 1, 4, 9),
    ] {
        let mut out = vec![0; row * rows];
        access.read_rows(PAGE + start, stride, row, &mut out).unwrap();
        let expected: Vec<u8> = (0..rows)
            .flat_map(|index| {
                let from = (start + stride * index as u64) as usize;
                counting[from..from + row].to_vec()
            })
            .collect();
        assert_eq!(out, expected, "{rows} rows of {row} bytes from {start}, {stride} apart");
    }
    // The fault is that of the row that cannot be had: the rows before it are there.
    let mut out = [0; 64];
    let fault = access.read_rows(3 * PAGE - 80, 32, 16, &mut out).unwrap_err();
    assert_eq!(
        (fault.address, fault.length, fault.kind),
        (3 * PAGE + 16, 16, MemoryFaultKind::Unmapped)
    );
    assert_eq!(out[..16], counting[2 * PAGE as usize - 80..2 * PAGE as usize - 64]);
    let fault = access.read_rows(PAGE, u64::MAX - 3, 16, &mut out).unwrap_err();
    assert_eq!(fault.kind, MemoryFaultKind::Unmapped);

    access.write_rows(PAGE + 16, 32, 8, &[7; 24]).unwrap();
    access.read_rows(PAGE + 8, 16, 8, &mut out).unwrap();
    assert_eq!(out[8..16], counting[24..32]);
    assert_eq!([out[0], out[8 + 8]], [counting[8], counting[40]]);
    let mut written = [0; 128];
    access.read(PAGE, &mut written).unwrap();
    for (index, byte) in written.iter().enumerate() {
        let inside = (16..104).contains(&index) && (index - 16) % 32 < 8;
        assert_eq!(*byte, if inside { 7 } else { counting[index] }, "byte {index}");
    }
    let fault = access.write_rows(2 * PAGE - 16, 16, 16, &[1; 32]).unwrap_err();
    assert_eq!((fault.address, fault.kind), (2 * PAGE, MemoryFaultKind::Permission));
}
