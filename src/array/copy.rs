//! Moves bytes between two patterns: tile to tile, host to tile, tile to host.

use crate::memory::{HostMemory, MemoryFault};

use super::walk::{Block, Walk};

/// Words that two unlike patterns meet in, and that short pieces of a long host run are gathered in; fits a first-level cache.
pub(super) const STAGING_WORDS: u32 = 4096;
/// Runs from this many words on go between host and tile directly.
const DIRECT_WORDS: u32 = 128;
/// Rows from which on two patterns with runs of the same length are copied without a detour.
const DIRECT_ROWS: u32 = 8;

/// Copies `words` from where `from` is in `source` to where `to` is in `target`.
pub(super) fn tile_to_tile(source: &[u8], from: &mut Walk, target: &mut [u8], to: &mut Walk, mut words: u32, staging: &mut [u8]) {
    while words > 0 {
        let (a, b) = (from.block(), to.block());
        if b.run >= words {
            gather(source, from, &mut target[bytes(b.at, words)]);
            to.advance(words);
            return;
        }
        if a.run >= words && !a.zero {
            scatter(&source[bytes(a.at, words)], target, to);
            from.advance(words);
            return;
        }
        if a.run == b.run && !a.zero {
            let rows = a.rows.min(b.rows).min(words / a.run);
            if rows >= DIRECT_ROWS {
                let target = Rows {
                    at: b.at,
                    stride: b.stride,
                    bytes: &mut *target,
                };
                rows_to_rows(
                    Rows {
                        at: a.at,
                        stride: a.stride,
                        bytes: source,
                    },
                    target,
                    a.run,
                    rows,
                );
                from.advance_rows(rows);
                to.advance_rows(rows);
                words -= a.run * rows;
                continue;
            }
        }
        let piece = words.min(STAGING_WORDS);
        let staged = &mut staging[..piece as usize * 4];
        gather(source, from, staged);
        scatter(staged, target, to);
        words -= piece;
    }
}

#[inline]
fn bytes(at: u64, words: u32) -> std::ops::Range<usize> {
    let start = at as usize * 4;
    start..start + words as usize * 4
}

/// Rows in a tile's bytes, `stride` words apart, from word `at` on.
struct Rows<Bytes> {
    at: u64,
    stride: u32,
    bytes: Bytes,
}

fn rows_to_rows(source: Rows<&[u8]>, target: Rows<&mut [u8]>, run: u32, rows: u32) {
    match run {
        1 => fixed_rows::<4>(source, target, rows),
        2 => fixed_rows::<8>(source, target, rows),
        4 => fixed_rows::<16>(source, target, rows),
        8 => fixed_rows::<32>(source, target, rows),
        16 => fixed_rows::<64>(source, target, rows),
        _ => {
            for row in 0..u64::from(rows) {
                let from = bytes(source.at + row * u64::from(source.stride), run);
                target.bytes[bytes(target.at + row * u64::from(target.stride), run)].copy_from_slice(&source.bytes[from]);
            }
        }
    }
}

fn fixed_rows<const BYTES: usize>(source: Rows<&[u8]>, target: Rows<&mut [u8]>, rows: u32) {
    let (mut from, mut to) = (source.at as usize * 4, target.at as usize * 4);
    for _ in 0..rows {
        target.bytes[to..to + BYTES].copy_from_slice(&source.bytes[from..from + BYTES]);
        from += source.stride as usize * 4;
        to += target.stride as usize * 4;
    }
}

/// Takes `out.len()` bytes of a pattern in tile memory, in its order.
pub(super) fn gather(source: &[u8], walk: &mut Walk, out: &mut [u8]) {
    let mut rest = out;
    while !rest.is_empty() {
        let words = (rest.len() / 4) as u32;
        let block = walk.block();
        if block.zero || block.run >= words || block.rows == 1 {
            let run = block.run.min(words);
            let (now, later) = rest.split_at_mut(run as usize * 4);
            if block.zero {
                now.fill(0)
            } else {
                now.copy_from_slice(&source[bytes(block.at, run)])
            }
            walk.advance(run);
            rest = later;
            continue;
        }
        let (rows, planes) = whole_rows(&block, words);
        let (now, later) = rest.split_at_mut(block.run as usize * rows as usize * planes as usize * 4);
        let plane_bytes = block.run as usize * rows as usize * 4;
        for (plane, out) in now.chunks_exact_mut(plane_bytes).enumerate() {
            let at = block.at + plane as u64 * u64::from(block.plane_stride);
            gather_rows(source, at, block.stride, block.run, out);
        }
        if planes > 1 {
            walk.advance_planes(planes)
        } else {
            walk.advance_rows(rows)
        }
        rest = later;
    }
}

/// Puts `data` where a pattern in tile memory goes.
pub(super) fn scatter(data: &[u8], target: &mut [u8], walk: &mut Walk) {
    let mut rest = data;
    while !rest.is_empty() {
        let words = (rest.len() / 4) as u32;
        let block = walk.block();
        if block.run >= words || block.rows == 1 {
            let run = block.run.min(words);
            let (now, later) = rest.split_at(run as usize * 4);
            target[bytes(block.at, run)].copy_from_slice(now);
            walk.advance(run);
            rest = later;
            continue;
        }
        let (rows, planes) = whole_rows(&block, words);
        let (now, later) = rest.split_at(block.run as usize * rows as usize * planes as usize * 4);
        let plane_bytes = block.run as usize * rows as usize * 4;
        for (plane, data) in now.chunks_exact(plane_bytes).enumerate() {
            let at = block.at + plane as u64 * u64::from(block.plane_stride);
            scatter_rows(data, target, at, block.stride, block.run);
        }
        if planes > 1 {
            walk.advance_planes(planes)
        } else {
            walk.advance_rows(rows)
        }
        rest = later;
    }
}

/// Rows, and planes of rows, that `words` have room for. There is room for one row.
#[inline]
fn whole_rows(block: &Block, words: u32) -> (u32, u32) {
    let rows = block.rows.min(words / block.run);
    if rows < block.rows || block.planes == 1 {
        return (rows, 1);
    }
    (rows, block.planes.min(words / (block.run * rows)).max(1))
}

fn gather_rows(source: &[u8], at: u64, stride: u32, run: u32, out: &mut [u8]) {
    match run {
        1 => gather_fixed::<4>(source, at, stride, out),
        2 => gather_fixed::<8>(source, at, stride, out),
        3 => gather_fixed::<12>(source, at, stride, out),
        4 => gather_fixed::<16>(source, at, stride, out),
        6 => gather_fixed::<24>(source, at, stride, out),
        8 => gather_fixed::<32>(source, at, stride, out),
        12 => gather_fixed::<48>(source, at, stride, out),
        16 => gather_fixed::<64>(source, at, stride, out),
        _ => {
            let mut from = at;
            for out in out.chunks_exact_mut(run as usize * 4) {
                out.copy_from_slice(&source[bytes(from, run)]);
                from += u64::from(stride);
            }
        }
    }
}

fn gather_fixed<const BYTES: usize>(source: &[u8], at: u64, stride: u32, out: &mut [u8]) {
    let mut from = at as usize * 4;
    for out in out.chunks_exact_mut(BYTES) {
        out.copy_from_slice(&source[from..from + BYTES]);
        from += stride as usize * 4;
    }
}

fn scatter_rows(data: &[u8], target: &mut [u8], at: u64, stride: u32, run: u32) {
    match run {
        1 => scatter_fixed::<4>(data, target, at, stride),
        2 => scatter_fixed::<8>(data, target, at, stride),
        3 => scatter_fixed::<12>(data, target, at, stride),
        4 => scatter_fixed::<16>(data, target, at, stride),
        6 => scatter_fixed::<24>(data, target, at, stride),
        8 => scatter_fixed::<32>(data, target, at, stride),
        12 => scatter_fixed::<48>(data, target, at, stride),
        16 => scatter_fixed::<64>(data, target, at, stride),
        _ => {
            let mut to = at;
            for data in data.chunks_exact(run as usize * 4) {
                target[bytes(to, run)].copy_from_slice(data);
                to += u64::from(stride);
            }
        }
    }
}

fn scatter_fixed<const BYTES: usize>(data: &[u8], target: &mut [u8], at: u64, stride: u32) {
    let mut to = at as usize * 4;
    for data in data.chunks_exact(BYTES) {
        target[to..to + BYTES].copy_from_slice(data);
        to += stride as usize * 4;
    }
}

/// Copies `words` from host memory to a tile.
pub(super) fn host_to_tile(
    host: &dyn HostMemory,
    from: &mut Walk,
    target: &mut [u8],
    to: &mut Walk,
    mut words: u32,
    staging: &mut [u8],
) -> Result<(), MemoryFault> {
    while words > 0 {
        let (a, b) = (from.block(), to.block());
        if b.run >= words {
            read(host, from, &mut target[bytes(b.at, words)])?;
            to.advance(words);
            return Ok(());
        }
        if a.run.min(b.run) >= DIRECT_WORDS {
            let run = a.run.min(b.run).min(words);
            host.read(a.at * 4, &mut target[bytes(b.at, run)])?;
            from.advance(run);
            to.advance(run);
            words -= run;
            continue;
        }
        let piece = words.min(STAGING_WORDS);
        let staged = &mut staging[..piece as usize * 4];
        read(host, from, staged)?;
        scatter(staged, target, to);
        words -= piece;
    }
    Ok(())
}

/// Copies `words` from a tile to host memory.
pub(super) fn tile_to_host(
    source: &[u8],
    from: &mut Walk,
    host: &dyn HostMemory,
    to: &mut Walk,
    mut words: u32,
    staging: &mut [u8],
) -> Result<(), MemoryFault> {
    while words > 0 {
        let (a, b) = (from.block(), to.block());
        if a.run >= words && !a.zero {
            write(host, &source[bytes(a.at, words)], to)?;
            from.advance(words);
            return Ok(());
        }
        if a.run.min(b.run) >= DIRECT_WORDS && !a.zero {
            let run = a.run.min(b.run).min(words);
            host.write(b.at * 4, &source[bytes(a.at, run)])?;
            from.advance(run);
            to.advance(run);
            words -= run;
            continue;
        }
        let piece = words.min(STAGING_WORDS);
        let staged = &mut staging[..piece as usize * 4];
        gather(source, from, staged);
        write(host, staged, to)?;
        words -= piece;
    }
    Ok(())
}

/// Takes `out.len()` bytes of a pattern in host memory.
pub(super) fn read(host: &dyn HostMemory, walk: &mut Walk, out: &mut [u8]) -> Result<(), MemoryFault> {
    let mut rest = out;
    while !rest.is_empty() {
        let words = (rest.len() / 4) as u32;
        let block = walk.block();
        let run = block.run.min(words);
        let rows = block.rows.min(words / run);
        let (now, later) = rest.split_at_mut(run as usize * rows as usize * 4);
        if rows > 1 {
            host.read_rows(block.at * 4, u64::from(block.stride) * 4, run as usize * 4, now)?;
            walk.advance_rows(rows);
        } else {
            host.read(block.at * 4, now)?;
            walk.advance(run);
        }
        rest = later;
    }
    Ok(())
}

/// Puts `data` where a pattern in host memory goes.
pub(super) fn write(host: &dyn HostMemory, data: &[u8], walk: &mut Walk) -> Result<(), MemoryFault> {
    let mut rest = data;
    while !rest.is_empty() {
        let words = (rest.len() / 4) as u32;
        let block = walk.block();
        let run = block.run.min(words);
        let rows = block.rows.min(words / run);
        let (now, later) = rest.split_at(run as usize * rows as usize * 4);
        if rows > 1 {
            host.write_rows(block.at * 4, u64::from(block.stride) * 4, run as usize * 4, now)?;
            walk.advance_rows(rows);
        } else {
            host.write(block.at * 4, now)?;
            walk.advance(run);
        }
        rest = later;
    }
    Ok(())
}
